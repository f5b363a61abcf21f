//! What a host's inventory means for the records: pure.
//!
//! "Not there" counts only from a host whose libvirtd answers, and only when nothing is
//! under way for the guest. A guest that shows up is adopted as it is; one that shows up
//! while its owner has it, too, is looked at again until it is clear what it is: hosts
//! speak one after the other, and a migration by another hand looks like that for a moment.

use std::collections::BTreeMap;

use drover_model::{Epoch, Guest, GuestId, GuestState, HostId, OwnerPhase, OwnerRecord};

use crate::events::{Draft, Severity};
use crate::records::{GuestRecord, Tables, Txn};

/// What to do about one guest.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// Not known before: it belongs to the host that has it.
    Adopt(GuestRecord, OwnerRecord),
    /// It went to this host by another hand than ours.
    MovedByOthers(GuestRecord, OwnerRecord, HostId),
    /// Its configuration or state changed; its state before, where that is news.
    Changed(GuestRecord, Option<GuestState>),
    /// Its owner's host is up and does not have it.
    Disappeared(GuestRecord),
    /// It is active here although another host owns it and has it active as well, or does
    /// not answer. Look again; if it stays so it runs twice.
    Unclear {
        /// The guest.
        guest: Guest,
        /// The owner.
        owner: HostId,
    },
}

/// What hosts said last.
pub trait Sightings {
    /// Whether the host's agent is connected and its libvirtd answers.
    fn answers(&self, host: HostId) -> bool;
    /// Whether the host last reported this guest as active.
    fn active_on(&self, guest: GuestId, host: HostId) -> bool;
    /// Whether another host than this one reports the guest as active.
    fn active_elsewhere(&self, guest: GuestId, than: HostId) -> bool;
}

/// Compares a host's complete list with the records.
pub fn compare(
    tables: &Tables,
    host: HostId,
    guests: &[Guest],
    sightings: &impl Sightings,
) -> Vec<Finding> {
    let seen: BTreeMap<GuestId, &Guest> = guests.iter().map(|guest| (guest.id, guest)).collect();
    let here = guests.iter().filter_map(|guest| judge(tables, host, guest, sightings));
    let mut findings: Vec<Finding> = here.collect();
    for record in tables.guests.iter().filter(|record| !record.absent) {
        let id = record.guest.id;
        let settled_here = tables
            .owners
            .get(id)
            .is_some_and(|owner| owner.host == host && owner.phase == OwnerPhase::Settled);
        // Where another host has it, that one tells what became of it.
        if settled_here && !seen.contains_key(&id) && !sightings.active_elsewhere(id, host) {
            findings.push(Finding::Disappeared(GuestRecord { absent: true, ..record.clone() }));
        }
    }
    findings
}

/// What it means that a host has this guest; nothing where it is as recorded.
pub fn judge(
    tables: &Tables,
    host: HostId,
    guest: &Guest,
    sightings: &impl Sightings,
) -> Option<Finding> {
    let known = tables.guests.get(guest.id);
    let Some(owner) = tables.owners.get(guest.id) else {
        return (guest.state != GuestState::PausedForMigration).then(|| adopt(guest, None));
    };
    if owner.host == host {
        let settled = owner.phase == OwnerPhase::Settled;
        return changed(known, guest, settled);
    }
    let cannot_run = !guest.state.is_active() || guest.state == GuestState::PausedForMigration;
    if cannot_run || owner.phase != OwnerPhase::Settled {
        // A definition left behind, or a copy that a migration, ours or not, brings.
        None
    } else if known.is_none_or(|known| known.absent) {
        Some(adopt(guest, Some(owner)))
    } else if !sightings.answers(owner.host) || sightings.active_on(guest.id, owner.host) {
        Some(Finding::Unclear { guest: guest.clone(), owner: owner.host })
    } else {
        let before = owner.host;
        let (record, owner) = taken_over(guest, Some(owner));
        Some(Finding::MovedByOthers(record, owner, before))
    }
}

