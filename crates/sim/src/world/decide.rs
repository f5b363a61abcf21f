//! Rules are evaluated and plans made as droverd does it (its `reconcile/rules.rs` and
//! `reconcile/plans.rs`): one rule after the other, one plan at a time over the whole
//! cluster, only the first batch of a plan, windows anew after each move.

use std::time::Duration;

use drover_model::{HostId, Metric, Name, Reading, Timestamp};
use drover_planner::{Budget, Goal, Plan, Policy, plan};
use drover_rules::{
    Aggregate, HostFiring, PlacementPolicy, Projection, Rule, Transition, advance, audit,
};

use super::World;
use super::observe::Over;
use super::operate::Order;

/// A measurement that cannot be had for so long is given up, as droverd does.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// A plan whose moves are under way, or whose outcome is still to be measured.
#[derive(Debug)]
pub(super) struct Running {
    operations: Vec<usize>,
    metric: Metric,
    period: Duration,
    /// When the outcome is to be measured; none while moves are under way.
    due: Option<Timestamp>,
}

impl World {
    /// Closes plans whose moves are over, and measures what came of them.
    pub(super) fn follow_plans(&mut self) {
        let mut plans = std::mem::take(&mut self.running);
        plans.retain_mut(|plan| match plan.due {
            None if plan.operations.iter().all(|number| self.is_over(*number)) => {
                plan.due = Some(self.now.plus(plan.period));
                plan.operations.iter().all(|number| self.operations.completed(*number))
            }
            None => true,
            Some(due) if due > self.now => true,
            Some(due) => {
                let told = self.measure(plan);
                !told && self.now.since(due) <= GIVE_UP_AFTER
            }
        });
        self.running = plans;
    }

    /// Whether every value was there.
    fn measure(&mut self, plan: &Running) -> bool {
        let over = Over { period: plan.period, aggregate: Aggregate::Mean };
        self.look_at_hosts(over);
        let ids: Vec<HostId> = self.settings.cluster.hosts().iter().map(|host| host.id).collect();
        let mut told = Vec::new();
        for number in &plan.operations {
            let values = self
                .operations
                .ends(*number)
                .map(|host| self.view.host_value(ids[host], plan.metric));
            let [Some(from), Some(to)] = values else { return false };
            told.push((*number, [from, to]));
        }
        for (number, values) in told {
            self.operations.measured(number, values);
        }
        true
    }

    /// Evaluates every rule and acts.
    pub(super) fn evaluate(&mut self) {
        let rules = std::mem::take(&mut self.settings.rules);
        for rule in &rules {
            let hot = self.evaluate_one(rule);
            if !hot.is_empty() && !rule.dry_run {
                self.act(&rules, rule, hot);
            }
        }
        self.settings.rules = rules;
    }

    /// Hosts on which the rule fires and its value is on the bad side now.
    fn evaluate_one(&mut self, rule: &Rule) -> Vec<HostId> {
        self.look_at_hosts(Over { period: rule.period, aggregate: rule.aggregate });
        let mut hot = Vec::new();
        for (host, view) in self.view.hosts.iter().filter(|(host, _)| rule.watches(**host)) {
            let Some(reading) = view.readings.get(&rule.condition.metric) else { continue };
            let key = (rule.id, *host);
            let before = self.firing.get(&key).copied().unwrap_or(HostFiring::Clear);
            let (after, transition) = advance(rule, before, reading, self.now);
            self.firing.insert(key, after);
            if transition == Transition::Fired {
                self.tally.fired();
            }
            let holds =
                matches!(reading, Reading::Known { value, .. } if rule.condition.holds(*value));
            if holds && matches!(after, HostFiring::Firing { .. }) {
                hot.push(*host);
            }
        }
        hot
    }

    fn act(&mut self, rules: &[Rule], rule: &Rule, hosts: Vec<HostId>) {
        if self.running.iter().any(|plan| plan.due.is_none()) {
            return;
        }
        self.look_at_guests(Over { period: rule.period, aggregate: rule.aggregate });
        let goal = Goal::Relieve { condition: rule.condition, hosts };
        let policy = Policy::new(goal, rule.placement(rules, PlacementPolicy::default()));
        let budget = Budget { max_moves: rule.max_moves as usize, ..Budget::default() };
        let (plan, _) = plan(&self.view, &policy, &budget, &mut self.plans);
        if plan.is_empty() {
            self.tally.found_no_move();
            return;
        }
        let broken =
            audit::check_plan(&Projection::of(&self.view), &policy.placement, &plan.steps());
        if let Some(first) = broken.first() {
            // droverd does not carry out such a plan either.
            self.violation(format!("a plan of {} fails its audit: {first:?}", rule.name));
            return;
        }
        self.launch(rule, plan);
    }

    fn launch(&mut self, rule: &Rule, plan: Plan) {
        self.tally.planned();
        let first = plan.batches.into_iter().next().unwrap_or_default();
        let metric = first.first().map_or(rule.condition.metric, |step| step.metric);
        let cause: Name = format!("rule {}", rule.name);
        let operations: Vec<usize> = first
            .into_iter()
            .filter_map(|planned| {
                let (guest, to) = (self.guest_number[&planned.step.guest], planned.step.to);
                self.begin(Order { guest, to, cause: cause.clone(), planned: Some(planned) })
            })
            .collect();
        self.running.push(Running { operations, metric, period: rule.period, due: None });
    }

    /// Begins the recorded moves that are due. One whose guest is still on its way waits.
    pub(super) fn repeat_recorded_moves(&mut self) {
        let now = self.elapsed();
        let due = self.replay.iter().position(|moved| moved.at <= now);
        let due = self.replay.split_off(due.unwrap_or(self.replay.len()));
        let mut waiting = Vec::new();
        for moved in due.into_iter().rev() {
            let guest = self.guest_number[&moved.guest];
            let state = &self.guests[guest];
            if state.owner.host == moved.to
                && state.owner.phase == drover_model::OwnerPhase::Settled
            {
                continue;
            }
            let order = Order { guest, to: moved.to, cause: moved.cause.clone(), planned: None };
            if self.begin(order).is_none() {
                waiting.push(moved);
            }
        }
        waiting.reverse();
        self.replay.extend(waiting);
    }
}
