//! Whether a guest can be moved in the way that was asked for, and which of its disks go with
//! it: pure. Whether a host can take it is the planner's business.

use std::path::{Component, Path};

use drover_model::{
    Bytes, Disk, DiskCopy, DiskSource, GuestId, GuestState, HostId, HostState, MigrationMode,
    MigrationSettings, StorageCopy,
};
use drover_rules::why_not_copied;

use crate::placement::asleep_of;
use crate::records::{GuestRecord, Tables};

/// Why a guest cannot be moved like that, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

/// What is asked beside the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Whoever asks vouches that the guest's host is dead.
    pub host_is_dead: bool,
    /// The host's agent is connected.
    pub agent_answers: bool,
}

fn refusal(reason: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal { reason: reason.into(), hint: hint.into() }
}

/// Whether the guest can be moved in this way now.
pub fn admit(
    tables: &Tables,
    guest: GuestId,
    settings: &MigrationSettings,
    asked: Asked,
) -> Result<(), Refusal> {
    let Some(record) = tables.guests.get(guest) else { return Ok(()) };
    match settings.mode {
        MigrationMode::Live => by_state(tables, record, MigrationMode::Live, GuestState::Running),
        MigrationMode::Cold => by_state(tables, record, MigrationMode::Cold, GuestState::ShutOff),
        MigrationMode::Rescue => rescue(tables, record, asked),
    }?;
    if settings.mode != MigrationMode::Rescue {
        copies(tables, guest, settings).map_err(|reason| {
            refusal(reason, "such a disk has to be moved by hand, or to shared storage first")
        })?;
    }
    Ok(())
}

fn by_state(
    tables: &Tables,
    record: &GuestRecord,
    mode: MigrationMode,
    wanted: GuestState,
) -> Result<(), Refusal> {
    let guest = &record.guest;
    let (name, host) = (&guest.name, tables.host_name(guest.host));
    if state_of(tables, guest.host) == Some(HostState::Unreachable) {
        if let Some(asleep) = asleep_of(tables, guest.host) {
            return Err(refusal(
                format!("{name} cannot move: its host {}", asleep.reason(&host)),
                "a guest that is on a sleeping host moves once that is awake",
            ));
        }
        return Err(refusal(
            format!("{name} cannot move: its host {host} is unreachable"),
            rescue_hint(name, &host),
        ));
    }
    if guest.state == wanted {
        return Ok(());
    }
    let hint = match (mode, guest.state) {
        (MigrationMode::Live, GuestState::ShutOff) => {
            "`--mode cold` moves a guest that is shut off".to_owned()
        }
        (MigrationMode::Live, GuestState::Paused) => {
            format!("it arrives running: resume it first (`virsh resume {name}` on {host})")
        }
        (MigrationMode::Cold, GuestState::Running) => {
            "leave `--mode cold` out to move it while it runs, or shut it down first".to_owned()
        }
        _ => format!("`virsh domstate {name} --reason` on {host} says more"),
    };
    let way = mode.as_str();
    Err(refusal(format!("{name} cannot move {way}: it is {}", guest.state.as_str()), hint))
}

/// What to do about a guest of a host that does not answer.
pub fn rescue_hint(guest: &str, host: &str) -> String {
    format!(
        "it may run on there. If {host} is off, or cut off from its disks for good: `drover guest \
         migrate {guest} --mode rescue --host-is-dead`"
    )
}

fn rescue(tables: &Tables, record: &GuestRecord, asked: Asked) -> Result<(), Refusal> {
    let guest = &record.guest;
    let (name, host) = (&guest.name, tables.host_name(guest.host));
    let dead = state_of(tables, guest.host) == Some(HostState::Unreachable);
    if !dead || asked.agent_answers {
        return Err(refusal(
            format!("{name} cannot be rescued: the agent of {host} answers"),
            "a rescue is for guests of dead hosts; leave `--mode rescue` out",
        ));
    }
    if !asked.host_is_dead {
        return Err(refusal(
            format!("{name} cannot be rescued: nobody vouches that {host} is dead"),
            format!(
                "a host that does not answer may run its guests on, and a guest that runs twice \
                 destroys its disks. Switch {host} off, make sure, and add `--host-is-dead`"
            ),
        ));
    }
    let local: Vec<String> = guest
        .disks
        .iter()
        .filter(|disk| !is_reachable_elsewhere(tables, guest.host, disk))
        .map(|disk| format!("disk {} ({})", disk.target, place(disk)))
        .collect();
    if !local.is_empty() {
        return Err(refusal(
            format!("{name} cannot be rescued: only {host} has {}", local.join(" and ")),
            format!("bring {host} back, or restore the guest from a backup"),
        ));
    }
    if tables.definitions.get(guest.id).is_none() {
        return Err(refusal(
            format!("{name} cannot be rescued: its definition was never told"),
            "define and start it by hand where its disks are reachable",
        ));
    }
    Ok(())
}

fn state_of(tables: &Tables, host: HostId) -> Option<HostState> {
    tables.hosts.get(host).map(|record| record.host.state)
}

