//! Images of hosts in memory: files of this machine, which all of them see.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};

use drover_model::Bytes;

use crate::{HypervisorError, ImageSink};

/// Writes an image that exists.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    written: u64,
    length: u64,
}

impl FileSink {
    /// An existing file, to be written from its beginning to this length.
    pub fn open(path: &str, length: Bytes) -> Result<Self, HypervisorError> {
        let file = OpenOptions::new().write(true).open(path).map_err(refused)?;
        Ok(Self { file, written: 0, length: length.0 })
    }

    fn goes_on(&mut self, length: u64) -> Result<(), HypervisorError> {
        self.written += length;
        if self.written > self.length {
            return Err(HypervisorError::Refused("more than was announced".to_owned()));
        }
        Ok(())
    }
}

impl ImageSink for FileSink {
    fn send(&mut self, bytes: &[u8]) -> Result<(), HypervisorError> {
        self.goes_on(bytes.len() as u64)?;
        self.file.write_all(bytes).map_err(refused)
    }

    fn skip(&mut self, length: u64) -> Result<(), HypervisorError> {
        self.goes_on(length)?;
        self.file.seek(SeekFrom::Start(self.written)).map_err(refused)?;
        self.file.set_len(self.written).map_err(refused)
    }

    fn finish(self: Box<Self>) -> Result<(), HypervisorError> {
        self.file.sync_all().map_err(refused)
    }
}

fn refused(error: std::io::Error) -> HypervisorError {
    HypervisorError::Refused(error.to_string())
}
