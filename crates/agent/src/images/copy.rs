//! Copies one image to a peer: reads it, sums it up, and keeps to the cap. Blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drover_ports::{HypervisorError, ImageSink};
use rustix::fs::{SeekFrom, seek};

use super::checksum::Sum;

/// Sent at a time.
const CHUNK: u64 = 1 << 20;

/// What a copy and those who watch it tell each other.
#[derive(Debug, Default)]
pub struct Control {
    /// Bytes of all images that are known so far.
    pub total: AtomicU64,
    /// Bytes of them that are behind it, holes included.
    pub processed: AtomicU64,
    /// Bytes that were sent.
    pub sent: AtomicU64,
    /// It is to end.
    pub cancelled: AtomicBool,
}

/// What says that a file has been written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: (u64, u64),
    /// Length.
    pub length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file at a path, now.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self {
            inode: (found.dev(), found.ino()),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Sends the first `length` bytes of a file; their SHA-256.
pub fn send(
    file: &File,
    length: u64,
    mib_per_s: Option<u64>,
    mut sink: Box<dyn ImageSink>,
    control: &Control,
) -> Result<String, HypervisorError> {
    let broken = |error: io::Error| HypervisorError::Broken(format!("the image: {error}"));
    let (mut sum, mut buffer) = (Sum::default(), vec![0; CHUNK as usize]);
    let mut pace = Pace { begun: Instant::now(), mib_per_s, sent: 0 };
    let mut at = 0;
    while at < length {
        if control.cancelled.load(Ordering::Relaxed) {
            return Err(HypervisorError::Cancelled("asked to".to_owned()));
        }
        let (is_data, end) = piece(file, at, length);
        if is_data {
            let next = (end - at).min(CHUNK);
            let bytes = &mut buffer[..next as usize];
            file.read_exact_at(bytes, at).map_err(broken)?;
            sum.add(bytes);
            sink.send(bytes)?;
            at += next;
            control.sent.fetch_add(next, Ordering::Relaxed);
            control.processed.fetch_add(next, Ordering::Relaxed);
            pace.keep(next);
        } else {
            sum.add_zeros(end - at);
            sink.skip(end - at)?;
            control.processed.fetch_add(end - at, Ordering::Relaxed);
            at = end;
        }
    }
    sink.finish()?;
    Ok(sum.finish())
}

/// Whether there is data at a place, and where that ends. A file system that does not know
/// its holes has data everywhere.
fn piece(file: &File, at: u64, length: u64) -> (bool, u64) {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) if data > at => (false, data.min(length)),
        Ok(_) => (true, seek(file, SeekFrom::Hole(at)).unwrap_or(length).min(length)),
        // Nothing but a hole up to the end.
        Err(rustix::io::Errno::NXIO) => (false, length),
        Err(_) => (true, length),
    }
}

/// Keeps a copy at its cap.
struct Pace {
    begun: Instant,
    mib_per_s: Option<u64>,
    sent: u64,
}

impl Pace {
    fn keep(&mut self, sent: u64) {
        self.sent += sent;
        let Some(cap) = self.mib_per_s else { return };
        let due = Duration::from_micros(self.sent.saturating_mul(1_000_000) / (cap.max(1) << 20));
        std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use drover_model::Bytes;
    use drover_ports::memory::FileSink;

    use super::*;
    use crate::images::checksum;

    struct Stage(tempfile::TempDir);

    impl Stage {
        /// Data, a hole, data, a hole at the end.
        fn new() -> Self {
            let stage = Self(tempfile::tempdir().unwrap());
            let file = File::create(stage.0.path().join("from")).unwrap();
            file.write_all_at(&[7; 70_000], 0).unwrap();
            file.write_all_at(&[9; 2_000_000], 8 << 20).unwrap();
            file.set_len(16 << 20).unwrap();
            File::create(stage.0.path().join("to")).unwrap();
            stage
        }

        fn send(&self, cap: Option<u64>, control: &Control) -> Result<String, HypervisorError> {
            let to = self.0.path().join("to");
            let sink = FileSink::open(&to.to_string_lossy(), Bytes(16 << 20)).unwrap();
            let file = File::open(self.0.path().join("from")).unwrap();
            send(&file, 16 << 20, cap, Box::new(sink), control)
        }
    }

    #[test]
    fn a_copy_is_the_same_and_as_sparse() {
        let stage = Stage::new();
        let control = Control::default();
        let sum = stage.send(None, &control).unwrap();
        let of = |name| checksum::of_file(&stage.0.path().join(name)).unwrap();
        assert_eq!(of("from"), (16 << 20, sum));
        assert_eq!(of("to"), of("from"));
        assert_eq!(control.processed.into_inner(), 16 << 20);
        let taken = std::fs::metadata(stage.0.path().join("to")).unwrap().blocks() * 512;
        assert!(taken < 8 << 20, "{taken} bytes are taken");
    }

    #[test]
    fn a_copy_keeps_to_its_cap_and_ends_when_asked() {
        let stage = Stage::new();
        let begun = Instant::now();
        stage.send(Some(4), &Control::default()).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
        let control = Control::default();
        control.cancelled.store(true, Ordering::Relaxed);
        let ended = stage.send(None, &control);
        assert!(matches!(ended, Err(HypervisorError::Cancelled(_))), "{ended:?}");
    }
}
