//! Whether a disk can be copied with its guest.

use drover_model::Disk;

/// Formats of images that are copied with a guest: those whose sizes agents can read.
const FORMATS: [&str; 2] = ["raw", "qcow2"];

/// Why the image of a disk cannot be copied; none where it can.
pub fn why_not_copied(disk: &Disk) -> Option<String> {
    let format = disk.format.as_deref().unwrap_or("raw");
    if !FORMATS.contains(&format) {
        return Some(format!("its format is {format}, not raw or qcow2"));
    }
    if disk.shareable {
        return Some("several guests may write to it".to_owned());
    }
    let known = disk.capacity.is_some() && disk.allocation.is_some();
    (!known).then(|| "its host has not told its size".to_owned())
}
