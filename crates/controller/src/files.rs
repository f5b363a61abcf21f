//! Files that are whole or not there.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write(path, bytes, 0o600)
}

/// Writes a file that all may read.
pub fn write_public(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write(path, bytes, 0o644)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let doing = || format!("write {}", path.display());
    if temporary.exists() {
        std::fs::remove_file(temporary).with_context(doing)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(temporary)
        .with_context(doing)?;
    file.write_all(bytes).with_context(doing)?;
    file.sync_all().with_context(doing)?;
    std::fs::rename(temporary, path).with_context(doing)
}
