//! Decisions as they are shown.

use drover_api::v1;
use drover_model::{HostId, exact_duration};
use drover_planner::power::{
    Decision, Machine, MachineState, PowerLevel, Refusal, View, WakeReason,
};

use super::Seen;
use crate::moment::rfc3339;
use crate::records::Tables;

/// A decision with names instead of numbers.
pub fn told(
    tables: &Tables,
    seen: &Seen,
    decision: &Decision,
    level: PowerLevel,
    suggested_only: Option<String>,
) -> v1::PowerDecision {
    let of = &decision.outlook;
    let kept = decision.kept.iter().map(|kept| v1::PowerKept {
        host: tables.host_name(kept.host),
        why: refusal(tables, seen, &kept.why),
    });
    v1::PowerDecision {
        at: rfc3339(decision.at),
        level: level.number(),
        suggested_only,
        outlook: v1::PowerOutlook {
            hosts_on: of.hosts_on,
            hosts_open: of.hosts_open,
            load_cores: of.load,
            deviation_cores: of.deviation,
            capacity_cores: of.capacity,
            wake_below_cores: of.need,
            park_above_cores: of.need_to_park,
            memory_mib: of.memory_mb,
            memory_capacity_mib: of.memory_capacity_mb,
            expected_cores: of.expected,
            watts: of.watts,
        },
        wakes: decision.wakes.iter().map(|wake| woken(tables, wake)).collect(),
        unmet: decision.unmet.as_ref().map(|why| reason(tables, why)),
        parks: decision.parks.iter().map(|park| parked(tables, seen, park)).collect(),
        held: decision.held.as_ref().map(|why| refusal(tables, seen, why)),
        kept: kept.collect(),
        left_out: left_out(tables, &seen.view),
    }
}

fn woken(tables: &Tables, wake: &drover_planner::power::Wake) -> v1::PowerWake {
    v1::PowerWake {
        host: tables.host_name(wake.host),
        why: if wake.called_back {
            format!("its park is called back: {}", reason(tables, &wake.why))
        } else {
            reason(tables, &wake.why)
        },
        ready_by: rfc3339(wake.ready_by),
        idle_watts: wake.idle_watts,
        cost_wh: wake.cycle_wh,
        failure: None,
    }
}

fn parked(tables: &Tables, seen: &Seen, park: &drover_planner::power::Park) -> v1::PowerPark {
    let moves = park.moves.iter().filter_map(|step| {
        let to = seen.view.machines.get(step.to)?.id;
        Some(v1::PowerMove {
            guest: tables.guest_name(*seen.guests.get(step.guest)?),
            to: tables.host_name(to),
        })
    });
    v1::PowerPark {
        host: tables.host_name(park.host),
        why: park.to_string(),
        saved_watts: park.saved_watts,
        cost_wh: park.cost_wh,
        pay_back_s: park.pay_back.as_secs(),
        stay_s: park.stay.as_secs(),
        saved_kwh: park.saved_kwh,
        moves: moves.collect(),
        failure: None,
    }
}

fn reason(tables: &Tables, why: &WakeReason) -> String {
    match why {
        WakeReason::Pressed { host, .. } => format!("{}: {why}", tables.host_name(*host)),
        WakeReason::Expected { from, .. } | WakeReason::Schedule { from, .. } => {
            format!("{why} (from {})", rfc3339(*from))
        }
        WakeReason::Load { since, .. } => format!("{why} (since {})", rfc3339(*since)),
        WakeReason::Reserve { .. } => why.to_string(),
    }
}

fn refusal(tables: &Tables, seen: &Seen, why: &Refusal) -> String {
    match why {
        Refusal::Watching { until } | Refusal::Pressed { until } | Refusal::MinimumOn { until } => {
            format!("{why} (until {})", rfc3339(*until))
        }
        Refusal::Soon { at } => format!("{why} (at {})", rfc3339(*at)),
        Refusal::Short { since } => format!("{why} (since {})", rfc3339(*since)),
        Refusal::NoRoom { guest } => {
            let name = seen.guests.get(*guest).map(|guest| tables.guest_name(*guest));
            format!("{} finds no room elsewhere", name.unwrap_or_default())
        }
        Refusal::Overloaded { host } => format!("{}: {why}", tables.host_name(*host)),
        _ => why.to_string(),
    }
}

/// Hosts that were not looked at, and sleepers that cannot be woken.
fn left_out(tables: &Tables, view: &View) -> Vec<v1::PowerKept> {
    let why = |machine: &Machine| match (&machine.state, &machine.may_not_wake) {
        (MachineState::Away, why) => {
            Some(why.clone().unwrap_or_else(|| absent(tables, machine.id)))
        }
        (MachineState::Off { .. }, Some(why)) => Some(format!("it cannot be woken: {why}")),
        (MachineState::Off { .. }, None) if machine.excluded => {
            Some("it sleeps, and the policy leaves it alone".to_owned())
        }
        _ => None,
    };
    let named = view.machines.iter().filter_map(|machine| {
        Some(v1::PowerKept { host: tables.host_name(machine.id), why: why(machine)? })
    });
    named.collect()
}

fn absent(tables: &Tables, host: HostId) -> String {
    let state = tables.hosts.get(host).map(|record| record.host.state.as_str());
    match tables.maintenance.get(host) {
        Some(record) => format!("it is {}", record.phase.as_str()),
        None => format!("it is {}", state.unwrap_or("not known")),
    }
}

/// What a level means.
pub fn parameters(level: PowerLevel) -> v1::PowerParameters {
    let of = level.parameters();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part between 0 and 1, in percent"
    )]
    let percent = |part: f64| (part * 100.0).round() as u8;
    v1::PowerParameters {
        comfortable_cpu: percent(of.comfortable_cpu),
        comfortable_memory: percent(of.comfortable_memory),
        wake_sigmas: of.wake_sigmas.to_string(),
        park_sigmas: of.park_sigmas.to_string(),
        up_window: exact_duration(of.up_window),
        down_window: exact_duration(of.down_window),
        pay_back: of.pay_back.to_string(),
        watts_per_move: of.watts_per_move.to_string(),
    }
}
