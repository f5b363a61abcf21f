//! The queue of admitted operations: whose turn it is, and whether its grounds still hold.
//!
//! `drover_lifecycle::queue` says who may begin; here the tables are put before it. [`crate::begin`]
//! acts on it. The last word is said inside the commit that begins a move ([`may_begin`]), so
//! that two turns at once cannot exceed a limit together.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use drover_lifecycle::queue::{Begun, Place, Urgency, Wait, Waiting, schedule};
use drover_lifecycle::{Failure, FailureKind, MigrationState};
use drover_model::{
    ClusterView, GuestView, HostState, HostView, InFlightMove, MigrationLimits, MigrationMode,
    OperationId, OwnerPhase, Reading, Timestamp,
};
use drover_planner::{Budget, Goal, Policy, as_if_running};
use drover_ports::Entity;
use drover_rules::constraint::Constraint;
use drover_rules::{PlacementPolicy, Projection, Refusal, check_movable, check_placement};

use crate::guest_policy;
use crate::live::Live;
use crate::placement::{initiative, wishes};
use crate::preflight::memory::on_the_way;
use crate::records::{Cause, LimitsName, OperationRecord, PolicyName, Tables};

/// A move that begins so soon after it was planned is not judged again: what it would be
/// judged by is what it was planned by.
const JUST_PLANNED: Duration = Duration::from_secs(2);
/// A sample so old tells nothing of now. Agents sample every few seconds, and one that is
/// silent for so long is known to be unreachable.
const OLDEST_SAMPLE: Duration = Duration::from_secs(120);

/// The limits in force.
pub fn limits(tables: &Tables) -> MigrationLimits {
    tables.limits.get(LimitsName::Migrations).map_or_else(MigrationLimits::default, |of| of.limits)
}

/// The same limits as the planner takes them: each batch may begin as a whole.
pub fn budget(tables: &Tables) -> Budget {
    Budget::within(&limits(tables), tables.hosts.len())
}

/// Whose wish comes first.
pub const fn urgency(cause: &Cause) -> Urgency {
    match cause {
        Cause::Drain { .. } => Urgency::Evacuation,
        Cause::Request { .. } => Urgency::Request,
        Cause::Rule { .. } | Cause::Policy { name: PolicyName::PowerCap } => Urgency::Relief,
        Cause::Policy { .. } => Urgency::Balance,
    }
}

/// The queue in its order.
pub fn places(tables: &Tables) -> Vec<Place> {
    places_of(tables, &|_| true)
}

/// The queue in its order, of those that wait only for these.
pub fn places_of(tables: &Tables, takes_part: &dyn Fn(&OperationRecord) -> bool) -> Vec<Place> {
    let mut begun = Vec::new();
    let mut waiting = Vec::new();
    for record in tables.operations.iter() {
        let migration = &record.migration;
        let (from, to) = (migration.from, migration.to);
        if matches!(migration.state, MigrationState::Admitted) {
            if !takes_part(record) {
                continue;
            }
            let (urgency, operation) = (urgency(&record.cause), migration.operation);
            let priority = Reverse(guest_policy::of(tables, migration.guest).priority());
            waiting.push(Waiting { urgency, priority, operation, from, to });
        } else if is_under_way(tables, record) {
            begun.push(Begun { from, to });
        }
    }
    schedule(&limits(tables), tables.hosts.len(), &begun, &waiting)
}

/// Whether it has begun and takes its share of the links. One whose source is out of reach
/// waits for that host, maybe for ever: it must not keep the others waiting.
fn is_under_way(tables: &Tables, record: &OperationRecord) -> bool {
    let migration = &record.migration;
    let source = tables.hosts.get(migration.from);
    let reachable = source.is_some_and(|of| of.host.state != HostState::Unreachable);
    let begun = !matches!(migration.state, MigrationState::Admitted);
    begun && !migration.state.is_finished() && reachable
}

/// Whether it is this operation's turn, of those that are ready to begin.
pub fn may_begin(tables: &Tables, live: &Live, now: Timestamp, operation: OperationId) -> bool {
    let ready = |record: &OperationRecord| {
        let id = record.migration.operation;
        id == operation || !is_looked_at(record) || live.is_clear_to_begin(id, now)
    };
    let mut places = places_of(tables, &ready).into_iter();
    places.any(|place| place.waiting.operation == operation && place.wait.is_none())
}

/// Whether the hosts are asked before it begins. Of a rescue the source is dead, and libvirt
/// on the target judges what it starts.
pub fn is_looked_at(record: &OperationRecord) -> bool {
    record.migration.settings.mode != MigrationMode::Rescue
}

/// What a queued operation waits for, in words; none when it may begin.
pub fn why(tables: &Tables, live: &Live, place: &Place) -> Option<String> {
    let (from, to) = (tables.host_name(place.waiting.from), tables.host_name(place.waiting.to));
    let Some(wait) = place.wait else {
        let record = tables.operations.get(place.waiting.operation)?;
        // By the newest samples, as its turn will judge it.
        let now = live.latest(Entity::Host(place.waiting.to)).map_or(record.created, |of| of.at);
        return match grounds(tables, live, now.max(record.created), record) {
            Grounds::Unclear(why) => Some(why),
            Grounds::Hold => why_not_looked_at(live, record, (&from, &to)),
            Grounds::Gone(_) => None,
        };
    };
    Some(match wait {
        Wait::Source { busy } => format!("{from} already sends {busy}"),
        Wait::Target { busy } => format!("{to} already takes {busy}"),
        Wait::Link { busy } => format!("{busy} already go between {from} and {to}"),
        Wait::Cluster { busy } => format!("{busy} are already under way in the cluster"),
        Wait::Behind { operation } => {
            let first = tables.operations.get(operation);
            let guest = first.map(|record| tables.guest_name(record.migration.guest));
            format!("{} comes first", guest.unwrap_or_else(|| operation.to_string()))
        }
    })
}