/// Whether other hosts have this disk's bytes, too.
fn is_reachable_elsewhere(tables: &Tables, host: HostId, disk: &Disk) -> bool {
    match &disk.source {
        DiskSource::Empty | DiskSource::Network { .. } => true,
        DiskSource::File { path } | DiskSource::Block { path } => is_shared(tables, host, path),
        DiskSource::Volume { pool, .. } => {
            let pools = tables.hosts.get(host).map(|record| &record.host.capabilities.pools);
            let kind = pools.into_iter().flatten().find(|known| known.name == *pool);
            kind.is_some_and(|pool| {
                let path = pool.path.as_deref();
                pool.kind != "dir" || path.is_some_and(|path| is_shared(tables, host, path))
            })
        }
    }
}

fn is_shared(tables: &Tables, host: HostId, path: &str) -> bool {
    let plain = Path::new(path).components().all(|part| part != Component::ParentDir);
    let record = tables.hosts.get(host);
    plain
        && record.is_some_and(|record| {
            let shared = &record.host.capabilities.shared_paths;
            shared.iter().any(|root| Path::new(path).starts_with(root))
        })
}

fn place(disk: &Disk) -> String {
    match &disk.source {
        DiskSource::File { path } | DiskSource::Block { path } => path.clone(),
        DiskSource::Network { protocol, name } => format!("{protocol} {name}"),
        DiskSource::Volume { pool, volume } => format!("volume {pool}/{volume}"),
        DiskSource::Empty => "empty".to_owned(),
    }
}

/// The disks that go with the guest, or why one of them cannot.
pub fn copies(
    tables: &Tables,
    guest: GuestId,
    settings: &MigrationSettings,
) -> Result<Vec<DiskCopy>, String> {
    let Some(record) = tables.guests.get(guest) else { return Ok(Vec::new()) };
    if settings.storage == StorageCopy::None {
        return Ok(Vec::new());
    }
    let host = record.guest.host;
    let local = record.guest.disks.iter().filter_map(|disk| match &disk.source {
        DiskSource::File { path } if !disk.readonly && !is_shared(tables, host, path) => {
            Some((disk, path))
        }
        _ => None,
    });
    local.map(|(disk, path)| copy(disk, path, settings)).collect()
}

