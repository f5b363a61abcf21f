//! Images on a peer, as the port has them.

use std::time::Duration;

use drover_ports::{HypervisorError, ImageSink};

use crate::connection::Upload;
use crate::error::LibvirtError;

/// Opening is tried so often: the pool may be another upload's, which ends just now.
const TRIES: u32 = 3;
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// An upload as the port has it.
#[derive(Debug)]
struct PeerImage(Upload);

/// Opens an image of a peer. Blocks.
pub(crate) fn open(
    peer_uri: &str,
    path: &str,
    length: u64,
) -> Result<Box<dyn ImageSink>, LibvirtError> {
    let mut tries = 1;
    loop {
        match Upload::open(peer_uri, path, length) {
            Ok(upload) => return Ok(Box::new(PeerImage(upload))),
            Err(error) if tries < TRIES && error.is_of_storage() => {
                tries += 1;
                std::thread::sleep(AGAIN);
            }
            Err(error) => return Err(error),
        }
    }
}

impl ImageSink for PeerImage {
    fn send(&mut self, bytes: &[u8]) -> Result<(), HypervisorError> {
        self.0.send(bytes).map_err(|error| error.translate(None))
    }

    fn skip(&mut self, length: u64) -> Result<(), HypervisorError> {
        self.0.skip(length).map_err(|error| error.translate(None))
    }

    fn finish(self: Box<Self>) -> Result<(), HypervisorError> {
        self.0.finish().map_err(|error| error.translate(None))
    }
}
