//! How far a drain is, and when it will be over.

use std::time::Duration;

use drover_lifecycle::MigrationState;
use drover_model::{GuestId, OperationId, Timestamp};

use super::{leaving, operations};
use crate::records::{MaintenanceRecord, OperationRecord, Tables};

/// How far a drain is. Bytes are the guests' memory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Guests that have left by its moves.
    pub moved: u32,
    /// Guests that are still there.
    pub left: u32,
    /// Of these, those that are being moved.
    pub under_way: u32,
    /// Of these, those whose move waits for its turn.
    pub queued: u32,
    /// Memory of those that have left.
    pub bytes_moved: u64,
    /// Memory of those that are still there, without what has been sent of it.
    pub bytes_left: u64,
    /// Memory that leaves in a second, measured over the moves that have ended; none before.
    pub bytes_per_second: Option<u64>,
    /// When it will be over; none while nothing is measured, or guests hang.
    pub end: Option<Timestamp>,
}

/// How far the drain is by the tables; `sent` says which part of an operation is sent, 0 to 1.
pub fn progress(
    tables: &Tables,
    record: &MaintenanceRecord,
    now: Timestamp,
    sent: impl Fn(OperationId) -> f64,
) -> Progress {
    let mut seen = Progress::default();
    let memory =
        |guest: GuestId| tables.guests.get(guest).map_or(0, |of| of.guest.memory_demand().0);
    let ours: Vec<&OperationRecord> =
        operations(tables, record).filter(|of| of.migration.from == record.host).collect();
    let mut span: Option<(Timestamp, Timestamp)> = None;
    for of in ours.iter().filter(|of| is_done(of)) {
        seen.moved += 1;
        seen.bytes_moved += memory(of.migration.guest);
        let begun = of.entered("offering").unwrap_or(of.created);
        span = Some(match span {
            Some((first, last)) => (first.min(begun), last.max(of.changed())),
            None => (begun, of.changed()),
        });
    }
    let (mut left, mut sent_of_left) = (0, 0);
    for guest in leaving(tables, record.host) {
        seen.left += 1;
        left += memory(guest);
        let unfinished = |of: &&OperationRecord| {
            of.migration.guest == guest && !of.migration.state.is_finished()
        };
        match tables.operations.iter().rev().find(unfinished) {
            Some(of) if matches!(of.migration.state, MigrationState::Admitted) => seen.queued += 1,
            Some(of) => {
                seen.under_way += 1;
                sent_of_left += part(memory(guest), sent(of.migration.operation));
            }
            None => {}
        }
    }
    seen.bytes_left = left.saturating_sub(sent_of_left);
    let elapsed = span.map(|(first, last)| last.since(first));
    let rate = elapsed.and_then(|elapsed| rate(seen.bytes_moved, elapsed));
    seen.bytes_per_second = rate;
    if record.hanging.is_empty() {
        seen.end = rate.and_then(|rate| estimate(seen.bytes_left, rate)).map(|in_| now.plus(in_));
    }
    seen
}

/// How long the rest takes at this rate, bytes per second.
pub fn estimate(bytes_left: u64, bytes_per_second: u64) -> Option<Duration> {
    let millis = u128::from(bytes_left) * 1000 / u128::from(bytes_per_second.max(1));
    u64::try_from(millis).ok().map(Duration::from_millis)
}

fn rate(bytes: u64, elapsed: Duration) -> Option<u64> {
    let millis = elapsed.as_millis();
    if millis == 0 {
        return None;
    }
    u64::try_from(u128::from(bytes) * 1000 / millis).ok().filter(|rate| *rate > 0)
}

fn is_done(of: &OperationRecord) -> bool {
    matches!(of.migration.state, MigrationState::Completed { .. })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a memory size, far below 2^53"
)]
fn part(bytes: u64, part: f64) -> u64 {
    (bytes as f64 * part.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_it_took_so_far() {
        let rate = rate(8 << 30, Duration::from_secs(80)).unwrap();
        assert_eq!(estimate(4 << 30, rate), Some(Duration::from_secs(40)));
        assert_eq!(self::rate(1, Duration::ZERO), None);
        assert_eq!(estimate(0, 1), Some(Duration::ZERO));
    }
}
