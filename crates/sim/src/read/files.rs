//! The only part that touches the file system.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::{Percentages, ReadError, csv, limits, percentages, shown};
use crate::cluster::limits::MAX_GUESTS;
use crate::trace::Trace;

/// A trace as it lies on disk.
#[derive(Debug, Clone, PartialEq)]
pub enum Traced {
    /// A PlanetLab folder: cores follow from the guests' vCPUs.
    Percent(Percentages),
    /// A CSV file.
    Cores(Trace),
}

/// Reads a folder as PlanetLab, a file as CSV.
pub fn trace(path: &Path) -> Result<Traced, ReadError> {
    if path.is_dir() {
        return planetlab(path).map(Traced::Percent);
    }
    let name = path.display().to_string();
    csv(&name, &text(path)?).map(Traced::Cores)
}

/// A file's text, bounded.
pub fn text(path: &Path) -> Result<String, ReadError> {
    let name = path.display().to_string();
    let unread = |cause: std::io::Error| {
        ReadError::of(&name, format!("it cannot be read: {cause}"), "name a file that is there")
    };
    let file = File::open(path).map_err(unread)?;
    let mut text = String::new();
    file.take(limits::MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unread)?;
    if text.len() as u64 > limits::MAX_FILE_BYTES {
        let problem = format!("it has more than {} bytes", limits::MAX_FILE_BYTES);
        return Err(ReadError::of(&name, problem, "take a shorter part of the trace"));
    }
    Ok(text)
}

/// Every file of the folder that is not hidden, by name.
fn planetlab(path: &Path) -> Result<Percentages, ReadError> {
    let folder = path.display().to_string();
    let unread = |cause: std::io::Error| {
        ReadError::of(&folder, format!("it cannot be read: {cause}"), "name a folder of traces")
    };
    let mut files = Vec::new();
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || entry.path().is_dir() {
            continue;
        }
        let text = text(&entry.path())?;
        bytes += text.len() as u64;
        files.push((name, text));
        if files.len() > MAX_GUESTS || bytes > limits::MAX_FILE_BYTES {
            let problem = format!(
                "there are more than {MAX_GUESTS} files or {} bytes, the last is {}",
                limits::MAX_FILE_BYTES,
                shown(&entry.path().display().to_string())
            );
            return Err(ReadError::of(&folder, problem, "take a part of the folder"));
        }
    }
    files.sort();
    percentages(&folder, files.iter().map(|(name, text)| (name.as_str(), text.as_str())))
}
