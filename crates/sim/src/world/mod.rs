//! The modelled cluster in time.
//!
//! Each turn of the clock: hosts die and come back, guests want what the trace says, hosts
//! share their cores, agents take samples, rules are evaluated and perhaps a plan is begun,
//! all is counted; then migrations go on, exactly, until the next turn, and the checkers
//! look. Between two turns loads stand still.

mod check;
mod count;
mod decide;
mod observe;
mod operate;
mod state;
mod strike;

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{ClusterView, GuestId, HostId, RuleId, Timestamp};
use drover_rules::HostFiring;
use rand_pcg::Pcg64;

use crate::report::RunReport;
use crate::settings::{Settings, SettingsError};
use crate::tally::Tally;
use operate::Operations;
use state::{GuestState, HostState};

/// Streams of chance: one is not disturbed by how often another is asked.
const NOISE: u128 = 1;
const PLANS: u128 = 2;

/// A run under way.
#[derive(Debug)]
pub(crate) struct World {
    settings: Settings,
    now: Timestamp,
    hosts: Vec<HostState>,
    guests: Vec<GuestState>,
    host_number: BTreeMap<HostId, usize>,
    guest_number: BTreeMap<GuestId, usize>,
    view: ClusterView,
    firing: BTreeMap<(RuleId, HostId), HostFiring>,
    operations: Operations,
    running: Vec<decide::Running>,
    /// What is still to come, the last first.
    strikes: Vec<strike::Strike>,
    replay: Vec<crate::settings::Replayed>,
    noise: Pcg64,
    plans: Pcg64,
    tally: Tally,
    violations: Vec<String>,
    /// Samples older than this decide nothing.
    keep: Duration,
}

/// Runs to the end. Same settings, same report.
pub fn run(settings: Settings) -> Result<RunReport, SettingsError> {
    settings.check()?;
    let mut world = World::new(settings);
    for _ in 0..world.settings.ticks() {
        world.turn();
    }
    Ok(world.into_report())
}

impl World {
    fn new(settings: Settings) -> Self {
        let cluster = &settings.cluster;
        let hosts: Vec<HostState> = cluster.hosts().iter().map(|_| HostState::new()).collect();
        let host_number: BTreeMap<HostId, usize> =
            (0..).zip(cluster.hosts()).map(|(number, host)| (host.id, number)).collect();
        let guests: Vec<GuestState> = cluster
            .guests()
            .iter()
            .map(|guest| GuestState::new(guest, host_number[&guest.host]))
            .collect();
        let guest_number =
            (0..).zip(cluster.guests()).map(|(number, guest)| (guest.id, number)).collect();
        let mut replay = settings.replay.clone();
        replay.sort_by_key(|moved| std::cmp::Reverse(moved.at));
        let longest = settings.rules.iter().map(|rule| rule.period).max().unwrap_or_default();
        Self {
            now: settings.start,
            view: observe::first_view(&settings),
            tally: Tally::new(&settings),
            strikes: strike::schedule(&settings.failures),
            noise: Pcg64::new(settings.seed.into(), NOISE),
            plans: Pcg64::new(settings.seed.into(), PLANS),
            firing: BTreeMap::new(),
            operations: Operations::default(),
            running: Vec::new(),
            violations: Vec::new(),
            keep: longest + settings.interval * 4,
            hosts,
            guests,
            host_number,
            guest_number,
            replay,
            settings,
        }
    }

    fn turn(&mut self) {
        self.strike();
        self.demand();
        self.share();
        self.sample();
        self.ask_again();
        self.follow_plans();
        self.repeat_recorded_moves();
        self.evaluate();
        self.count();
        let until = self.now.plus(self.settings.interval);
        self.operate(until);
        self.now = until;
        self.check();
    }

    /// Since the start.
    fn elapsed(&self) -> Duration {
        self.now.since(self.settings.start)
    }

    fn violation(&mut self, text: String) {
        /// More of the same tell nothing new.
        const MOST: usize = 100;
        if self.violations.len() < MOST {
            let at = self.elapsed().as_secs();
            self.violations.push(format!("at {at} s: {text}"));
        }
    }

    fn host_name(&self, number: usize) -> &str {
        &self.settings.cluster.hosts()[number].name
    }

    fn guest_name(&self, number: usize) -> &str {
        &self.settings.cluster.guests()[number].name
    }

    fn into_report(self) -> RunReport {
        let moves = self.operations.told(&self.settings);
        self.tally.report(&self.settings, moves, self.violations)
    }
}
