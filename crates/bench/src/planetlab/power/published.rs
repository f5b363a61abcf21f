//! Policies that know no machines, and a cluster that never sleeps.

use anyhow::Result;
use drover_planner::consolidate::{Consolidate, LoadView};

use super::machines::{Machines, Power};
use super::world::{Commands, Start, Steering};
use crate::planetlab::policies::Policy;

/// A policy of moves: hosts wake when they are given a guest and go down when they are empty.
pub(crate) struct Published(pub(crate) Box<dyn Policy>);

impl Steering for Published {
    fn start(&mut self, view: &LoadView) -> Result<Start> {
        let places = self.0.place(view)?;
        Ok(Start { on: used(&places), places })
    }

    fn turn(&mut self, view: &LoadView, machines: &Machines, _now: f64) -> Commands {
        let moves = self.0.replan(view);
        let mut wake: Vec<usize> = moves
            .iter()
            .map(|step| step.to)
            .filter(|host| machines.power[*host] == Power::Off)
            .collect();
        wake.sort_unstable();
        wake.dedup();
        Commands { wake, park: Vec::new(), moves }
    }

    fn is_published(&self) -> bool {
        true
    }
}

/// Hosts that have guests.
pub(super) fn used(places: &[usize]) -> Vec<usize> {
    let mut on = places.to_vec();
    on.sort_unstable();
    on.dedup();
    on
}

/// All hosts are on, guests begin evenly spread over them, and hosts that are short are relieved.
#[derive(Debug, Default)]
pub(crate) struct AlwaysOn(Consolidate);

impl Steering for AlwaysOn {
    /// In turn over all hosts that have the memory and the core, the largest guests first; where
    /// that leaves one without a host, as Drover's own policy begins.
    fn start(&mut self, view: &LoadView) -> Result<Start> {
        let on = (0..view.hosts.len()).collect();
        let places = match in_turn(view) {
            Some(places) => places,
            None => self.0.place(view)?,
        };
        Ok(Start { places, on })
    }

    fn turn(&mut self, view: &LoadView, machines: &Machines, _now: f64) -> Commands {
        let open = vec![true; machines.power.len()];
        Commands { moves: self.0.even_out(view, &open, &[]), ..Commands::default() }
    }
}

/// The largest guests first, each to the next host that has the memory and the core; none when a
/// guest finds no host.
fn in_turn(view: &LoadView) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..view.guests.len()).collect();
    order.sort_by(|&a, &b| view.guests[b].size.total_cmp(&view.guests[a].size));
    let count = view.hosts.len();
    let mut free: Vec<f64> = view.hosts.iter().map(|host| host.memory_mb).collect();
    let mut places = vec![None; view.guests.len()];
    let mut next = 0;
    for guest in order {
        let facts = &view.guests[guest];
        let fits =
            |host: &usize| free[*host] >= facts.memory_mb && view.hosts[*host].core >= facts.size;
        let host = (0..count).map(|step| (next + step) % count).find(fits)?;
        free[host] -= facts.memory_mb;
        places[guest] = Some(host);
        next = (host + 1) % count;
    }
    places.into_iter().collect()
}
