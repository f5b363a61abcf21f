//! Random bits, from the operating system.

use ring::rand::{SecureRandom, SystemRandom};

/// `bytes` random bytes in hexadecimal.
pub(crate) fn hex(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    fill(&mut buffer);
    crate::hex::encode(&buffer)
}

/// A number from 0 to below 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
pub(crate) fn fraction() -> f64 {
    let mut buffer = [0; 8];
    fill(&mut buffer);
    (u64::from_le_bytes(buffer) >> 11) as f64 / (1_u64 << 53) as f64
}

fn fill(buffer: &mut [u8]) {
    // Nothing here decides over safety: a constant would only make names clash and back-offs
    // meet, and both are then seen.
    if SystemRandom::new().fill(buffer).is_err() {
        tracing::warn!("the operating system gives no random bytes");
    }
}
