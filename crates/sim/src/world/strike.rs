//! Hosts die and come back.

use std::time::Duration;

use drover_model::{HostId, HostState as Known, OwnerPhase};

use super::World;
use super::state::Copy;
use crate::settings::Failure;

/// A host dies or comes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strike {
    at: Duration,
    host: HostId,
    up: bool,
}

/// All strikes, the last first. A host that dies while it is down stays down longer.
pub(super) fn schedule(failures: &[Failure]) -> Vec<Strike> {
    let mut ordered = failures.to_vec();
    ordered.sort_by_key(|failure| (failure.host, failure.at));
    let mut spans: Vec<(HostId, Duration, Duration)> = Vec::new();
    for failure in ordered {
        let back = failure.at.saturating_add(failure.down);
        match spans.last_mut().filter(|last| last.0 == failure.host && last.2 >= failure.at) {
            Some(last) => last.2 = last.2.max(back),
            None => spans.push((failure.host, failure.at, back)),
        }
    }
    let mut strikes: Vec<Strike> = spans
        .into_iter()
        .flat_map(|(host, at, back)| {
            [Strike { at, host, up: false }, Strike { at: back, host, up: true }]
        })
        .collect();
    // A host that dies for no time at all dies first.
    strikes.sort_by_key(|strike| std::cmp::Reverse((strike.at, strike.host, strike.up)));
    strikes
}

impl World {
    /// Carries out what is due, and starts guests whose own host is there and does not have
    /// them: it came back.
    pub(super) fn strike(&mut self) {
        let now = self.elapsed();
        while self.strikes.last().is_some_and(|strike| strike.at <= now) {
            let Some(strike) = self.strikes.pop() else { break };
            let number = self.host_number[&strike.host];
            self.hosts[number].up = strike.up;
            let state = if strike.up { Known::Online } else { Known::Unreachable };
            if let Some(view) = self.view.hosts.get_mut(&strike.host) {
                view.host.state = state;
            }
            if strike.up {
                continue;
            }
            self.tally.failed_host();
            for guest in &mut self.guests {
                guest.set_copy(number, None);
            }
            self.host_died(number);
        }
        self.start_with_their_hosts();
    }

    fn start_with_their_hosts(&mut self) {
        for guest in &mut self.guests {
            let home = self.host_number[&guest.owner.host];
            let settled = guest.owner.phase == OwnerPhase::Settled;
            if guest.copies.is_empty() && settled && self.hosts[home].up {
                guest.set_copy(home, Some(Copy::Running));
                self.tally.restarted();
            }
        }
    }
}
