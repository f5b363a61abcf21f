//! Drover's power levels.

use std::time::Duration;

use anyhow::Result;
use drover_model::{HostId, Timestamp};
use drover_planner::consolidate::{Consolidate, LoadMove, LoadView};
use drover_planner::power::{Machine, MachineState, PowerPolicy, State, View, decide};

use super::machines::{Machines, Power, SHUTDOWN_S};
use super::published::used;
use super::world::{Commands, Start, Steering};
use crate::planetlab::traces::INTERVAL;

/// Least time on and off: a boot and its moves must have been worth it.
const MIN_ON: Duration = Duration::from_secs(15 * 60);
const MIN_OFF: Duration = Duration::from_secs(10 * 60);
/// The day's begin; what day it is does not matter without a schedule.
const BEGIN: Timestamp = Timestamp::from_millis(1_299_110_400_000);

/// A level with its policy of moves.
pub(crate) struct Levels {
    policy: PowerPolicy,
    moves: Consolidate,
    state: State,
}

impl Levels {
    pub(crate) fn new(policy: PowerPolicy) -> Self {
        Self { policy, moves: Consolidate::default(), state: State::default() }
    }
}

fn moment(now: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "a day has 86,400,000 ms")]
    Timestamp::from_millis(BEGIN.as_millis() + (now * 1000.0).round() as i64)
}

impl Steering for Levels {
    /// As Drover's own policy begins: few hosts are used, the others sleep.
    fn start(&mut self, view: &LoadView) -> Result<Start> {
        let places = self.moves.place(view)?;
        Ok(Start { on: used(&places), places })
    }

    /// Hosts that are short are relieved first, then it is decided who sleeps; a guest that
    /// both want to move goes where the second says.
    fn turn(&mut self, view: &LoadView, machines: &Machines, now: f64) -> Commands {
        let open: Vec<bool> = machines.power.iter().map(|power| *power == Power::On).collect();
        let fresh: Vec<usize> = (0..open.len())
            .filter(|&host| open[host] && view.hosts[host].guests.is_empty())
            .filter(|&host| now - machines.since[host] <= INTERVAL)
            .collect();
        let mut moves = self.moves.even_out(view, &open, &fresh);
        let load = after(view, &moves);
        let of = View {
            machines: (0..open.len()).map(|host| machine(&load, machines, host)).collect(),
            load,
            course: Vec::new(),
        };
        let state = std::mem::take(&mut self.state);
        let (state, decision) = decide(&of, &self.policy, state, moment(now));
        self.state = state;
        let number = |id: HostId| of.machines.iter().position(|machine| machine.id == id);
        for step in decision.parks.iter().flat_map(|park| &park.moves) {
            moves.retain(|earlier| earlier.guest != step.guest);
            if view.guests[step.guest].host != Some(step.to) {
                moves.push(*step);
            }
        }
        Commands {
            wake: decision.wakes.iter().filter_map(|wake| number(wake.host)).collect(),
            park: decision.parks.iter().filter_map(|park| number(park.host)).collect(),
            moves,
        }
    }
}

/// What the view will be once these moves are made.
fn after(view: &LoadView, moves: &[LoadMove]) -> LoadView {
    let mut view = view.clone();
    for step in moves {
        if let Some(from) = view.guests[step.guest].host.replace(step.to) {
            view.hosts[from].guests.retain(|guest| *guest != step.guest);
        }
        view.hosts[step.to].guests.push(step.guest);
    }
    view
}

fn machine(load: &LoadView, machines: &Machines, host: usize) -> Machine {
    let since = moment(machines.since[host]);
    let power = load.hosts[host].power;
    Machine {
        id: HostId::from_u128(host as u128 + 1),
        state: match machines.power[host] {
            Power::On => MachineState::On { since },
            Power::Waking => MachineState::Waking { since },
            Power::Closing => MachineState::Parking { since },
            Power::Off => MachineState::Off { since },
        },
        min_on: MIN_ON,
        min_off: MIN_OFF,
        wake_time: Duration::from_secs_f64(machines.boot.seconds),
        cycle_wh: (power.watts(1.0) * machines.boot.seconds + power.watts(0.0) * SHUTDOWN_S)
            / 3600.0,
        off_watts: 0.0,
        may_not_park: None,
        may_not_wake: None,
        excluded: false,
    }
}
