//! Which QEMU runs a guest, by the file that its process was started from.
//!
//! What is installed on the host says nothing about a process that was started before the last
//! upgrade. Its file can still be read through /proc then, and has the version as text: it is
//! what `--version` prints. To ask QEMU itself would need libvirt's monitor command, which
//! marks the guest as tampered with; and nothing of what is found here is ever executed, since
//! any process can name a guest in its arguments.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use drover_model::RunningQemu;

/// What stands before the version in QEMU's file: `version()` of its vl.c, one literal.
const MARK: &[u8] = b"QEMU emulator version ";
/// Longest version that is read, bytes: `10.0.13` takes 7, and distributions add in parentheses.
const MOST_VERSION: usize = 32;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Bytes of a file that are looked at. QEMU's have 20 to 60 MiB.
const MOST_BYTES: u64 = 512 << 20;
/// Files that are remembered: hosts have one or two, and one more for each upgrade.
const MOST_FILES: usize = 64;

/// A file as it was: device, inode, length, and time of the last change in ns.
type Identity = (u64, u64, u64, i64);

/// Versions by file, so that each file is read once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Emulators {
    known: Arc<Mutex<BTreeMap<Identity, Option<String>>>>,
}

impl Emulators {
    /// The QEMU that this process is. None where it cannot be looked at, as of one that has
    /// ended, and where its file is the one installed and tells no version.
    pub(crate) fn of_process(&self, pid: i32) -> Option<RunningQemu> {
        self.of_link(Path::new(&format!("/proc/{pid}/exe")))
    }

    fn of_link(&self, link: &Path) -> Option<RunningQemu> {
        let shown = std::fs::read_link(link).ok()?;
        match self.version(link).ok()? {
            Some(version) => Some(RunningQemu::Known { version }),
            None => was_replaced(&shown).then_some(RunningQemu::Replaced),
        }
    }

    fn version(&self, path: &Path) -> io::Result<Option<String>> {
        let file = File::open(path)?;
        let is = file.metadata()?;
        let changed = is.ctime().saturating_mul(1_000_000_000).saturating_add(is.ctime_nsec());
        let identity = (is.dev(), is.ino(), is.size(), changed);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = known().get(&identity) {
            return Ok(version.clone());
        }
        let version = version_in(file.take(MOST_BYTES))?;
        let mut known = known();
        if known.len() >= MOST_FILES {
            known.clear();
        }
        known.insert(identity, version.clone());
        Ok(version)
    }
}

/// Whether a link to a process's file, as the kernel shows it, is to one that has no name any
/// more.
fn was_replaced(shown: &Path) -> bool {
    shown.as_os_str().as_encoded_bytes().ends_with(b" (deleted)")
}

/// The version that QEMU's file names.
fn version_in(mut file: impl Read) -> io::Result<Option<String>> {
    let mut seen: Vec<u8> = Vec::with_capacity(2 * CHUNK);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match file.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        seen.extend_from_slice(&chunk[..read]);
        // What stands near the end may go on in the next chunk, and is looked at again then.
        let rest = if read == 0 { 0 } else { MARK.len() + MOST_VERSION };
        let whole = seen.len().saturating_sub(rest);
        if let Some(version) = first_version(&seen, whole) {
            return Ok(Some(version));
        }
        if read == 0 {
            return Ok(None);
        }
        seen.drain(..whole);
    }
}

/// The first version of which the mark begins before `end`.
fn first_version(bytes: &[u8], end: usize) -> Option<String> {
    let mut from = 0;
    while let Some(next) = bytes.get(from..end)?.iter().position(|byte| *byte == MARK[0]) {
        let at = from + next;
        if let Some(after) = bytes[at..].strip_prefix(MARK)
            && let Some(version) = version_at_start(after)
        {
            return Some(version);
        }
        from = at + 1;
    }
    None
}

