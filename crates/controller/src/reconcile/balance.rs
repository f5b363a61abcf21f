//! Keeps the load even while the balance policy stands.
//!
//! One plan at a time over the whole cluster, rules first: while a plan is being carried
//! out, a rule fires, or a move has just ended, nothing is balanced. Only the first batch
//! of a plan is carried out; the next turn plans anew from fresh measurements.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use drover_model::{ClusterView, MigrationSettings, PlanId, Timestamp, exact_duration};
use drover_planner::{Budget, Goal, Plan, PlanReport, Policy, plan};
use drover_ports::{Clock, History};
use drover_rules::{Aggregate, HostFiring, PlacementPolicy, Projection, audit};
use rand_pcg::Pcg64;

use super::Reconcile;
use super::rules::{ceilings, running_plan};
use crate::churn;
use crate::engine::Engine;
use crate::events::{Draft, Events, Severity};
use crate::foresight::look_ahead;
use crate::launch::{LaunchError, Order, launch};
use crate::moment::{plan_id, seed};
use crate::placement::standing;
use crate::records::{BalanceRecord, Cause, PolicyName, Records, Tables};
use crate::view::{Over, cluster_view, samples};

/// See the module.
pub struct BalanceCluster {
    /// Records.
    pub records: Arc<Records>,
    /// Event log.
    pub events: Arc<Events>,
    /// Operations.
    pub engine: Engine,
    /// Metric history.
    pub history: Arc<dyn History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Of healthy agents.
    pub sample_interval: std::time::Duration,
    /// When it last planned, and what it said last about doing nothing.
    pub last: Mutex<Last>,
}

/// What a turn must know of the turns before it. Lost with the process: then one turn comes
/// early and one sentence is said again.
#[derive(Debug, Clone, Default)]
pub struct Last {
    planned: Option<Timestamp>,
    said: Option<String>,
}

#[async_trait]
impl Reconcile for BalanceCluster {
    fn name(&self) -> &'static str {
        "balance-cluster"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let policy = self.records.read().balance.get(PolicyName::Balance).cloned();
        let Some(policy) = policy else {
            *self.last() = Last::default();
            return Ok(());
        };
        let now = self.clock.now();
        let planned = self.last().planned.filter(|at| *at >= policy.set);
        if planned.is_some_and(|at| now.since(at) < policy.interval) {
            return Ok(());
        }
        let waits = why_wait(&self.records.read(), &policy, now);
        if let Some(why) = waits {
            self.say_once("balance.waiting", &format!("balance waits: {why}")).await;
            return Ok(());
        }
        let over = Over {
            period: policy.interval,
            aggregate: Aggregate::Mean,
            sample_interval: self.sample_interval,
        };
        let series = samples(self.history.as_ref(), now, over.reach()).await?;
        let (mut view, placement, budget) = {
            let tables = self.records.read();
            let view = cluster_view(&tables, &series, now, over);
            let max_moves = churn::left(&tables, &policy, now);
            (
                view,
                placement(&tables, &policy),
                Budget { max_moves, ..crate::queue::budget(&tables) },
            )
        };
        if let Some(why) = unmeasured(&view) {
            self.say_once("balance.waiting", &format!("balance waits: {why}")).await;
            return Ok(());
        }
        self.last().planned = Some(now);
        look_ahead(&mut view, self.history.as_ref(), policy.horizon).await?;
        self.act(&policy, &view, placement, budget, now).await
    }
}

impl BalanceCluster {
    async fn act(
        &self,
        policy: &BalanceRecord,
        view: &ClusterView,
        placement: PlacementPolicy,
        budget: Budget,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let (plan, report) = search(policy, view, placement.clone(), &budget);
        if plan.is_empty() {
            self.say_once("balance.idle", &format!("nothing is moved: {}", report.summary)).await;
            return Ok(());
        }
        let violations = audit::check_plan(&Projection::of(view), &placement, &plan.steps());
        anyhow::ensure!(violations.is_empty(), "the plan fails its audit: {violations:?}");
        let id = plan_id();
        self.last().said = None;
        self.events.record(planned_event(view, &plan, &report, id)).await;
        let order = Order {
            plan,
            report,
            cause: Cause::Policy { name: PolicyName::Balance },
            settings: MigrationSettings::default(),
            measure_over: policy.interval,
            cleared: Vec::new(),
        };
        match launch(&self.records, &self.engine, order, id, now, false).await {
            Ok(_) => Ok(()),
            Err(LaunchError::Overtaken(reason)) => {
                let text = format!("the plan of policy balance was overtaken: {reason}");
                self.events.record(Draft::new("plan.overtaken", Severity::Info, text)).await;
                Ok(())
            }
            Err(error @ LaunchError::Record(_)) => Err(error.into()),
        }
    }

