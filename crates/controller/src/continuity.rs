//! What is known of guests' networks around a move: whom the target announces, whether it
//! measures, and what is said of the result.

use drover_agent_api::v1::KnownNic;
use drover_lifecycle::Migration;
use drover_model::{GuestId, MigrationMode};

use crate::engine::of_rule;
use crate::events::{Draft, Severity};
use crate::guest_policy;
use crate::records::{OperationRecord, Tables};

/// A longer blackout is worth a warning: switches that learn take a few hundred milliseconds
/// beside the guest's own pause, and many a TCP application gives up after some seconds.
pub const ALARM_MS: u64 = 3000;

/// The guest's network cards with the addresses that they were heard to claim.
pub(crate) fn known_nics(tables: &Tables, guest: GuestId) -> Vec<KnownNic> {
    let Some(record) = tables.guests.get(guest) else { return Vec::new() };
    let nics = record.guest.nics.iter().map(|nic| KnownNic {
        mac: nic.mac.clone(),
        addresses: nic.addresses.iter().map(ToString::to_string).collect(),
    });
    nics.collect()
}

/// Whether the target asks the guest while it arrives: its policy lets it, it has an address
/// to be asked at, and it runs all the way.
pub(crate) fn is_probed(tables: &Tables, migration: &Migration) -> bool {
    let known = tables.guests.get(migration.guest);
    migration.settings.mode == MigrationMode::Live
        && guest_policy::of(tables, migration.guest).is_probed()
        && known.is_some_and(|known| known.guest.nics.iter().any(|nic| !nic.addresses.is_empty()))
}

/// What the event log says of a blackout.
pub(crate) fn blackout(
    tables: &Tables,
    operation: &OperationRecord,
    millis: u64,
    still_silent: bool,
) -> Draft {
    let migration = &operation.migration;
    let guest = tables.guest_name(migration.guest);
    let to = tables.host_name(migration.to);
    let (kind, severity, text) = if still_silent {
        let text = format!(
            "{guest} has not answered on the network for {millis} ms since it moved to {to}"
        );
        ("migration.cut_off", Severity::Error, text)
    } else if millis > ALARM_MS {
        let text = format!(
            "{guest} was away from the network for {millis} ms on its move to {to}: see \
             \"Long blackouts\" in the guide on networks"
        );
        ("migration.long_blackout", Severity::Warning, text)
    } else {
        let text = format!("{guest} was away from the network for {millis} ms");
        ("migration.blackout", Severity::Info, text)
    };
    of_rule(Draft::new(kind, severity, text), &operation.cause)
        .guest(guest)
        .host(to)
        .operation(migration.operation)
        .plan(operation.plan)
        .with("blackout_ms", millis)
        .with("still_silent", still_silent)
}
