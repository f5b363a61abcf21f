//! Which hosts to wake, and why.

use std::time::Duration;

use super::Turn;
use super::decision::{Wake, WakeReason};
use super::state::State;
use super::view::MachineState;
use crate::consolidate::{Parameters as Relief, Scratch, relieve};

/// A host that is ready has no guests: the moves to it take about so long.
const FILLING: Duration = Duration::from_secs(5 * 60);

/// Hosts to wake, and what remains unmet because none can be woken.
pub(super) fn wakes(turn: &Turn<'_>, state: &mut State) -> (Vec<Wake>, Option<WakeReason>) {
    let mut open = turn.open();
    state.short = too_high(turn, &open).then(|| state.short.unwrap_or(turn.now));
    let mut asleep = wakeable(turn);
    let mut wakes = Vec::new();
    let pressed = asleep.first().and_then(|first| pressed(turn, *first));
    loop {
        let of_load = || shortage(turn, state, &open, lead(turn, &asleep));
        // One host is enough for a pressed one: the next turn sees whether it was.
        let of_host = || if wakes.is_empty() { pressed.clone() } else { None };
        let Some(why) = of_load().or_else(of_host) else { return (wakes, None) };
        if asleep.is_empty() {
            return (wakes, Some(why));
        }
        let host = asleep.remove(0);
        if matches!(why, WakeReason::Pressed { .. }) {
            state.pressed = Some(turn.now);
        }
        let machine = &turn.view.machines[host];
        wakes.push(Wake {
            host: machine.id,
            why,
            ready_by: turn.now.plus(machine.ready_after()),
            idle_watts: turn.view.load.hosts[host].power.watts(0.0),
            cycle_wh: if machine.is_leaving() { 0.0 } else { machine.cycle_wh },
            called_back: machine.is_leaving(),
        });
        open.push(host);
    }
}

/// How far ahead a wish must be known: hosts take time to wake and to be filled.
fn lead(turn: &Turn<'_>, asleep: &[usize]) -> Duration {
    let slowest = asleep.iter().map(|host| turn.view.machines[*host].ready_after()).max();
    slowest.unwrap_or_default() + FILLING
}

/// Hosts that may be woken: those that have not gone to sleep yet, then those that serve most for
/// a watt, then the quickest.
fn wakeable(turn: &Turn<'_>) -> Vec<usize> {
    let may = |host: &usize| {
        let machine = &turn.view.machines[*host];
        let can = match machine.state {
            MachineState::Leaving { .. } => true,
            MachineState::Off { since } => {
                turn.now.since(since) >= machine.min_off && machine.may_not_wake.is_none()
            }
            _ => false,
        };
        can && !machine.excluded
    };
    let scratch = Scratch::new(&turn.view.load, Vec::new());
    let mut hosts: Vec<usize> = (0..turn.view.machines.len()).filter(may).collect();
    hosts.sort_by(|&a, &b| {
        let sleeps = |host: usize| !turn.view.machines[host].is_leaving();
        let time = |host: usize| turn.view.machines[host].ready_after();
        let efficient = scratch.watts_per_unit(a).total_cmp(&scratch.watts_per_unit(b));
        let cheap = efficient.then(time(a).cmp(&time(b))).then(a.cmp(&b));
        sleeps(a).cmp(&sleeps(b)).then(cheap)
    });
    hosts
}

/// Whether the load leaves the open hosts less than the reserve of waking.
fn too_high(turn: &Turn<'_>, open: &[usize]) -> bool {
    let need = turn.need(&turn.load(), turn.parameters.wake_sigmas, turn.each());
    turn.parameters.follows_load && !turn.capacity(open, turn.policy.reserve).covers(&need)
}

/// What the open hosts are short of; none when they are enough.
fn shortage(turn: &Turn<'_>, state: &State, open: &[usize], lead: Duration) -> Option<WakeReason> {
    by_schedule(turn, open, lead)
        .or_else(|| by_reserve(turn, open))
        .or_else(|| by_course(turn, open, lead))
        .or_else(|| by_load(turn, state, open))
}