fn copy(disk: &Disk, path: &str, settings: &MigrationSettings) -> Result<DiskCopy, String> {
    let cannot = |why| format!("disk {} ({path}) cannot be copied: {why}", disk.target);
    if let Some(why) = why_not_copied(disk) {
        return Err(cannot(why));
    }
    let sizes = disk.capacity.zip(disk.allocation);
    let (capacity, allocation) = sizes.ok_or_else(|| cannot("its size is unknown".to_owned()))?;
    let format = disk.format.clone().unwrap_or_else(|| "raw".to_owned());
    let layer = settings.storage == StorageCopy::TopLayer;
    let backing = disk.backing.clone().filter(|_| layer);
    // Layers that are merged may fill the disk.
    let merged = disk.backing.is_some() && !layer;
    Ok(DiskCopy {
        disk: disk.target.clone(),
        from: path.to_owned(),
        to: settings.on_target(path),
        format,
        capacity,
        allocation: if merged { Bytes(allocation.0.max(capacity.0)) } else { allocation },
        backing,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drover_model::{BackingImage, OwnerPhase, OwnerRecord, PoolDescription};
    use drover_ports::memory::MemoryStore;
    use drover_testkit::{guest_id, host_id};

    use super::*;
    use crate::records::{DefinitionRecord, HostRecord, Records, Txn};

    const NOTHING: Asked = Asked { host_is_dead: false, agent_answers: false };
    const DEAD: Asked = Asked { host_is_dead: true, agent_answers: false };

    /// One host with one guest; its file disks below /srv/shared are shared.
    struct Case {
        guest: drover_model::Guest,
        host: drover_model::Host,
        defined: bool,
    }

    impl Case {
        fn new() -> Self {
            let (guest, host) = (drover_testkit::guest(1, 1, 128), drover_testkit::host(1, 4.0, 8));
            Self { guest, host, defined: true }
        }

        fn disk(mut self, disk: Disk) -> Self {
            self.guest.disks.push(disk);
            self
        }

        async fn records(&self) -> Records {
            let records = Records::load(Arc::new(MemoryStore::default())).await.unwrap();
            let (guest, host, defined) = (self.guest.clone(), self.host.clone(), self.defined);
            let put = |_: &Tables| {
                let mut txn = Txn::none();
                txn.put(OwnerRecord {
                    guest: guest.id,
                    host: guest.host,
                    epoch: drover_model::Epoch(1),
                    phase: OwnerPhase::Settled,
                });
                if defined {
                    let at = drover_model::Timestamp::from_millis(1);
                    txn.put(DefinitionRecord { guest: guest.id, xml: "<domain/>".to_owned(), at });
                }
                txn.put(GuestRecord { guest, last_moved: None, absent: false });
                txn.put(HostRecord { host, disturbed: None });
                (txn, ())
            };
            records.update(put).await.unwrap();
            records
        }

        async fn check(&self, mode: MigrationMode, asked: Asked, refused: Option<&str>) {
            let records = self.records().await;
            let settings = MigrationSettings { mode, ..MigrationSettings::default() };
            let found = admit(&records.read(), guest_id(1), &settings, asked);
            match (&found, refused) {
                (Ok(()), None) => {}
                (Err(why), Some(part)) => {
                    let text = format!("{} / {}", why.reason, why.hint);
                    assert!(text.contains(part), "{text}");
                }
                _ => panic!("{found:?}, not {refused:?}"),
            }
        }

        async fn copies(&self, settings: MigrationSettings) -> Result<Vec<DiskCopy>, String> {
            copies(&self.records().await.read(), guest_id(1), &settings)
        }
    }

    fn local(path: &str) -> Disk {
        Disk {
            format: Some("qcow2".to_owned()),
            capacity: Some(Bytes(100)),
            allocation: Some(Bytes(10)),
            ..Disk::new("vdb", DiskSource::File { path: path.to_owned() })
        }
    }

    #[tokio::test]
    async fn each_way_is_for_guests_in_its_state() {
        use MigrationMode as M;
        let mut case = Case::new();
        assert_eq!(case.guest.host, host_id(1));
        case.check(M::Live, NOTHING, None).await;
        case.check(M::Cold, NOTHING, Some("shut it down")).await;
        case.check(M::Rescue, DEAD, Some("answers")).await;
        case.guest.state = GuestState::ShutOff;
        case.check(M::Live, NOTHING, Some("--mode cold")).await;
        case.check(M::Cold, NOTHING, None).await;
        case.guest.state = GuestState::Paused;
        case.check(M::Live, NOTHING, Some("resume it")).await;
    }

    #[tokio::test]
    async fn a_rescue_needs_a_dead_host_a_word_shared_disks_and_a_definition() {
        use MigrationMode as M;
        let mut case = Case::new();
        case.host.state = HostState::Unreachable;
        case.check(M::Rescue, DEAD, None).await;
        case.check(M::Live, NOTHING, Some("--mode rescue")).await;
        case.check(M::Rescue, NOTHING, Some("--host-is-dead")).await;
        let alive = Asked { host_is_dead: true, agent_answers: true };
        case.check(M::Rescue, alive, Some("answers")).await;
        case.defined = false;
        case.check(M::Rescue, DEAD, Some("definition")).await;
        case.defined = true;
        let case = case.disk(local("/var/b"));
        case.check(M::Rescue, DEAD, Some("only h1 has disk vdb (/var/b)")).await;
    }

    #[tokio::test]
    async fn a_volume_of_a_local_directory_is_no_shared_disk() {
        let volume = DiskSource::Volume { pool: "p".to_owned(), volume: "v".to_owned() };
        for (kind, path, refused) in [
            ("dir", "/var/p", Some("volume p/v")),
            ("dir", "/srv/shared/p", None),
            ("iscsi", "/dev/disk/by-path", None),
        ] {
            let mut case = Case::new().disk(Disk::new("vdb", volume.clone()));
            case.host.state = HostState::Unreachable;
            case.host.capabilities.pools = vec![PoolDescription {
                name: "p".to_owned(),
                kind: kind.to_owned(),
                path: Some(path.to_owned()),
                active: true,
            }];
            case.check(MigrationMode::Rescue, DEAD, refused).await;
        }
    }

    #[tokio::test]
    async fn only_local_files_that_can_be_copied_are() {
        let full = || MigrationSettings {
            storage: StorageCopy::Full,
            storage_map: vec![("/var".to_owned(), "/data".to_owned())],
            ..MigrationSettings::default()
        };
        let case = Case::new().disk(local("/var/b"));
        assert_eq!(case.copies(MigrationSettings::default()).await, Ok(vec![]));
        let copied = case.copies(full()).await.unwrap();
        assert_eq!(copied.len(), 1, "the other is shared: {copied:?}");
        assert_eq!((copied[0].from.as_str(), copied[0].to.as_str()), ("/var/b", "/data/b"));
        for (disk, part) in [
            (Disk { capacity: None, ..local("/var/b") }, "size"),
            (Disk { format: Some("vmdk".to_owned()), ..local("/var/b") }, "vmdk"),
            (Disk { shareable: true, ..local("/var/b") }, "several guests"),
        ] {
            let refused = Case::new().disk(disk).copies(full()).await.unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
        let iso = Case::new().disk(Disk { readonly: true, ..local("/var/b") });
        assert_eq!(iso.copies(full()).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn layers_are_merged_or_stay_layers() {
        let below = BackingImage { path: "/var/base".to_owned(), format: Some("raw".to_owned()) };
        let case = Case::new().disk(Disk { backing: Some(below.clone()), ..local("/var/b") });
        let with = |storage| MigrationSettings { storage, ..MigrationSettings::default() };
        let whole = case.copies(with(StorageCopy::Full)).await.unwrap().remove(0);
        assert_eq!((whole.allocation, whole.backing), (Bytes(100), None));
        let layer = case.copies(with(StorageCopy::TopLayer)).await.unwrap().remove(0);
        assert_eq!((layer.allocation, layer.backing), (Bytes(10), Some(below)));
    }
}