    async fn say_once(&self, kind: &str, text: &str) {
        if self.last().said.as_deref() == Some(text) {
            return;
        }
        self.last().said = Some(text.to_owned());
        self.events.record(Draft::new(kind, Severity::Info, text)).await;
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why this is not the moment; none when it is. Says no time that runs, so that it is said
/// once.
pub fn why_wait(tables: &Tables, policy: &BalanceRecord, now: Timestamp) -> Option<String> {
    if let Some(plan) = running_plan(tables) {
        return Some(format!("the plan of {} is being carried out", plan.cause));
    }
    if !crate::view::in_flight(tables).is_empty() {
        return Some("an operation is under way".to_owned());
    }
    let acts = tables.rules.iter().filter(|rule| rule.acts());
    let fires = |states: &crate::records::FiringRecord| {
        states.hosts.values().any(|state| matches!(state, HostFiring::Firing { .. }))
    };
    if let Some(rule) = acts.into_iter().find(|rule| tables.firings.get(rule.id).is_some_and(fires))
    {
        return Some(format!("rule {} fires", rule.name));
    }
    let ended = churn::last_move_ended(tables);
    if ended.is_some_and(|at| now.since(at) < policy.hold) {
        return Some(format!("a move ended less than {} ago", exact_duration(policy.hold)));
    }
    if churn::left(tables, policy, now) == 0 {
        let most = policy.moves_per_hour;
        return Some(format!("{most} moves of this hour are made, and no more are allowed"));
    }
    None
}

/// Which hosts that are up have no value yet and will have one by themselves: they joined,
/// or a move has just changed them. Without theirs the others would be compared with nothing.
/// Hosts that cannot be measured do not hold up the others.
fn unmeasured(view: &ClusterView) -> Option<String> {
    use drover_model::{HostState, Metric, MissingReason, Reading};
    let online = view.hosts.values().filter(|host| host.host.state == HostState::Online);
    let mut coming = Vec::new();
    let mut measured = 0;
    for host in online {
        match host.readings.get(&Metric::CpuUsageActive) {
            Some(Reading::Known { .. }) => measured += 1,
            Some(Reading::Missing(MissingReason::TooShort { .. })) => {
                coming.push(host.host.name.as_str());
            }
            _ => {}
        }
    }
    if !coming.is_empty() {
        return Some(format!("{} is measured for less than the interval", coming.join(", ")));
    }
    (measured < 2).then(|| "fewer than two hosts are measured over the whole interval".to_owned())
}

fn placement(tables: &Tables, policy: &BalanceRecord) -> PlacementPolicy {
    PlacementPolicy {
        ceilings: ceilings(tables),
        cooldown: churn::rest(policy),
        ..standing(tables)
    }
}

fn search(
    record: &BalanceRecord,
    view: &ClusterView,
    placement: PlacementPolicy,
    budget: &Budget,
) -> (Plan, PlanReport) {
    let goal = Goal::Balance { level: record.level };
    let policy = Policy { horizon: record.horizon.as_secs_f64(), ..Policy::new(goal, placement) };
    plan(view, &policy, budget, &mut Pcg64::new(seed().into(), 1))
}

fn planned_event(view: &ClusterView, plan: &Plan, report: &PlanReport, id: PlanId) -> Draft {
    let moves: Vec<String> = plan
        .moves()
        .map(|step| {
            format!(
                "{} {}→{} ({})",
                view.guest_name(step.step.guest),
                view.host_name(step.step.from),
                view.host_name(step.step.to),
                step.why_guest
            )
        })
        .collect();
    let text = format!("policy balance plans {}", report.summary);
    let draft = Draft::new("balance.planned", Severity::Info, text).plan(id).with("moves", moves);
    match report.score {
        Some(score) => draft.with("score_before", score.before).with("score_after", score.after),
        None => draft,
    }
}
