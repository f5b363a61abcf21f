//! What image files are: read from their headers, so that it is known of guests that are
//! shut off, too.
//!
//! The format is libvirt's word, never guessed: a guest can write into a raw image what looks
//! like a header.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drover_model::{BackingImage, Bytes, Disk, DiskSource, Guest};
use tokio::time::timeout;

/// Storage that hangs is not waited for: what was known before is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Allocations are told in such steps: an image that grows is no news with every block.
const STEP: u64 = 64 << 20;

/// `QFI\xfb`
const QCOW2_MAGIC: u32 = 0x5146_49fb;
/// Header extension that names the backing file's format.
const QCOW2_BACKING_FORMAT: u32 = 0xe279_2aca;
/// Longest name of a backing file, by QEMU's rules.
const MAX_BACKING_NAME: u32 = 1023;
/// Extensions that are looked at; QEMU writes two or three.
const MAX_EXTENSIONS: usize = 16;

/// What one image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Size that the guest sees; none for formats that are not read here.
    pub capacity: Option<Bytes>,
    /// Space that the file takes, rounded up.
    pub allocation: Bytes,
    /// The image below it.
    pub backing: Option<BackingImage>,
}

/// Reads an image of a format.
pub fn read(path: &Path, format: &str) -> io::Result<ImageFacts> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let (capacity, backing) = match format {
        "raw" => (Some(Bytes(metadata.len())), None),
        "qcow2" => {
            let (capacity, backing) = qcow2(&file, path)?;
            (Some(capacity), backing)
        }
        _ => (None, None),
    };
    // st_blocks counts 512 bytes whatever the file system's blocks are.
    let taken = (metadata.blocks() * 512).div_ceil(STEP) * STEP;
    let most = capacity.map_or(u64::MAX, |capacity| capacity.0.max(metadata.len()));
    Ok(ImageFacts { capacity, allocation: Bytes(taken.min(most)), backing })
}

fn qcow2(file: &File, path: &Path) -> io::Result<(Bytes, Option<BackingImage>)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut header = [0; 104];
    file.read_exact_at(&mut header[..72], 0)?;
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let long = |at: usize| (u64::from(word(at)) << 32) | u64::from(word(at + 4));
    if word(0) != QCOW2_MAGIC {
        return Err(wrong("it is no qcow2 image"));
    }
    let (version, name_at, name_length, capacity) = (word(4), long(8), word(16), long(24));
    if name_at == 0 {
        return Ok((Bytes(capacity), None));
    }
    if name_length > MAX_BACKING_NAME {
        return Err(wrong("the name of its backing file is too long"));
    }
    let mut name = vec![0; name_length as usize];
    file.read_exact_at(&mut name, name_at)?;
    let name = String::from_utf8(name).map_err(|_| wrong("its backing file is unreadable"))?;
    let extensions = if version >= 3 {
        let mut length = [0; 4];
        file.read_exact_at(&mut length, 100)?;
        u64::from(u32::from_be_bytes(length))
    } else {
        72
    };
    let backing =
        BackingImage { path: absolute(path, &name), format: backing_format(file, extensions)? };
    Ok((Bytes(capacity), Some(backing)))
}

fn backing_format(file: &File, mut at: u64) -> io::Result<Option<String>> {
    for _ in 0..MAX_EXTENSIONS {
        let mut head = [0; 8];
        file.read_exact_at(&mut head, at)?;
        let kind = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        match kind {
            0 => return Ok(None),
            QCOW2_BACKING_FORMAT if length <= 64 => {
                let mut name = vec![0; length as usize];
                file.read_exact_at(&mut name, at + 8)?;
                return Ok(String::from_utf8(name).ok());
            }
            _ => at += 8 + u64::from(length.next_multiple_of(8)),
        }
    }
    Ok(None)
}

/// A relative name is meant from the layer's own directory.
fn absolute(layer: &Path, name: &str) -> String {
    let directory = layer.parent().unwrap_or(Path::new("/"));
    directory.join(name).to_string_lossy().into_owned()
}

/// Facts of the images of this host's guests.
#[derive(Debug, Clone, Default)]
pub struct Images {
    known: Arc<Mutex<BTreeMap<String, ImageFacts>>>,
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl Images {
    /// Fills in what the files of these guests tell.
    pub async fn complete(&self, guests: &mut [Guest]) {
        let wanted: Vec<(String, String)> =
            guests.iter().flat_map(|guest| &guest.disks).filter_map(named).collect();
        // One reader at a time: where storage hangs, one thread does.
        if let Ok(turn) = Arc::clone(&self.reading).try_lock_owned() {
            let known = Arc::clone(&self.known);
            let reader = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let fresh = wanted.into_iter().filter_map(|(path, format)| {
                    let facts = read(Path::new(&path), &format).ok()?;
                    Some((path, facts))
                });
                let fresh = fresh.collect();
                *known.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
            });
            let _ = timeout(PATIENCE, reader).await;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for disk in guests.iter_mut().flat_map(|guest| &mut guest.disks) {
            if let Some(facts) = named(disk).and_then(|(path, _)| known.get(&path)) {
                disk.capacity = facts.capacity;
                disk.allocation = Some(facts.allocation);
                disk.backing.clone_from(&facts.backing);
            }
        }
    }
}

fn named(disk: &Disk) -> Option<(String, String)> {
    match &disk.source {
        DiskSource::File { path } => Some((path.clone(), disk.format.clone()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header as `qemu-img create -f qcow2 -b base -F raw` writes it, as far as is read.
    fn layer(backing: &str) -> Vec<u8> {
        let mut image = vec![0; 512];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &QCOW2_MAGIC.to_be_bytes());
        put(4, &3_u32.to_be_bytes());
        put(24, &(10_u64 << 20).to_be_bytes());
        put(100, &112_u32.to_be_bytes());
        put(112, &0x6803_f857_u32.to_be_bytes());
        put(116, &12_u32.to_be_bytes());
        put(136, &QCOW2_BACKING_FORMAT.to_be_bytes());
        put(140, &3_u32.to_be_bytes());
        put(144, b"raw");
        if !backing.is_empty() {
            put(8, &300_u64.to_be_bytes());
            put(16, &u32::try_from(backing.len()).unwrap().to_be_bytes());
            put(300, backing.as_bytes());
        }
        image
    }

    #[test]
    fn headers_tell_size_and_what_lies_below() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, layer("")).unwrap();
        let facts = read(&path, "qcow2").unwrap();
        assert_eq!((facts.capacity, facts.backing), (Some(Bytes(10 << 20)), None));
        std::fs::write(&path, layer("base.img")).unwrap();
        let backing = read(&path, "qcow2").unwrap().backing.unwrap();
        assert_eq!(Path::new(&backing.path), directory.path().join("base.img"));
        assert_eq!(backing.format.as_deref(), Some("raw"));
        // The same bytes as a raw disk are the guest's own.
        let raw = read(&path, "raw").unwrap();
        assert_eq!((raw.capacity, raw.backing), (Some(Bytes(512)), None));
        assert_eq!(read(&path, "vmdk").unwrap().capacity, None);
        std::fs::write(&path, [0; 100]).unwrap();
        assert!(read(&path, "qcow2").is_err());
    }
}