/// Up to a space or the end of the line: `7.2.22 (Debian 1:7.2+dfsg-7)` is 7.2.22.
fn version_at_start(bytes: &[u8]) -> Option<String> {
    let bytes = &bytes[..bytes.len().min(MOST_VERSION)];
    let word: Vec<u8> = bytes.iter().copied().take_while(u8::is_ascii_graphic).collect();
    let version = String::from_utf8(word).ok()?;
    version.starts_with(|first: char| first.is_ascii_digit()).then_some(version)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::process::{Child, Command};

    use super::*;

    /// As it is in QEMU's file.
    fn file(version: &str, before: usize) -> Vec<u8> {
        let mut bytes = vec![b'Q'; before];
        bytes.extend_from_slice(b"\0QEMU emulator version %s\0QEMU emulator version ");
        bytes.extend_from_slice(version.as_bytes());
        bytes.extend_from_slice(b"\nCopyright (c) 2003-2022 Fabrice Bellard\0");
        bytes
    }

    #[test]
    fn the_version_is_the_first_word_after_the_mark() {
        for (told, version) in [
            ("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", "7.2.22"),
            ("10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)", "10.0.13"),
            ("8.2.2 (Debian 1:8.2.2+ds-0ubuntu1)", "8.2.2"),
            ("8.2.91 (v9.0.0-rc1)", "8.2.91"),
            ("9.0.0", "9.0.0"),
        ] {
            let found = version_in(file(told, 10).as_slice()).unwrap();
            assert_eq!(found.as_deref(), Some(version), "{told}");
        }
    }

    #[test]
    fn a_version_is_found_wherever_chunks_end() {
        for before in (CHUNK - 90..CHUNK + 10).chain([0, 3 * CHUNK - 40]) {
            let found = version_in(file("7.2.22 (x)", before).as_slice()).unwrap();
            assert_eq!(found.as_deref(), Some("7.2.22"), "after {before} bytes");
        }
    }

    #[test]
    fn other_programs_tell_no_version() {
        for bytes in
            [&b""[..], b"QEMU", b"\0QEMU emulator version %s\n\0", b"QEMU emulator version "]
        {
            assert_eq!(version_in(bytes).unwrap(), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_process_tells_the_version_of_its_own_file_after_an_upgrade() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("qemu"), dir.path().join("exe"));
        let emulators = Emulators::default();
        std::fs::write(&path, file("7.2.22 (Debian)", 9)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let told = |emulators: &Emulators| emulators.of_link(&link);
        let known = |version: &str| Some(RunningQemu::Known { version: version.to_owned() });
        assert_eq!(told(&emulators), known("7.2.22"));
        // Another file under the same name is read anew.
        let new = dir.path().join("new");
        std::fs::write(&new, file("10.0.13 (Debian)", 9)).unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(told(&emulators), known("10.0.13"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(told(&emulators), None, "a process that has ended");
    }

    /// A program that runs for a minute and has this behind what is run of it.
    fn program(dir: &Path, rest: &[u8]) -> PathBuf {
        std::fs::create_dir(dir).unwrap();
        let path = dir.join("sleep");
        std::fs::copy("/bin/sleep", &path).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(rest).unwrap();
        path
    }

    fn start(path: &Path) -> Child {
        loop {
            match Command::new(path).arg("60").spawn() {
                // A process that another test begins at this moment holds the file open.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                started => return started.unwrap(),
            }
        }
    }

    #[test]
    fn a_running_process_is_told_by_its_file_when_that_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let qemu = program(&dir.path().join("qemu"), &file("7.2.22 (Debian)", 1));
        let other = program(&dir.path().join("other"), b"");
        let mut running = [start(&qemu), start(&other)];
        let emulators = Emulators::default();
        let told = |child: &Child| emulators.of_process(i32::try_from(child.id()).unwrap());
        let before = told(&running[1]);
        std::fs::remove_file(&qemu).unwrap();
        std::fs::remove_file(&other).unwrap();
        let after = running.each_ref().map(told);
        for child in &mut running {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(before, None, "it may be what is installed");
        let known = RunningQemu::Known { version: "7.2.22".to_owned() };
        assert_eq!(after, [Some(known), Some(RunningQemu::Replaced)]);
    }
}
