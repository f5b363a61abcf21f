//! Places that are kept free for the disks of guests that come, by operation.
//!
//! What an operation made here is on disk before it is made, so that whoever discards it,
//! after whatever crash, removes exactly that and nothing else: a file counts as made here
//! only if it is the same file (device and inode), not one of the same name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use drover_model::{DiskCopy, GuestId, OperationId};
use serde::{Deserialize, Serialize};

use super::place::{self, Content, Inode, PlaceError};
use crate::durable;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claim {
    operation: OperationId,
    guest: GuestId,
    /// The guest is shut off while it comes.
    cold: bool,
    /// The operation defined the guest here.
    defined: bool,
    images: Vec<Image>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Image {
    path: String,
    /// None while it is being made.
    inode: Option<Inode>,
}

/// Why a claim cannot be made or ended.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// There is no place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It cannot be remembered, so nothing may be made.
    #[error("the claim cannot be made durable: {0}")]
    NotDurable(io::Error),
    /// A file cannot be removed.
    #[error("cannot remove {path}: {error}")]
    NotRemoved {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// All claims of this host.
#[derive(Debug)]
pub struct Claims {
    path: PathBuf,
    list: Mutex<Vec<Claim>>,
}

impl Claims {
    /// Opens the list at `path`, or begins one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let list = match std::fs::read(path) {
            Ok(json) => serde_json::from_slice(&json).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), list: Mutex::new(list) })
    }

    /// Makes a place for each disk. Repeated, it makes what is missing. Blocks.
    pub fn claim(
        &self,
        operation: OperationId,
        guest: GuestId,
        cold: bool,
        disks: &[DiskCopy],
    ) -> Result<(), ClaimError> {
        let mut list = self.list();
        let claim = claim_of(&mut list, operation, guest, cold);
        let is_made = |claim: &Claim, disk: &DiskCopy| {
            let image = claim.images.iter().find(|image| image.path == disk.to);
            let made = image.and_then(|image| image.inode);
            made.is_some() && place::inode(Path::new(&disk.to)) == made
        };
        let missing: Vec<&DiskCopy> =
            disks.iter().filter(|disk| !is_made(&list[claim], disk)).collect();
        place::check(&missing)?;
        let content = if cold { Content::Nothing } else { Content::EmptyDisk };
        for disk in missing {
            list[claim].images.retain(|image| image.path != disk.to);
            list[claim].images.push(Image { path: disk.to.clone(), inode: None });
            self.keep(&list)?;
            let draft = place::draft(operation, &disk.to);
            let made = place::make_draft(&draft, disk, content)?;
            if let Some(image) = list[claim].images.last_mut() {
                image.inode = Some(made);
            }
            self.keep(&list)?;
            place::put(&draft, &disk.to)?;
        }
        Ok(())
    }

    /// Notes that the operation is about to define the guest here.
    pub fn will_define(&self, operation: OperationId, guest: GuestId) -> Result<(), ClaimError> {
        let mut list = self.list();
        let claim = claim_of(&mut list, operation, guest, true);
        if list[claim].defined {
            return Ok(());
        }
        list[claim].defined = true;
        self.keep(&list)
    }

    /// Whether the guest of this operation comes while it is shut off.
    pub fn is_cold(&self, operation: OperationId) -> bool {
        self.list().iter().any(|claim| claim.operation == operation && claim.cold)
    }

    /// Whether the operation defined the guest here, or was about to.
    pub fn has_defined(&self, operation: OperationId) -> bool {
        self.list().iter().any(|claim| claim.operation == operation && claim.defined)
    }

    /// Guests that are shut off and whose disks are on their way here.
    pub fn being_copied(&self) -> Vec<GuestId> {
        let list = self.list();
        list.iter().filter(|claim| claim.cold && !claim.defined).map(|claim| claim.guest).collect()
    }

    /// Whether the file at a path was made for this operation.
    pub fn holds(&self, operation: OperationId, path: &str) -> bool {
        let list = self.list();
        let mut images = list
            .iter()
            .filter(|claim| claim.operation == operation)
            .flat_map(|claim| &claim.images);
        let image = images.find(|image| image.path == path);
        let made = image.and_then(|image| image.inode);
        made.is_some() && place::inode(Path::new(path)) == made
    }

    /// Ends a claim; its images are removed unless they are to be kept. Returns the paths that
    /// it was for. Blocks.
    pub fn discard(
        &self,
        operation: OperationId,
        keep_images: bool,
    ) -> Result<Vec<String>, ClaimError> {
        let mut list = self.list();
        let mut paths = Vec::new();
        let ended = list.iter().filter(|claim| claim.operation == operation);
        for image in ended.flat_map(|claim| &claim.images) {
            let not_removed = |error| ClaimError::NotRemoved { path: image.path.clone(), error };
            let draft = place::draft(operation, &image.path);
            place::remove_if_there(&draft).map_err(not_removed)?;
            if let (Some(inode), false) = (image.inode, keep_images) {
                place::remove(Path::new(&image.path), inode).map_err(not_removed)?;
            }
            paths.push(image.path.clone());
        }
        self.forget_where(&mut list, |claim| claim.operation == operation)?;
        Ok(paths)
    }

    /// The guest has arrived: what was kept for it is its own.
    pub fn arrived(&self, guest: GuestId) -> Result<(), ClaimError> {
        self.forget_where(&mut self.list(), |claim| claim.guest == guest)
    }

    fn forget_where(
        &self,
        list: &mut Vec<Claim>,
        ended: impl Fn(&Claim) -> bool,
    ) -> Result<(), ClaimError> {
        let before = list.len();
        list.retain(|claim| !ended(claim));
        if list.len() == before { Ok(()) } else { self.keep(list) }
    }

    fn keep(&self, list: &[Claim]) -> Result<(), ClaimError> {
        let kept = serde_json::to_vec(list)
            .map_err(io::Error::other)
            .and_then(|json| durable::replace(&self.path, &json, 0o600));
        kept.map_err(ClaimError::NotDurable)
    }

    fn list(&self) -> MutexGuard<'_, Vec<Claim>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn claim_of(list: &mut Vec<Claim>, operation: OperationId, guest: GuestId, cold: bool) -> usize {
    let known = list.iter().position(|claim| claim.operation == operation);
    known.unwrap_or_else(|| {
        list.push(Claim { operation, guest, cold, defined: false, images: Vec::new() });
        list.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use drover_model::Bytes;

    use super::*;

    const OPERATION: OperationId = OperationId::from_u128(7);
    const GUEST: GuestId = GuestId::from_u128(1);

    fn disk(path: &Path) -> DiskCopy {
        DiskCopy {
            disk: "vda".to_owned(),
            from: "/a".to_owned(),
            to: path.to_string_lossy().into_owned(),
            format: "raw".to_owned(),
            capacity: Bytes(4096),
            allocation: Bytes(1),
            backing: None,
        }
    }

    struct Stage {
        state: tempfile::TempDir,
        images: tempfile::TempDir,
    }

    impl Stage {
        fn new() -> Self {
            Self { state: tempfile::tempdir().unwrap(), images: tempfile::tempdir().unwrap() }
        }

        /// As after a restart.
        fn claims(&self) -> Claims {
            Claims::open(&self.state.path().join("claims")).unwrap()
        }

        fn path(&self) -> PathBuf {
            self.images.path().join("vm1.img")
        }

        fn files(&self) -> usize {
            std::fs::read_dir(self.images.path()).unwrap().count()
        }
    }

    #[test]
    fn a_place_is_made_once_and_removed_after_a_restart() {
        let stage = Stage::new();
        let disks = [disk(&stage.path())];
        stage.claims().claim(OPERATION, GUEST, false, &disks).unwrap();
        std::fs::write(stage.path(), "copied").unwrap();
        stage.claims().claim(OPERATION, GUEST, false, &disks).unwrap();
        assert_eq!(std::fs::read(stage.path()).unwrap(), b"copied", "made once");
        assert!(stage.claims().holds(OPERATION, &disks[0].to));
        stage.claims().discard(OPERATION, false).unwrap();
        stage.claims().discard(OPERATION, false).unwrap();
        assert_eq!(stage.files(), 0);
    }

    #[test]
    fn an_empty_disk_has_its_size() {
        let stage = Stage::new();
        stage.claims().claim(OPERATION, GUEST, false, &[disk(&stage.path())]).unwrap();
        assert_eq!(std::fs::metadata(stage.path()).unwrap().len(), 4096);
    }

    #[test]
    fn what_was_there_before_is_never_touched() {
        let stage = Stage::new();
        std::fs::write(stage.path(), "mine").unwrap();
        let disks = [disk(&stage.path())];
        let refused = stage.claims().claim(OPERATION, GUEST, true, &disks).unwrap_err();
        assert!(refused.to_string().contains("already"), "{refused}");
        stage.claims().discard(OPERATION, false).unwrap();
        assert_eq!(std::fs::read(stage.path()).unwrap(), b"mine");
    }

    #[test]
    fn a_file_that_took_the_place_meanwhile_stays() {
        let stage = Stage::new();
        let disks = [disk(&stage.path())];
        stage.claims().claim(OPERATION, GUEST, true, &disks).unwrap();
        std::fs::rename(stage.path(), stage.images.path().join("old")).unwrap();
        std::fs::write(stage.path(), "another").unwrap();
        assert!(!stage.claims().holds(OPERATION, &disks[0].to));
        stage.claims().discard(OPERATION, false).unwrap();
        assert_eq!(std::fs::read(stage.path()).unwrap(), b"another");
    }

    #[test]
    fn a_draft_that_a_crash_left_is_removed() {
        let stage = Stage::new();
        let disks = [disk(&stage.path())];
        let claims = stage.claims();
        // As if the power went between the draft and its place.
        {
            let mut list = claims.list();
            let claim = claim_of(&mut list, OPERATION, GUEST, true);
            list[claim].images.push(Image { path: disks[0].to.clone(), inode: None });
            claims.keep(&list).unwrap();
        }
        std::fs::write(place::draft(OPERATION, &disks[0].to), "half").unwrap();
        stage.claims().discard(OPERATION, false).unwrap();
        assert_eq!(stage.files(), 0);
    }

    #[test]
    fn images_are_kept_where_that_is_asked_and_once_the_guest_has_arrived() {
        let stage = Stage::new();
        let disks = [disk(&stage.path())];
        stage.claims().claim(OPERATION, GUEST, true, &disks).unwrap();
        stage.claims().discard(OPERATION, true).unwrap();
        assert_eq!(stage.files(), 1);
        std::fs::remove_file(stage.path()).unwrap();
        stage.claims().claim(OPERATION, GUEST, true, &disks).unwrap();
        stage.claims().arrived(GUEST).unwrap();
        stage.claims().discard(OPERATION, false).unwrap();
        assert_eq!(stage.files(), 1);
    }

    #[test]
    fn what_cannot_be_placed_says_why() {
        let stage = Stage::new();
        let far = disk(&stage.images.path().join("no/such/disk"));
        let wide = DiskCopy { allocation: Bytes(u64::MAX), ..disk(&stage.path()) };
        let odd = disk(&stage.images.path().join("../x"));
        let layer = DiskCopy {
            backing: Some(drover_model::BackingImage { path: "/no/base".to_owned(), format: None }),
            ..disk(&stage.path())
        };
        for (disk, word) in
            [(far, "no directory"), (wide, "free"), (odd, "plain"), (layer, "is a layer on")]
        {
            let refused = stage.claims().claim(OPERATION, GUEST, true, &[disk]).unwrap_err();
            assert!(refused.to_string().contains(word), "{refused}");
        }
        let twins = [disk(&stage.path()), disk(&stage.path())];
        let refused = stage.claims().claim(OPERATION, GUEST, true, &twins).unwrap_err();
        assert!(refused.to_string().contains("two disks"), "{refused}");
        assert_eq!(stage.files(), 0);
    }
}
