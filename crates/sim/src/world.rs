//! The modelled cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{ClusterView, GuestId, GuestView, HostId, HostView, Metric, Reading, Timestamp};
use drover_planner::{Budget, Goal, Policy, plan};
use drover_rules::constraint::Ceiling;
use drover_rules::{
    HostFiring, Move, PlacementPolicy, Rule, WindowSpec, advance, aggregate, audit,
};
use rand::{Rng, RngExt as _};

/// Time between two samples and between two evaluations.
const TICK: Duration = Duration::from_secs(5);
/// A move takes this many ticks.
const MOVE_TICKS: u32 = 3;

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The picture at the start; loads of guests are taken from it.
    pub start: ClusterView,
    /// The rule.
    pub rule: Rule,
    /// Largest change of a guest's load in one tick, cores.
    pub drift: f64,
}

/// A move that was carried out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moved {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What was moved.
    pub step: Move,
    /// What the plan expected of the target.
    pub expected: f64,
}

/// The cluster at one moment of a run.
#[derive(Debug)]
pub struct World {
    settings: Settings,
    now: Timestamp,
    guests: BTreeMap<GuestId, GuestView>,
    load: BTreeMap<GuestId, f64>,
    base: BTreeMap<HostId, f64>,
    samples: BTreeMap<HostId, Vec<(Timestamp, f64)>>,
    disturbed: BTreeMap<HostId, Timestamp>,
    firing: BTreeMap<HostId, HostFiring>,
    under_way: Vec<(Moved, u32)>,
    /// Every move that has ended, in order.
    pub moved: Vec<Moved>,
    /// Constraints that a plan broke, as text; must stay empty.
    pub violations: Vec<String>,
}

impl World {
    /// The world at its start.
    pub fn new(settings: Settings) -> Self {
        let view = &settings.start;
        let load = view
            .guests
            .keys()
            .map(|id| (*id, view.guest_value(*id, Metric::GuestCpuCores).unwrap_or(0.0)))
            .collect::<BTreeMap<_, _>>();
        Self {
            now: view.at,
            guests: view.guests.clone(),
            load,
            base: view.hosts.keys().map(|id| (*id, 0.2)).collect(),
            samples: BTreeMap::new(),
            disturbed: BTreeMap::new(),
            firing: BTreeMap::new(),
            under_way: Vec::new(),
            moved: Vec::new(),
            violations: Vec::new(),
            settings,
        }
    }

    /// One tick: load changes, moves go on, hosts are sampled, the rule is evaluated.
    pub fn tick(&mut self, rng: &mut impl Rng) {
        self.now = self.now.plus(TICK);
        self.drift(rng);
        self.go_on();
        self.sample();
        let view = self.view();
        let hot = self.evaluate(&view);
        if self.under_way.is_empty() && !hot.is_empty() {
            self.act(&view, hot, rng);
        }
    }

    fn drift(&mut self, rng: &mut impl Rng) {
        for (id, load) in &mut self.load {
            let change = (rng.random::<f64>() * 2.0 - 1.0) * self.settings.drift;
            let vcpus = f64::from(self.guests[id].guest.vcpus.0);
            *load = (*load + change).clamp(0.0, vcpus);
        }
    }

    fn go_on(&mut self) {
        for (moved, left) in &mut self.under_way {
            *left -= 1;
            if *left == 0 {
                moved.ended = self.now;
                if let Some(guest) = self.guests.get_mut(&moved.step.guest) {
                    guest.guest.host = moved.step.to;
                    guest.last_moved = Some(self.now);
                }
                self.disturbed.insert(moved.step.from, self.now);
                self.disturbed.insert(moved.step.to, self.now);
                self.moved.push(*moved);
            }
        }
        self.under_way.retain(|(_, left)| *left > 0);
    }

    fn sample(&mut self) {
        for (host, view) in &self.settings.start.hosts {
            let used: f64 = self
                .guests
                .values()
                .filter(|guest| guest.guest.host == *host)
                .map(|guest| self.load[&guest.guest.id])
                .sum::<f64>()
                + self.base[host];
            let percent = (used * 100.0 / view.host.capabilities.cores.0).min(100.0);
            self.samples.entry(*host).or_default().push((self.now, percent));
        }
    }

    fn view(&self) -> ClusterView {
        let rule = &self.settings.rule;
        let hosts = self
            .settings
            .start
            .hosts
            .iter()
            .map(|(id, view)| {
                let spec = WindowSpec {
                    period: rule.period,
                    aggregate: rule.aggregate,
                    sample_interval: TICK,
                    not_before: self.disturbed.get(id).copied(),
                };
                let mut readings = view.readings.clone();
                let value = aggregate(&self.samples[id], self.now, &spec);
                readings.insert(Metric::CpuUsageActive, value);
                (*id, HostView { host: view.host.clone(), readings })
            })
            .collect();
        let guests = self
            .guests
            .iter()
            .map(|(id, view)| {
                let mut view = view.clone();
                let known = Reading::Known { value: self.load[id], samples: 1, newest: self.now };
                view.readings.insert(Metric::GuestCpuCores, known);
                (*id, view)
            })
            .collect();
        ClusterView { at: self.now, hosts, guests, in_flight: vec![] }
    }

    fn evaluate(&mut self, view: &ClusterView) -> Vec<HostId> {
        let rule = &self.settings.rule;
        let mut hot = Vec::new();
        for (id, host) in &view.hosts {
            let before = self.firing.get(id).copied().unwrap_or(HostFiring::Clear);
            let reading = &host.readings[&Metric::CpuUsageActive];
            let (after, _) = advance(rule, before, reading, self.now);
            self.firing.insert(*id, after);
            let holds = reading.value().is_some_and(|value| rule.condition.holds(value));
            if matches!(after, HostFiring::Firing { .. }) && holds {
                hot.push(*id);
            }
        }
        hot
    }

    fn act(&mut self, view: &ClusterView, hosts: Vec<HostId>, rng: &mut impl Rng) {
        let rule = &self.settings.rule;
        let placement = PlacementPolicy {
            ceilings: vec![Ceiling {
                condition: rule.condition,
                hosts: vec![],
                rule: rule.name.clone(),
            }],
            cooldown: rule.cooldown,
            ..PlacementPolicy::default()
        };
        let goal = Goal::Relieve { condition: rule.condition, hosts };
        let policy = Policy::new(goal, placement);
        let budget = Budget { max_moves: rule.max_moves as usize, ..Budget::default() };
        let (plan, _) = plan(view, &policy, &budget, rng);
        let start = drover_rules::Projection::of(view);
        let broken = audit::check_plan(&start, &policy.placement, &plan.steps());
        self.violations.extend(broken.iter().map(|violation| format!("{violation:?}")));
        for step in plan.batches.first().into_iter().flatten() {
            let moved =
                Moved { began: self.now, ended: self.now, step: step.step, expected: step.to.1 };
            self.under_way.push((moved, MOVE_TICKS));
        }
    }
}
