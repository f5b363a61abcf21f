//! One event of one host: the next state, and what else changes with it, in one commit.

use drover_lifecycle::power::{ParkEvent, ParkState, Sight, Wake, WakeEvent, WakeState};
use drover_model::{HostId, Timestamp};

use super::story::story;
use super::wake::wake_settings;
use super::{Switchboard, methods};
use crate::drain::{is_touched, leaving};
use crate::records::{PowerOutcome, PowerPhase, PowerRecord, RecordError, Tables, Txn};

/// Times that a step is tried again when someone else changed the store meanwhile.
const STEP_TRIES: usize = 3;

/// Why a test does not count whose host was woken all the same.
const WAYS_CHANGED: &str = "it is awake, but how it is woken was changed meanwhile";

/// Something that happened to a host's power.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// To a host that is woken, or that is off.
    Wake(WakeEvent),
    /// To a host that is parked.
    Park(ParkEvent),
}

impl Switchboard {
    /// Takes one event of one host. What means nothing in the present state is ignored: it is
    /// a repeat, or late.
    pub async fn take(&self, host: HostId, happening: Happening) {
        for _ in 0..STEP_TRIES {
            match self.apply(host, &happening).await {
                Ok(Some((before, after))) => {
                    let draft = story(&self.records.read(), &before, &after);
                    for draft in draft {
                        self.events.record(draft).await;
                    }
                    return;
                }
                Ok(None) => return,
                Err(error) if error.is_overtaken() => {}
                Err(error) => {
                    tracing::error!(%host, ?happening, %error, "a step could not be stored");
                    return;
                }
            }
        }
        tracing::error!(%host, ?happening, "a step was overtaken {STEP_TRIES} times");
    }

    async fn apply(
        &self,
        host: HostId,
        happening: &Happening,
    ) -> Result<Option<(PowerRecord, PowerRecord)>, RecordError> {
        let now = self.clock.now();
        self.records
            .update(|tables| {
                let mut txn = Txn::none();
                let Some(before) = tables.power.get(host) else { return (txn, None) };
                let Some(after) = after(tables, before, happening, now) else {
                    return (txn, None);
                };
                if ends_drain(before, &after) && is_our_drain(tables, before) {
                    txn.delete_maintenance_if(tables, host);
                }
                txn.change(before, after.clone());
                (txn, Some((before.clone(), after)))
            })
            .await
    }
}

/// The host is used again: it is awake, or was never told to switch off.
fn ends_drain(before: &PowerRecord, after: &PowerRecord) -> bool {
    before.drain.is_some() && after.drain.is_none()
}

/// Whether the drain that is there is the one that the park began, and nobody asked for
/// another one since.
fn is_our_drain(tables: &Tables, record: &PowerRecord) -> bool {
    let drain = tables.maintenance.get(record.host);
    drain.is_some_and(|drain| Some(drain.begun) == record.drain)
}

fn after(
    tables: &Tables,
    before: &PowerRecord,
    happening: &Happening,
    now: Timestamp,
) -> Option<PowerRecord> {
    match (&before.phase, happening) {
        (PowerPhase::Parking(park), Happening::Park(event)) => {
            // Said inside the commit: nothing has begun for this host since it was looked at.
            let host = before.host;
            let occupied = || !leaving(tables, host).is_empty() || is_touched(tables, host);
            let stays = || before.called_back.is_some() || occupied();
            if matches!(event, ParkEvent::Drained { .. }) && stays() {
                return None;
            }
            let (park, _) = park.step(event, now).ok()?;
            let after = PowerRecord { phase: PowerPhase::Parking(park), ..before.clone() };
            Some(parked(tables, after, now))
        }
        (PowerPhase::Waking(wake), Happening::Wake(event)) => {
            let (wake, _) = wake.step(event, now).ok()?;
            let after = PowerRecord { phase: PowerPhase::Waking(wake), ..before.clone() };
            Some(woken(after, now))
        }
        (
            PowerPhase::Parked(_) | PowerPhase::WakeFailed(_),
            Happening::Wake(WakeEvent::Seen(sight)),
        ) if is_up_by_itself(before, sight) => Some(used_again(before.clone(), now)),
        _ => None,
    }
}

/// Somebody pressed the button, or it took longer than its wake waited.
fn is_up_by_itself(record: &PowerRecord, sight: &Sight) -> bool {
    let new = sight.session.is_some_and(|session| session >= record.since);
    new && sight.hypervisor && sight.missing.is_empty()
}

fn used_again(mut record: PowerRecord, now: Timestamp) -> PowerRecord {
    record.phase = PowerPhase::Settled;
    record.since = now;
    record.drain = None;
    record.belongings = None;
    record.testing = None;
    record.from_park = false;
    record
}

/// What follows where a park has ended.
fn parked(tables: &Tables, mut record: PowerRecord, now: Timestamp) -> PowerRecord {
    let PowerPhase::Parking(park) = &record.phase else { return record };
    match park.state.clone() {
        ParkState::Parked { proof, took_ms } => {
            record.last_park =
                Some(PowerOutcome { at: now, took_ms, failure: None, proof: Some(proof) });
            record.since = now;
            record.phase = PowerPhase::Parked(proof);
            if record.testing.is_some() {
                let asks_bmc = record.settings.bmc.is_some();
                let settings = wake_settings(&record.settings, methods(tables, record.host));
                record.phase = PowerPhase::Waking(Wake::new(now, settings, asks_bmc, true));
                record.from_park = true;
            }
        }
        ParkState::Failed { cause, ordered } => {
            let took_ms = millis(park.begun, now);
            let failure = Some(format!("it could not be parked: {cause}"));
            let outcome =
                PowerOutcome { at: now, took_ms, failure: Some(cause.to_string()), proof: None };
            if record.testing.is_some() {
                record.last_test = Some(PowerOutcome { failure, ..outcome.clone() });
            }
            record.last_park = Some(outcome);
            record.testing = None;
            record.called_back = None;
            record.phase = PowerPhase::Settled;
            record.since = now;
            if !ordered {
                record.drain = None;
                record.belongings = None;
            }
        }
        _ => {}
    }
    record
}

/// What follows where a wake has ended.
fn woken(mut record: PowerRecord, now: Timestamp) -> PowerRecord {
    let PowerPhase::Waking(wake) = &record.phase else { return record };
    match wake.state.clone() {
        WakeState::Awake { took_ms, was_up } => {
            let outcome = PowerOutcome { at: now, took_ms, failure: None, proof: None };
            if !was_up {
                record.wake_times.learn(took_ms);
                record.last_wake = Some(outcome.clone());
            }
            let same_ways = record.ways_changed.is_none_or(|at| at <= wake.begun);
            if record.testing.is_some() {
                let failure = (!same_ways).then(|| WAYS_CHANGED.to_owned());
                record.last_test = Some(PowerOutcome { failure, ..outcome });
            }
            if record.from_park && same_ways {
                record.wake_shown = Some(now);
            }
            used_again(record, now)
        }
        WakeState::Failed { cause } => {
            let took_ms = millis(wake.begun, now);
            let outcome =
                PowerOutcome { at: now, took_ms, failure: Some(cause.to_string()), proof: None };
            // What comes up from now on is judged from when it was asked for.
            record.since = wake.begun;
            record.last_wake = Some(outcome.clone());
            if record.testing.is_some() {
                record.last_test = Some(outcome);
            }
            record.testing = None;
            record.from_park = false;
            record.phase = PowerPhase::WakeFailed(cause);
            record
        }
        _ => record,
    }
}

fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}
