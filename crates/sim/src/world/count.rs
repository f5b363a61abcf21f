//! One turn, as it is counted: true values, not samples.

use drover_model::Metric;

use super::World;
use crate::tally::{GuestTurn, HostTurn};

impl World {
    /// Counts what holds from now until the next turn.
    pub(super) fn count(&mut self) {
        let mut over_now = 0;
        let mut guests_on = Vec::with_capacity(self.hosts.len());
        for (number, (host, spec)) in
            self.hosts.iter().zip(self.settings.cluster.hosts()).enumerate()
        {
            let percent = if host.up { host.used * 100.0 / spec.cores } else { 0.0 };
            let over = host.up
                && self.settings.judges.iter().filter(|judge| judge.watches(spec.id)).any(
                    |judge| {
                        let value = match judge.condition.metric {
                            Metric::MemAvailable => host.available,
                            _ => percent,
                        };
                        judge.condition.holds(value)
                    },
                );
            over_now += usize::from(over);
            guests_on.push(host.running.len());
            let watts = if host.up { spec.power.watts(percent) } else { 0.0 };
            self.tally.host(number, HostTurn { percent, watts, over });
        }
        for guest in &self.guests {
            self.tally.guest(GuestTurn {
                runs: guest.runs_on().is_some(),
                wants: guest.wants,
                gets: guest.gets,
            });
        }
        self.tally.turn(self.elapsed(), &guests_on, over_now);
    }
}
