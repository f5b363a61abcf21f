//! What the event log says of hosts that are switched on and off.

use drover_lifecycle::power::{OffProof, Park, ParkState, Wake, WakeState};

use crate::events::{Draft, Severity};
use crate::records::{Cause, PowerOutcome, PowerPhase, PowerRecord, Tables};

/// What a step is told as; repeats and waiting are no news.
pub(super) fn story(tables: &Tables, before: &PowerRecord, after: &PowerRecord) -> Vec<Draft> {
    use PowerPhase as P;
    let host = tables.host_name(after.host);
    let mut drafts = match (&before.phase, &after.phase) {
        (P::Parking(was), P::Parking(is)) => parking(&host, was, is),
        (P::Parking(_), P::Parked(_) | P::Waking(_)) => parked(&host, after),
        (P::Parking(_), P::Settled) => match &before.called_back {
            Some(by) => vec![called_back(&host, by)],
            None => vec![not_parked(&host, after)],
        },
        (P::Waking(was), P::Waking(is)) => waking(&host, after, was, is),
        (P::Waking(was), P::Settled) => vec![awake(&host, was, before, after)],
        (P::Waking(_), P::WakeFailed(cause)) => {
            let text = format!("{host} is not awake: {cause}");
            vec![
                Draft::new("host.wake_failed", Severity::Error, text)
                    .with("cause", cause.to_string()),
            ]
        }
        (P::Parked(_), P::Settled) => {
            let text = format!("{host} was parked and came up by itself; it is used again");
            vec![Draft::new("host.awake", Severity::Warning, text)]
        }
        (P::WakeFailed(_), P::Settled) => {
            let text = format!("{host} is of use at last, after its wake was given up");
            vec![Draft::new("host.awake", Severity::Info, text)]
        }
        _ => Vec::new(),
    };
    drafts.extend(tested(&host, before, after));
    let told = drafts.into_iter().map(|draft| with_cause(draft, after).host(host.clone()));
    told.collect()
}

fn with_cause(draft: Draft, record: &PowerRecord) -> Draft {
    match &record.cause {
        Some(Cause::Rule { name, .. }) => draft.rule(name.clone()),
        _ => draft,
    }
}

/// Who wants it, in brackets.
fn wanted_by(record: &PowerRecord) -> String {
    record.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default()
}

fn parking(host: &str, was: &Park, is: &Park) -> Vec<Draft> {
    match (&was.state, &is.state) {
        (ParkState::Draining, ParkState::Ordering { .. }) => {
            let text = format!("{host} is empty; its agent is told to switch it off");
            vec![Draft::new("host.parking", Severity::Info, text)]
        }
        (ParkState::Ordering { .. }, ParkState::Ordering { .. }) if was.not_now.is_none() => {
            let told = is.not_now.as_ref().map(|(_, why)| {
                let text =
                    format!("{host} is not switched off yet: {why}; its agent is told again");
                Draft::new("host.parking", Severity::Info, text)
            });
            told.into_iter().collect()
        }
        (ParkState::Ordering { .. }, ParkState::Draining) => {
            let text = format!("guests are on {host} again, which is to be parked: they leave");
            vec![Draft::new("host.parking", Severity::Warning, text)]
        }
        _ => Vec::new(),
    }
}

fn parked(host: &str, after: &PowerRecord) -> Vec<Draft> {
    let took_ms = after.last_park.as_ref().map_or(0, |outcome| outcome.took_ms);
    let proof = after.last_park.as_ref().and_then(|outcome| outcome.proof);
    let proof = proof.unwrap_or(OffProof::Silence).as_str();
    let text = format!("{host} is parked after {}: {proof}", seconds(took_ms));
    let parked = Draft::new("host.parked", Severity::Info, text).with("took_ms", took_ms);
    let mut drafts = vec![parked];
    if let PowerPhase::Waking(_) = after.phase {
        let text = format!("{host} is woken again: that was a test");
        drafts.push(Draft::new("host.waking", Severity::Info, text));
    }
    drafts
}

fn called_back(host: &str, by: &Cause) -> Draft {
    let text = format!("{host} is used again: its park was called back ({by})");
    let draft = Draft::new("host.called_back", Severity::Info, text);
    match by {
        Cause::Rule { name, .. } => draft.rule(name.clone()),
        _ => draft,
    }
}

fn not_parked(host: &str, after: &PowerRecord) -> Draft {
    let why = failure(after.last_park.as_ref());
    let closed = if after.drain.is_some() {
        format!(
            "; it may still switch off, so it stays closed to guests: `drover host undrain \
             {host}` uses it again"
        )
    } else {
        "; it is used again".to_owned()
    };
    let text = format!("{host} is not parked: {why}{closed}");
    Draft::new("host.park_failed", Severity::Warning, text).with("cause", why)
}

fn waking(host: &str, record: &PowerRecord, was: &Wake, is: &Wake) -> Vec<Draft> {
    let begins = was.state == WakeState::Asking;
    match &is.state {
        WakeState::Trying { .. } if begins => {
            let ways: Vec<&str> = is.settings.methods.iter().map(|way| way.as_str()).collect();
            let text = format!(
                "{host} is being woken{}: by {}, up to {} tries {} s apart",
                wanted_by(record),
                ways.join(" and "),
                is.settings.tries,
                is.settings.pause.as_secs()
            );
            vec![Draft::new("host.waking", Severity::Info, text)]
        }
        WakeState::Starting { .. } if begins => {
            let text = format!("{host} is on{}; what it had is waited for", wanted_by(record));
            vec![Draft::new("host.waking", Severity::Info, text)]
        }
        _ => Vec::new(),
    }
}

fn awake(host: &str, wake: &Wake, before: &PowerRecord, after: &PowerRecord) -> Draft {
    if before.last_wake == after.last_wake {
        let text = format!("{host} is up already");
        return Draft::new("host.awake", Severity::Info, text).with("took_ms", 0);
    }
    let took_ms = after.last_wake.as_ref().map_or(0, |outcome| outcome.took_ms);
    let tries = wake.state.tries();
    let text = format!("{host} is awake after {}, {tries} tries", seconds(took_ms));
    Draft::new("host.awake", Severity::Info, text).with("took_ms", took_ms).with("tries", tries)
}

fn tested(host: &str, before: &PowerRecord, after: &PowerRecord) -> Option<Draft> {
    let test = after.last_test.as_ref().filter(|_| before.last_test != after.last_test)?;
    Some(match &test.failure {
        None => {
            let text = format!(
                "{host} can be woken: it was switched off and was of use again after {}",
                seconds(test.took_ms)
            );
            Draft::new("host.wake_tested", Severity::Info, text).with("took_ms", test.took_ms)
        }
        Some(why) => {
            let text = format!("{host} did not pass its test of parking and waking: {why}");
            Draft::new("host.wake_tested", Severity::Error, text).with("cause", why.clone())
        }
    })
}

fn failure(outcome: Option<&PowerOutcome>) -> String {
    outcome.and_then(|outcome| outcome.failure.clone()).unwrap_or_default()
}

fn seconds(millis: u64) -> String {
    format!("{} s", millis / 1000)
}
