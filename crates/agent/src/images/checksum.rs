//! SHA-256 of files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use ring::digest::{Context, SHA256};

use crate::hex;

/// Read at a time.
const CHUNK: usize = 1 << 20;

/// A sum in the making.
pub struct Sum {
    context: Context,
    zeros: Vec<u8>,
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sum").finish_non_exhaustive()
    }
}

impl Default for Sum {
    fn default() -> Self {
        Self { context: Context::new(&SHA256), zeros: vec![0; CHUNK] }
    }
}

impl Sum {
    /// The next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// So many zero bytes.
    pub fn add_zeros(&mut self, mut length: u64) {
        while length > 0 {
            let next = length.min(CHUNK as u64);
            #[expect(clippy::cast_possible_truncation, reason = "at most a chunk")]
            self.context.update(&self.zeros[..next as usize]);
            length -= next;
        }
    }

    /// The sum, hex.
    pub fn finish(self) -> String {
        hex::encode(self.context.finish().as_ref())
    }
}

/// Length and sum of a file, once all of it is on the disk.
pub fn of_file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    file.sync_all()?;
    let (mut sum, mut buffer, mut length) = (Sum::default(), vec![0; CHUNK], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((length, sum.finish())),
            read => {
                sum.add(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_count_as_what_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let mut bytes = b"abc".to_vec();
        bytes.resize(3 + 2_500_000, 0);
        std::fs::write(&path, &bytes).unwrap();
        let mut sum = Sum::default();
        sum.add(b"abc");
        sum.add_zeros(2_500_000);
        assert_eq!(of_file(&path).unwrap(), (2_500_003, sum.finish()));
        assert_eq!(
            Sum::default().finish(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
