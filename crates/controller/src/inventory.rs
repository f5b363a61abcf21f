//! What a host's inventory means for the records: pure.
//!
//! "Not there" counts only from a host whose libvirtd answers, and only when nothing is
//! under way for the guest. A guest that shows up is adopted as it is; one that shows up
//! twice is reported and left alone.

use std::collections::BTreeMap;

use drover_model::{Epoch, Guest, GuestId, HostId, OwnerPhase, OwnerRecord};

use crate::records::{GuestRecord, Tables};

/// What to do about one guest.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// Not known before: it belongs to the host that has it.
    Adopt(GuestRecord, OwnerRecord),
    /// It went to this host by another hand than ours.
    MovedByOthers(GuestRecord, OwnerRecord, HostId),
    /// Its configuration or state changed.
    Changed(GuestRecord),
    /// Its owner's host is up and does not have it.
    Disappeared(GuestRecord),
    /// It is active here although another host owns it and has it active as well, or does
    /// not answer.
    Double {
        /// The guest.
        guest: Guest,
        /// The owner.
        owner: HostId,
    },
}

/// Compares a host's complete list with the records.
///
/// `active_elsewhere` tells what other hosts said last: for each guest the hosts on which
/// it was active, and for each host whether it answers now.
pub fn compare(
    tables: &Tables,
    host: HostId,
    guests: &[Guest],
    answers: impl Fn(HostId) -> bool,
    active_on: impl Fn(GuestId, HostId) -> bool,
) -> Vec<Finding> {
    let seen: BTreeMap<GuestId, &Guest> = guests.iter().map(|guest| (guest.id, guest)).collect();
    let mut findings = Vec::new();
    for guest in guests {
        let known = tables.guests.get(guest.id);
        let Some(owner) = tables.owners.get(guest.id) else {
            findings.push(adopt(guest, None));
            continue;
        };
        if owner.host == host {
            findings.extend(changed(known, guest));
        } else if !guest.state.is_active() || owner.phase != OwnerPhase::Settled {
            // A definition left behind, or a copy that a migration of ours brings.
        } else if known.is_none_or(|known| known.absent) {
            findings.push(adopt(guest, Some(owner)));
        } else if !answers(owner.host) || active_on(guest.id, owner.host) {
            findings.push(Finding::Double { guest: guest.clone(), owner: owner.host });
        } else {
            let owner_before = owner.host;
            let (record, owner) = taken_over(guest, Some(owner));
            findings.push(Finding::MovedByOthers(record, owner, owner_before));
        }
    }
    for record in tables.guests.iter().filter(|record| !record.absent) {
        let settled_here = tables
            .owners
            .get(record.guest.id)
            .is_some_and(|owner| owner.host == host && owner.phase == OwnerPhase::Settled);
        if settled_here && !seen.contains_key(&record.guest.id) {
            findings.push(Finding::Disappeared(GuestRecord { absent: true, ..record.clone() }));
        }
    }
    findings
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

fn changed(known: Option<&GuestRecord>, guest: &Guest) -> Option<Finding> {
    match known {
        Some(record) if !record.absent && record.guest == *guest => None,
        Some(record) => Some(Finding::Changed(GuestRecord {
            guest: guest.clone(),
            absent: false,
            ..record.clone()
        })),
        None => Some(Finding::Changed(GuestRecord {
            guest: guest.clone(),
            last_moved: None,
            absent: false,
        })),
    }
}
