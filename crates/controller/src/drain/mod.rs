//! Emptying a host: what is left to do, who hangs, how long it takes. Pure but for
//! `certificate`, which takes the seed of its search from outside.
//!
//! A drain keeps nothing in memory. What it did is told by the operations of its cause, so
//! it goes on after a restart of the controller as if there had been none.

mod plan;
mod progress;

pub use plan::{Certificate, certificate, in_words, targets};
pub use progress::{Progress, estimate, progress};

use std::time::Duration;

use drover_lifecycle::MigrationState;
use drover_model::{GuestId, HostId, Timestamp};

use crate::records::{Cause, MaintenanceRecord, OperationRecord, Tables};

/// A move is tried so often. After five failures over more than a minute the cause does not
/// pass by itself: a person has to look, and asks for the drain again afterwards.
pub const MOST_TRIES: u32 = 5;
/// The pause after a first failure; each further one doubles it.
pub const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// How a guest's attempts to leave went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempts {
    /// How many failed.
    pub failures: u32,
    /// When the last one did.
    pub last: Timestamp,
    /// Why the last one did.
    pub why: String,
}

impl Attempts {
    /// Whether it is time for another one.
    pub fn may_try(&self, now: Timestamp) -> bool {
        let doublings = self.failures.saturating_sub(1).min(MOST_TRIES);
        !self.are_over() && now.since(self.last) >= FIRST_PAUSE * 2_u32.pow(doublings)
    }

    /// Whether no other one is made.
    pub const fn are_over(&self) -> bool {
        self.failures >= MOST_TRIES
    }
}

/// The operations that this drain has made, the oldest first.
pub fn operations<'t>(
    tables: &'t Tables,
    record: &'t MaintenanceRecord,
) -> impl Iterator<Item = &'t OperationRecord> {
    tables.operations.iter().filter(|of| {
        let ours = matches!(&of.cause, Cause::Drain { host, .. } if *host == record.host);
        ours && of.created >= record.begun
    })
}

/// How the attempts of one guest went; none where none failed.
pub fn attempts(tables: &Tables, record: &MaintenanceRecord, guest: GuestId) -> Option<Attempts> {
    let of_guest = operations(tables, record).filter(|of| of.migration.guest == guest);
    // What was refused was not tried: the next plan chooses another host, or names the reason.
    of_guest.filter(|of| !of.is_refused()).fold(None, |so_far: Option<Attempts>, of| {
        let why = match &of.migration.state {
            MigrationState::Failed { cause, .. } => cause.message.clone(),
            MigrationState::Cancelled => "cancelled on request".to_owned(),
            _ => return so_far,
        };
        let failures = so_far.map_or(0, |before| before.failures) + 1;
        Some(Attempts { failures, last: of.changed(), why })
    })
}

/// Guests that are to leave the host: those that run.
pub fn leaving(tables: &Tables, host: HostId) -> Vec<GuestId> {
    let here = tables.guests.iter().filter(|of| !of.absent && of.guest.host == host);
    here.filter(|of| of.guest.state.is_active()).map(|of| of.guest.id).collect()
}

/// Guests of the host that stay: they are shut off.
pub fn staying(tables: &Tables, host: HostId) -> Vec<GuestId> {
    let leaving = leaving(tables, host);
    let here = tables.guests.iter().filter(|of| !of.absent && of.guest.host == host);
    here.map(|of| of.guest.id).filter(|guest| !leaving.contains(guest)).collect()
}

/// Whether an operation of the guest is not over.
pub fn is_busy(tables: &Tables, guest: GuestId) -> bool {
    tables
        .operations
        .iter()
        .any(|of| of.migration.guest == guest && !of.migration.state.is_finished())
}

/// Whether something is on its way from the host or to it.
pub fn is_touched(tables: &Tables, host: HostId) -> bool {
    tables.operations.iter().any(|of| {
        let migration = &of.migration;
        !migration.state.is_finished() && (migration.from == host || migration.to == host)
    })
}

/// Guests that are to leave, have no operation, and may be tried now.
pub fn due(tables: &Tables, record: &MaintenanceRecord, now: Timestamp) -> Vec<GuestId> {
    let free = leaving(tables, record.host).into_iter();
    free.filter(|guest| !is_busy(tables, *guest))
        .filter(|guest| {
            attempts(tables, record, *guest).is_none_or(|attempts| attempts.may_try(now))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(failures: u32) -> Attempts {
        Attempts { failures, last: Timestamp::from_millis(1000), why: "no".to_owned() }
    }

    #[test]
    fn pauses_double_and_tries_end() {
        for (failures, seconds) in [(1, 5), (2, 10), (3, 20), (4, 40)] {
            let at = |s: i64| Timestamp::from_millis(1000 + s * 1000);
            assert!(!after(failures).may_try(at(seconds - 1)), "{failures}");
            assert!(after(failures).may_try(at(seconds)), "{failures}");
        }
        assert!(after(5).are_over() && !after(5).may_try(Timestamp::from_millis(i64::MAX / 2)));
    }
}