fn by_schedule(turn: &Turn<'_>, open: &[usize], lead: Duration) -> Option<WakeReason> {
    let minutes = lead.as_secs().div_ceil(60);
    let moments = (0..=minutes).map(|n| turn.now.plus(Duration::from_secs(60 * n)));
    let mut wanting = moments.map(|at| (turn.scheduled(at), at));
    let (wanted, from) = wanting.find(|(wanted, _)| *wanted > open.len())?;
    Some(WakeReason::Schedule { wanted, awake: open.len(), from })
}

fn by_reserve(turn: &Turn<'_>, open: &[usize]) -> Option<WakeReason> {
    let (load, policy) = (turn.load(), turn.policy);
    let fewer = policy.reserve + usize::from(policy.survive_failures);
    let left = turn.capacity(open, fewer);
    let enough = open.len() >= fewer && left.covers(&Turn::bare(&load));
    (!enough).then_some(WakeReason::Reserve {
        reserve: policy.reserve,
        failures: policy.survive_failures,
        load: load.mean,
        capacity: left.cpu,
    })
}

fn by_course(turn: &Turn<'_>, open: &[usize], lead: Duration) -> Option<WakeReason> {
    if !turn.parameters.follows_load {
        return None;
    }
    let (each, capacity) = (turn.each(), turn.capacity(open, turn.policy.reserve));
    let until = turn.now.plus(lead);
    let near = turn.view.course.iter().filter(|of| of.until > turn.now && of.from <= until);
    near.map(|of| (of, turn.expected_need(of, turn.parameters.wake_sigmas, each)))
        .find(|(_, need)| need.cpu > capacity.cpu)
        .map(|(of, need)| WakeReason::Expected {
            from: of.from,
            load: of.mean,
            need: need.cpu,
            capacity: capacity.cpu,
        })
}

fn by_load(turn: &Turn<'_>, state: &State, open: &[usize]) -> Option<WakeReason> {
    let since = state.short?;
    let throughout = turn.now.since(since) >= turn.parameters.up_window;
    if !throughout || !too_high(turn, open) {
        return None;
    }
    let need = turn.need(&turn.load(), turn.parameters.wake_sigmas, turn.each());
    let capacity = turn.capacity(open, turn.policy.reserve);
    Some(WakeReason::Load {
        since,
        need: need.cpu,
        capacity: capacity.cpu,
        memory_mb: need.memory_mb,
        memory_capacity_mb: capacity.memory_mb,
    })
}

/// A host that asks for more than it has, which no move among the hosts that are on cures but
/// one to the host `first` would. A host that is being woken may be the answer: it is waited
/// for.
fn pressed(turn: &Turn<'_>, first: usize) -> Option<WakeReason> {
    let machines = &turn.view.machines;
    let waking =
        machines.iter().any(|machine| matches!(machine.state, MachineState::Waking { .. }));
    if waking || !turn.parameters.follows_load {
        return None;
    }
    let excess = |with: Option<usize>| -> Vec<f64> {
        let open = |host: usize| machines[host].is_on() || with == Some(host);
        let open: Vec<bool> = (0..machines.len()).map(open).collect();
        let mut scratch = Scratch::new(&turn.view.load, turn.demand.clone()).limited_to(open);
        relieve(&mut scratch, &Relief::default());
        let hosts = turn.view.load.hosts.iter().zip(&scratch.slots);
        hosts.map(|(host, slot)| slot.now - host.capacity).collect()
    };
    let now = excess(None);
    let hot = |host: &usize| machines[*host].is_on() && now[*host] > 0.0;
    let worst = |a: &usize, b: &usize| now[*a].total_cmp(&now[*b]).then(b.cmp(a));
    let host = (0..machines.len()).filter(hot).max_by(worst)?;
    let capacity = turn.view.load.hosts[host].capacity;
    let helps = excess(Some(first))[host] < now[host];
    helps.then_some(WakeReason::Pressed {
        host: machines[host].id,
        demand: now[host] + capacity,
        capacity,
    })
}
