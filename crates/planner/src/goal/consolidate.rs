//! Empty the hosts that the others can do without.
//!
//! Hosts are tried in the order of what emptying them costs, all or nothing: a host that is
//! not empty saves nothing. What stays in use keeps the comfortable part of each resource
//! free, and can lose as many hosts as the placement policy asks.

use drover_model::{ClusterView, HostState};

use super::Outcome;
use crate::arrange::arrange;
use crate::dense::{CPU, Dense, MEMORY};
use crate::objective::even;
use crate::search::{Instance, State};
use crate::survive::survives;
use crate::{Budget, Policy};

pub(crate) fn consolidate(
    view: &ClusterView,
    policy: &Policy,
    spare: usize,
    budget: &Budget,
) -> Outcome {
    let mut dense = Dense::of(view, policy, &|_| true);
    even(&mut dense, view, policy);
    keep_comfortable(&mut dense.instance);
    let instance = dense.instance.clone();
    let mut state = State::at_home(&instance);
    let online = |host: &usize| {
        let id = dense.hosts[*host];
        view.hosts[&id].host.state == HostState::Online && !instance.closed[*host]
    };
    let mut awake: Vec<usize> = (0..instance.hosts()).filter(online).collect();
    let mut emptied = Vec::new();
    let mut candidates = awake.clone();
    candidates.sort_by(|a, b| {
        cost_of_emptying(&state, *a).total_cmp(&cost_of_emptying(&state, *b)).then(a.cmp(b))
    });
    for host in candidates {
        if awake.len() <= spare.max(1) {
            break;
        }
        let rest: Vec<usize> = awake.iter().copied().filter(|other| *other != host).collect();
        let Some(end) = emptied_state(&state, host, &rest) else { continue };
        let few = end.displaced().len() <= budget.max_moves;
        if few && survives(&end, &rest, policy.placement.survive_failures) {
            state = end;
            awake = rest;
            emptied.push(view.host_name(dense.hosts[host]));
        }
    }
    let arranged = arrange(&dense, &state, view, policy, budget, "its host can be switched off");
    let summary = if emptied.is_empty() {
        "no host can be emptied".to_owned()
    } else {
        format!("{} move(s) empty {}", arranged.moves(), emptied.join(", "))
    };
    arranged.reported(summary)
}

/// Makes the comfortable part of each host all that it has.
fn keep_comfortable(instance: &mut Instance) {
    let r = instance.resources;
    for at in 0..instance.capacity.len() {
        if matches!(at % r, CPU | MEMORY) {
            let comfortable = instance.objective.limit[at];
            instance.capacity[at] = instance.capacity[at].min(comfortable);
        }
    }
}

fn cost_of_emptying(state: &State<'_>, host: usize) -> f64 {
    let bytes = &state.instance().objective.bytes;
    state.guests_on(host).iter().map(|unit| bytes[*unit as usize]).sum()
}

/// The state with the host empty; none when a guest of it finds no place. The largest go
/// first, each to where it fits most tightly, so that room for large ones remains.
fn emptied_state<'i>(state: &State<'i>, host: usize, rest: &[usize]) -> Option<State<'i>> {
    let instance = state.instance();
    let mut end = state.clone();
    let mut guests: Vec<usize> = state.guests_on(host).iter().map(|unit| *unit as usize).collect();
    if guests.iter().any(|unit| instance.fixed[*unit]) {
        return None;
    }
    let bytes = &instance.objective.bytes;
    guests.sort_by(|a, b| bytes[*b].total_cmp(&bytes[*a]).then(a.cmp(b)));
    for unit in guests {
        let (_, to) = rest
            .iter()
            .filter(|to| end.shift_delta(unit, **to).is_some())
            .map(|to| (tightness(&end, unit, *to), *to))
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
        let delta = end.shift_delta(unit, to)?;
        end.shift(unit, to, delta);
    }
    Some(end)
}

/// The larger of the parts that are left of CPU and memory once the unit is there.
fn tightness(state: &State<'_>, unit: usize, to: usize) -> f64 {
    let instance = state.instance();
    let need = instance.demand_of(unit);
    let part = |column: usize| {
        let capacity = instance.capacity[to * instance.resources + column];
        (state.slack(to)[column] - need[column]) / capacity.max(f64::MIN_POSITIVE)
    };
    part(CPU).max(part(MEMORY))
}