/// Puts a finding into a transaction; what the event log says of it.
pub fn enter(tables: &Tables, txn: &mut Txn, host: &str, finding: Finding) -> Option<Draft> {
    match finding {
        Finding::Adopt(record, owner) => {
            let name = record.guest.name.clone();
            let text = format!(
                "guest {name} on {host} is adopted as it is ({})",
                record.guest.state.as_str()
            );
            settle(tables, txn, record, owner);
            Some(Draft::new("guest.adopted", Severity::Info, text).guest(name).host(host))
        }
        Finding::MovedByOthers(record, owner, _) => {
            let name = record.guest.name.clone();
            settle(tables, txn, record, owner);
            let text = format!("guest {name} went to {host} by another hand");
            Some(Draft::new("guest.moved", Severity::Warning, text).guest(name).host(host))
        }
        Finding::Changed(record, before) => {
            let draft = before.and_then(|before| state_event(host, &record.guest, before));
            txn.change(tables.guests.get(record.guest.id), record);
            draft
        }
        Finding::Disappeared(record) => {
            let name = record.guest.name.clone();
            txn.change(tables.guests.get(record.guest.id), record);
            let text = format!("guest {name} is no longer defined on {host}");
            Some(Draft::new("guest.removed", Severity::Info, text).guest(name).host(host))
        }
        Finding::Unclear { .. } => None,
    }
}

fn settle(tables: &Tables, txn: &mut Txn, record: GuestRecord, owner: OwnerRecord) {
    let guest = owner.guest;
    txn.change(tables.guests.get(guest), record);
    txn.change(tables.owners.get(guest), owner);
}

/// What users look for first in an event log: when a guest went down, and came back.
fn state_event(host: &str, guest: &Guest, before: GuestState) -> Option<Draft> {
    use GuestState as S;
    let (name, state) = (&guest.name, guest.state);
    let (kind, severity, text) = match (before, state) {
        (_, S::Crashed) => ("guest.crashed", Severity::Error, "crashed"),
        (_, S::PausedByFault) => {
            ("guest.paused", Severity::Error, "is paused by a fault of its own: a disk error?")
        }
        (S::ShutOff | S::Crashed, S::Running) => ("guest.started", Severity::Info, "was started"),
        (_, S::ShutOff) => ("guest.stopped", Severity::Warning, "is shut off"),
        (S::Running, S::Paused) => ("guest.paused", Severity::Info, "was paused"),
        (S::Paused | S::PausedByFault, S::Running) => {
            ("guest.resumed", Severity::Info, "was resumed")
        }
        _ => return None,
    };
    let draft = Draft::new(kind, severity, format!("guest {name} on {host} {text}"));
    Some(draft.guest(name.clone()).host(host))
}

fn adopt(guest: &Guest, before: Option<&OwnerRecord>) -> Finding {
    let (record, owner) = taken_over(guest, before);
    Finding::Adopt(record, owner)
}

fn taken_over(guest: &Guest, before: Option<&OwnerRecord>) -> (GuestRecord, OwnerRecord) {
    let epoch = before.map_or(Epoch(1), |owner| owner.epoch.next());
    let owner =
        OwnerRecord { guest: guest.id, host: guest.host, epoch, phase: OwnerPhase::Settled };
    (GuestRecord { guest: guest.clone(), last_moved: None, absent: false }, owner)
}

fn changed(known: Option<&GuestRecord>, guest: &Guest, settled: bool) -> Option<Finding> {
    match known {
        Some(record) if !record.absent && record.guest == *guest => None,
        Some(record) => {
            // In mid-move states follow from the move, which tells its own story.
            let before = Some(record.guest.state)
                .filter(|state| settled && !record.absent && *state != guest.state);
            let record = GuestRecord { guest: guest.clone(), absent: false, ..record.clone() };
            Some(Finding::Changed(record, before))
        }
        None => {
            let record = GuestRecord { guest: guest.clone(), last_moved: None, absent: false };
            Some(Finding::Changed(record, None))
        }
    }
}
