//! What one move took, whoever made it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use drover_lab::Lab;

/// The probe looks this often: its resolution.
const PROBE: Duration = Duration::from_millis(5);
/// The client looks so long before the move and after it.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_millis(700);

/// What a client saw of a move, milliseconds.
pub(super) struct Seen {
    pub(super) ping_gap: f64,
    pub(super) tcp_gap: f64,
}

/// What one move took, milliseconds.
pub(super) struct Took {
    /// From the request to the guest running on the target.
    pub(super) wall: f64,
    /// The pause that QEMU reports.
    pub(super) downtime: f64,
    pub(super) seen: Seen,
}

/// Lets a client look at the guest during a move; fails if it lost a line.
pub(super) fn watched<T>(
    lab: &Lab,
    guest: &str,
    act: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(Seen, T)> {
    let probe = lab.probe_every(guest, None, PROBE)?;
    std::thread::sleep(BEFORE);
    let done = act()?;
    std::thread::sleep(AFTER);
    let report = probe.finish()?;
    anyhow::ensure!(report.is_unbroken(), "a client lost something: {report:?}");
    let seen = Seen { ping_gap: report.ping_longest_gap_ms, tcp_gap: report.tcp_longest_gap_ms };
    Ok((seen, done))
}

/// Unix time in milliseconds. Lab and daemons have one machine's clock.
pub(super) fn unix_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1000.0
}
