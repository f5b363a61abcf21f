//! Source: the guest is another host's now; remove what is left of it here.

use std::collections::BTreeSet;
use std::path::Path;

use drover_agent_api::v1::{Failure, FailureKind, RemoveDeparted};
use drover_model::{DiskCopy, DiskSource, Guest, GuestId, GuestState};
use tracing::warn;

use super::failure::{failure, of_hypervisor};
use super::shared_disks::is_below;
use super::turns::Turn;
use super::{Commands, Order, off_runtime, read};
use crate::images::place;

impl Commands {
    /// A guest that may run here is left alone with all it has, and so is an image that
    /// another guest here names or that other hosts see.
    pub(super) async fn remove_departed(
        &self,
        order: &Order,
        remove: RemoveDeparted,
        _turn: Turn,
    ) -> Result<(), Failure> {
        let disks: Vec<DiskCopy> = read("list of disks", &remove.disks_json)?;
        let guests = self.hypervisor.guests(self.host).await.map_err(|e| of_hypervisor(&e))?;
        let own = guests.iter().find(|guest| guest.id == order.guest);
        if let Some(guest) = own.filter(|guest| guest.state.is_active() && !is_left(guest.state)) {
            let message = format!("it is {} on this host", guest.state.as_str());
            return Err(failure(FailureKind::Conflict, message));
        }
        for disk in &disks {
            if let Some(why) = in_use(&disk.from, order.guest, &guests, &self.shared_paths) {
                return Err(failure(FailureKind::Refused, why));
            }
        }
        if own.is_some_and(|guest| is_left(guest.state)) {
            let ended = self.hypervisor.discard_departed(order.guest).await;
            ended.map_err(|error| of_hypervisor(&error))?;
        }
        self.hypervisor.undefine(order.guest).await.map_err(|error| of_hypervisor(&error))?;
        let paths: Vec<String> = disks.into_iter().map(|disk| disk.from).collect();
        let removed = paths.clone();
        off_runtime(move || {
            paths.iter().try_for_each(|path| {
                place::remove_if_there(Path::new(path)).map_err(|error| {
                    failure(FailureKind::Retry, format!("cannot remove {path}: {error}"))
                })
            })
        })
        .await??;
        self.refresh_images(removed).await;
        Ok(())
    }

    /// Files went without libvirt's doing: its pools are to know. That they are out of date
    /// stands in nobody's way here, so it is no reason to repeat the command.
    pub(super) async fn refresh_images(&self, paths: Vec<String>) {
        let directory = |path: &String| Some(Path::new(path).parent()?.to_str()?.to_owned());
        let directories: BTreeSet<String> = paths.iter().filter_map(directory).collect();
        let directories: Vec<String> = directories.into_iter().collect();
        if directories.is_empty() {
            return;
        }
        if let Err(error) = self.hypervisor.refresh_images(&directories).await {
            warn!(?directories, %error, "libvirt's list of images is out of date");
        }
    }
}

/// A copy that can run no more: it was sent, and libvirt could not take it back when it heard
/// nothing of the target; or it is half of one that broke after the switch to post-copy.
const fn is_left(state: GuestState) -> bool {
    matches!(state, GuestState::PausedForMigration | GuestState::PostCopyFailed)
}

/// Why an image must stay.
fn in_use(path: &str, of: GuestId, guests: &[Guest], shared: &[String]) -> Option<String> {
    if is_below(path, shared) {
        return Some(format!("{path} is shared with other hosts"));
    }
    let names_it = |guest: &&Guest| {
        guest.disks.iter().any(|disk| {
            let below = disk.backing.as_ref().is_some_and(|backing| backing.path == path);
            below || matches!(&disk.source, DiskSource::File { path: file } if file == path)
        })
    };
    let other = guests.iter().filter(|guest| guest.id != of).find(names_it)?;
    Some(format!("{path} is a disk of {}", other.name))
}

#[cfg(test)]
mod tests {
    use drover_model::Disk;

    use super::*;

    #[test]
    fn an_image_of_others_stays() {
        let guest = |number, path: &str| {
            let mut guest = super::super::shared_disks::tests::guest_with(vec![Disk::new(
                "vda",
                DiskSource::File { path: path.to_owned() },
            )]);
            guest.id = GuestId::from_u128(number);
            guest
        };
        let guests = [guest(1, "/a"), guest(2, "/b")];
        let shared = ["/srv/shared".to_owned()];
        let why = |path, of| in_use(path, GuestId::from_u128(of), &guests, &shared);
        assert_eq!(why("/a", 1), None);
        assert!(why("/a", 3).is_some());
        assert!(why("/b", 1).is_some());
        assert!(why("/srv/shared/x", 1).is_some());
    }
}