fn why_not_looked_at(
    live: &Live,
    record: &OperationRecord,
    (from, to): (&str, &str),
) -> Option<String> {
    let migration = &record.migration;
    let silent = [(migration.from, from), (migration.to, to)];
    let silent = silent.into_iter().find(|(host, _)| !live.is_connected(*host));
    match silent {
        Some((_, name)) if is_looked_at(record) => {
            Some(format!("the agent of {name}, which is not connected, is to be asked"))
        }
        _ if live.looked_at().contains(&migration.operation) => {
            Some(format!("{from} and {to} are asked whether it can go"))
        }
        _ => None,
    }
}

/// Whether what a queued move was planned on still holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Grounds {
    /// It may begin.
    Hold,
    /// That cannot be said at this moment.
    Unclear(String),
    /// It may not, and would not in a while.
    Gone(Failure),
}

/// Judges a queued move anew: hosts may have gone, guests stopped, memory been taken.
pub fn grounds(tables: &Tables, live: &Live, now: Timestamp, record: &OperationRecord) -> Grounds {
    let migration = &record.migration;
    let gone = |message: String| Grounds::Gone(Failure { kind: FailureKind::Refused, message });
    let owned = tables.owners.get(migration.guest).is_some_and(|owner| {
        let settled = owner.phase == OwnerPhase::Settled && owner.host == migration.from;
        settled && owner.epoch == migration.epoch
    });
    if !owned {
        return gone("it changed hands while its move waited".to_owned());
    }
    if migration.settings.mode == MigrationMode::Rescue || now.since(record.created) < JUST_PLANNED
    {
        return Grounds::Hold;
    }
    let view = picture(tables, live, now, record);
    let refusals = refusals(tables, &view, record);
    if refusals.is_empty() {
        return Grounds::Hold;
    }
    let reasons: Vec<&str> = refusals.iter().map(|one| one.reason.as_str()).collect();
    let text = reasons.join("; ");
    if refusals.iter().all(|one| one.constraint == Constraint::FreshSamples) {
        return Grounds::Unclear(text);
    }
    gone(format!("it may not go to {} any more: {text}", tables.host_name(migration.to)))
}

/// What speaks against the move now. Thresholds of rules do not: they were weighed when it was
/// planned, and an operator may have overruled them.
fn refusals(tables: &Tables, view: &ClusterView, record: &OperationRecord) -> Vec<Refusal> {
    let migration = &record.migration;
    // What checks have found is not asked here: this move has a check of its own.
    let placement = PlacementPolicy {
        initiative: initiative(tables, &record.cause),
        ..on_the_way(wishes(tables), &migration.settings)
    };
    // What a guest that is shut off needs is measured nowhere.
    let goal = Goal::Place { guest: migration.guest, to: Some(migration.to) };
    let policy = Policy::new(goal, placement.clone());
    let filled = (migration.settings.mode == MigrationMode::Cold)
        .then(|| as_if_running(view, &policy, migration.guest));
    let projection = Projection::of(filled.as_ref().unwrap_or(view));
    let movable = check_movable(&projection, &placement, migration.guest).into_iter();
    let placed = check_placement(&projection, &placement, migration.guest, migration.to)
        .into_iter()
        // Members of a group arrive one after the other.
        .filter(|one| one.constraint != Constraint::Together);
    movable.chain(placed).collect()
}

/// The cluster by the newest samples. What has begun is booked, what only waits is not: of two
/// that waited for the same room one gets it.
fn picture(tables: &Tables, live: &Live, now: Timestamp, record: &OperationRecord) -> ClusterView {
    let readings = |entity: Entity| {
        let fresh = |latest: &crate::live::Latest| now.since(latest.at) <= OLDEST_SAMPLE;
        let latest = live.latest(entity).filter(fresh);
        let known = |newest| move |value| Reading::Known { value, samples: 1, newest };
        latest.map_or_else(BTreeMap::new, |latest| {
            let known = known(latest.at);
            latest.values.iter().map(|(metric, value)| (*metric, known(*value))).collect()
        })
    };
    let hosts = tables.hosts.iter().map(|of| {
        let id = of.host.id;
        let readings = readings(Entity::Host(id));
        (id, HostView { host: of.host.clone(), readings, lines: crate::view::lines(tables, id) })
    });
    let guests = tables.guests.iter().filter(|of| !of.absent).map(|of| {
        let (id, guest) = (of.guest.id, of.guest.clone());
        let readings = readings(Entity::Guest(id));
        (id, GuestView { guest, readings, last_moved: of.last_moved })
    });
    let own = record.migration.operation;
    let under_way = tables.operations.iter().filter(|of| {
        let migration = &of.migration;
        if migration.operation == own || matches!(migration.state, MigrationState::Admitted) {
            return false;
        }
        // Arrived, and not measured since.
        let arrived = matches!(migration.state, MigrationState::Completed { .. });
        let measured = || {
            let latest = live.latest(Entity::Host(migration.to));
            latest.is_some_and(|latest| latest.at > of.changed())
        };
        let recent = now.since(of.changed()) <= OLDEST_SAMPLE;
        !migration.state.is_finished() || (arrived && recent && !measured())
    });
    let in_flight = under_way.map(|of| InFlightMove {
        operation: of.migration.operation,
        guest: of.migration.guest,
        from: of.migration.from,
        to: of.migration.to,
    });
    ClusterView {
        at: now,
        hosts: hosts.collect(),
        guests: guests.collect(),
        in_flight: in_flight.collect(),
    }
}
