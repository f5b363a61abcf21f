//! Places for images that come: one file each, made so that no file that was there before is
//! ever touched.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use drover_model::{Bytes, DiskCopy, OperationId};

use crate::durable::sync_directory;

/// Why there is no place for an image.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Something is there.
    #[error("there is a file {0} already; it is left alone")]
    Taken(String),
    /// Two disks for one place.
    #[error("two disks would be {0}; map their directories to different ones")]
    Twice(String),
    /// The directory is missing.
    #[error("there is no directory {0} here; create it, or name another with a storage map")]
    NoDirectory(String),
    /// Not enough room.
    #[error("{directory} has {free} free, and the copy takes {needed}")]
    Full {
        /// Where.
        directory: String,
        /// Free for all users.
        free: Bytes,
        /// Needed at least.
        needed: Bytes,
    },
    /// A layer without what it lies on.
    #[error("{layer} is a layer on {backing}, which is not here; copy the whole disk instead")]
    NoBacking {
        /// The layer.
        layer: String,
        /// The image below.
        backing: String,
    },
    /// A path that leads elsewhere than it says.
    #[error("{0} is no plain absolute path")]
    Odd(String),
    /// qemu-img says no.
    #[error("qemu-img: {0}")]
    Tool(String),
    /// The file system says no.
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

/// What a file is, whatever it is called.
pub type Inode = (u64, u64);

/// What is in the place at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing: the source writes the file as it is.
    Nothing,
    /// An empty disk of the right size, which QEMU writes to.
    EmptyDisk,
}

/// Whether a path leads where it says.
pub fn is_plain(path: &str) -> bool {
    use std::path::Component as C;
    let path = Path::new(path);
    path.is_absolute()
        && path.file_name().is_some()
        && path.components().all(|part| matches!(part, C::RootDir | C::Normal(_)))
}

/// The file at a path, if there is one.
pub fn inode(path: &Path) -> Option<Inode> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// A file that is being made: named after its operation, so that it is nobody else's.
pub fn draft(operation: OperationId, path: &str) -> PathBuf {
    let path = Path::new(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    path.with_file_name(format!(".{}.drover-{operation}", name.unwrap_or_default()))
}

/// Whether these images find room here, with what they need.
pub fn check(copies: &[&DiskCopy]) -> Result<(), PlaceError> {
    let mut needed: Vec<(PathBuf, u64, u64)> = Vec::new();
    for (index, copy) in copies.iter().enumerate() {
        if !is_plain(&copy.to) {
            return Err(PlaceError::Odd(copy.to.clone()));
        }
        if copies[..index].iter().any(|before| before.to == copy.to) {
            return Err(PlaceError::Twice(copy.to.clone()));
        }
        let path = Path::new(&copy.to);
        let directory = path.parent().unwrap_or(Path::new("/"));
        let device = match std::fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => metadata.dev(),
            _ => return Err(PlaceError::NoDirectory(directory.to_string_lossy().into_owned())),
        };
        if inode(path).is_some() {
            return Err(PlaceError::Taken(copy.to.clone()));
        }
        if let Some(backing) = &copy.backing
            && !Path::new(&backing.path).exists()
        {
            let (layer, backing) = (copy.to.clone(), backing.path.clone());
            return Err(PlaceError::NoBacking { layer, backing });
        }
        match needed.iter_mut().find(|(_, known, _)| *known == device) {
            Some((.., sum)) => *sum += copy.allocation.0,
            None => needed.push((directory.to_owned(), device, copy.allocation.0)),
        }
    }
    needed.into_iter().try_for_each(|(directory, _, sum)| has_room(&directory, sum))
}

fn has_room(directory: &Path, needed: u64) -> Result<(), PlaceError> {
    let shown = directory.to_string_lossy().into_owned();
    let found = rustix::fs::statvfs(directory)
        .map_err(|error| PlaceError::Io(shown.clone(), error.into()))?;
    let free = found.f_bavail * found.f_frsize;
    if free < needed {
        let (free, needed) = (Bytes(free), Bytes(needed));
        return Err(PlaceError::Full { directory: shown, free, needed });
    }
    Ok(())
}

/// Makes the draft of an image.
pub fn make_draft(draft: &Path, copy: &DiskCopy, content: Content) -> Result<Inode, PlaceError> {
    let shown = draft.to_string_lossy().into_owned();
    let io = |error| PlaceError::Io(shown.clone(), error);
    // A leftover of this operation by its name, and not in its place yet.
    match std::fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft).map_err(io)?;
    match (content, copy.format.as_str()) {
        (Content::Nothing, _) => {}
        (Content::EmptyDisk, "raw") => file.set_len(copy.capacity.0).map_err(io)?,
        (Content::EmptyDisk, format) => empty_disk(draft, format, copy)?,
    }
    file.sync_all().map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn empty_disk(draft: &Path, format: &str, copy: &DiskCopy) -> Result<(), PlaceError> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", format]);
    if let Some(backing) = &copy.backing {
        let below = backing.format.as_deref().unwrap_or("raw");
        command.args(["-b", &backing.path, "-F", below]);
    }
    command.arg(draft).arg(copy.capacity.0.to_string());
    run(&mut command)
}

/// Runs qemu-img.
pub fn run(command: &mut Command) -> Result<(), PlaceError> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| PlaceError::Tool(format!("cannot be started: {error}")))?;
    if done.status.success() {
        return Ok(());
    }
    Err(PlaceError::Tool(String::from_utf8_lossy(&done.stderr).trim().to_owned()))
}

/// Puts the draft in its place, unless something is there.
pub fn put(draft: &Path, path: &str) -> Result<(), PlaceError> {
    let io = |error| PlaceError::Io(path.to_owned(), error);
    match std::fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(PlaceError::Taken(path.to_owned()));
        }
        other => other.map_err(io)?,
    }
    std::fs::remove_file(draft).map_err(io)?;
    sync_directory(Path::new(path).parent().unwrap_or(Path::new("/"))).map_err(io)
}

/// Removes the file at a path if it is this one.
pub fn remove(path: &Path, inode_of: Inode) -> io::Result<()> {
    if inode(path) != Some(inode_of) {
        return Ok(());
    }
    remove_if_there(path)
}

/// That it is gone already is as good.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
