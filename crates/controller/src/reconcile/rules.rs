//! Evaluates rules and, one plan at a time over the whole cluster, acts on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{ClusterView, HostId, MigrationSettings, RuleId, Timestamp};
use drover_planner::{Budget, Goal, Plan, PlanReport, Policy, plan};
use drover_ports::{Clock, History};
use drover_rules::constraint::Ceiling;
use drover_rules::{HostFiring, PlacementPolicy, Projection, Rule, Transition, advance, audit};
use rand_pcg::Pcg64;

use super::Reconcile;
use super::rule_wake::{self, Next};
use crate::engine::Engine;
use crate::events::{Draft, Events, Severity};
use crate::launch::{LaunchError, Order, launch};
use crate::moment::{plan_id, seed};
use crate::placement::standing;
use crate::records::{Cause, FiringRecord, PlanRecord, PlanState, Records, Tables, Txn};
use crate::view::{Over, cluster_view, samples};
use crate::waker::{self, Standing};

/// A firing that cannot act says so again after so long, even when nothing has changed.
const REMIND_EVERY: Duration = Duration::from_secs(300);
/// Refusals that one event carries; the plan's report has them all.
const REFUSALS_SHOWN: usize = 40;

/// See the module.
pub struct EvaluateRules {
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
    pub sample_interval: Duration,
    /// What each rule said last about not acting, so that it is said once.
    pub said: Mutex<BTreeMap<RuleId, (String, Timestamp)>>,
    /// Hosts that could not even be begun to be woken, and when. Lost with the process: then
    /// it is said again.
    pub unwakeable: Mutex<BTreeMap<HostId, Timestamp>>,
}

/// A rule's evaluation of the whole cluster.
#[derive(Debug)]
pub struct Evaluation {
    /// The picture over the rule's window.
    pub view: ClusterView,
    /// The rule's state on each watched host, before and after, with what changed.
    pub hosts: Vec<(HostId, HostFiring, Transition)>,
}

#[async_trait]
impl Reconcile for EvaluateRules {
    fn name(&self) -> &'static str {
        "evaluate-rules"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let rules: Vec<Rule> =
            self.records.read().rules.iter().filter(|rule| rule.enabled).cloned().collect();
        for rule in rules {
            let evaluation = evaluate(
                &self.records,
                self.history.as_ref(),
                &rule,
                self.clock.now(),
                self.sample_interval,
            )
            .await?;
            self.keep(&rule, &evaluation).await?;
            for (host, _, transition) in &evaluation.hosts {
                if let Some(draft) = transition_event(&rule, &evaluation.view, *host, *transition) {
                    self.events.record(draft).await;
                }
            }
            let hot = hot_hosts(&rule, &evaluation);
            if hot.is_empty() {
                self.forget(rule.id);
            } else {
                self.act(&rule, &evaluation, hot).await?;
            }
        }
        Ok(())
    }
}

impl EvaluateRules {
    async fn keep(&self, rule: &Rule, evaluation: &Evaluation) -> anyhow::Result<()> {
        let hosts = evaluation
            .hosts
            .iter()
            .filter(|(_, state, _)| *state != HostFiring::Clear)
            .map(|(host, state, _)| (*host, *state))
            .collect();
        let record = FiringRecord { rule: rule.id, hosts };
        self.records
            .update(|tables| {
                let mut txn = Txn::none();
                // Under another condition, or none, nothing of this was counted.
                let is_current = tables.rules.get(rule.id) == Some(rule);
                let same = match tables.firings.get(rule.id) {
                    Some(before) => same_story(before, &record),
                    None => record.hosts.is_empty(),
                };
                if is_current && !same {
                    txn.replace(record);
                }
                (txn, ())
            })
            .await?;
        Ok(())
    }

    /// Plans for the hot hosts and starts the plan, or says why not.
    async fn act(
        &self,
        rule: &Rule,
        evaluation: &Evaluation,
        hot: Vec<HostId>,
    ) -> anyhow::Result<()> {
        let view = &evaluation.view;
        let running = running_plan(&self.records.read());
        if let Some(other) = running {
            let text = format!(
                "rule {} waits: the plan of {} is being carried out",
                rule.name, other.cause
            );
            self.say_once(rule, format!("wait {}", other.id), || {
                with_values(Draft::new("rule.waiting", Severity::Info, text), rule, view, &hot)
                    .plan(other.id)
            })
            .await;
            return Ok(());
        }
        let (plan, report) = plan_for(&self.records.read(), rule, view, hot.clone());
        if plan.is_empty() && rule.wake && self.wake(rule, evaluation, &hot).await {
            return Ok(());
        }
        if plan.is_empty() {
            let key = format!("none {}", refusal_key(&report));
            self.say_once(rule, key, || no_plan_event(rule, view, &hot, &report)).await;
            return Ok(());
        }
        if rule.dry_run && self.said_before(rule.id, &format!("dry {}", moves_key(&plan))) {
            return Ok(());
        }
        let violations = audit::check_plan(
            &Projection::of(view),
            &placement(&self.records.read(), rule),
            &plan.steps(),
        );
        anyhow::ensure!(violations.is_empty(), "the plan fails its audit: {violations:?}");
        self.start(rule, view, &hot, plan, report).await
    }

    /// Has a host woken for guests that no host takes. False where none can be.
    async fn wake(&self, rule: &Rule, evaluation: &Evaluation, hot: &[HostId]) -> bool {
        let view = &evaluation.view;
        let unwakeable = self.unwakeable().clone();
        let next = next_wake(&self.records.read(), rule, evaluation, hot, &unwakeable);
        let (name, values) = (&rule.name, |draft| with_values(draft, rule, view, hot));
        match next {
            Next::Nobody(why) => {
                tracing::debug!(rule = name, why, "wakes nobody");
                return false;
            }
            Next::Wait(why) => {
                let text = format!("rule {name} waits: {why}");
                let draft = || values(Draft::new("rule.waiting", Severity::Info, text));
                self.say_once(rule, format!("wait {why}"), draft).await;
            }
            Next::Wake(host, why) if rule.dry_run => {
                let text = format!("rule {name} would wake {}: {why}", view.host_name(host));
                let draft = || values(Draft::new("rule.wakes", Severity::Info, text));
                self.say_once(rule, format!("dry wake {host}"), draft).await;
            }
            Next::Wake(host, why) => {
                let woken = view.host_name(host);
                let cause = Cause::Rule { id: rule.id, name: name.clone() };
                let now = self.clock.now();
                let (severity, text) = match waker::ask(&self.records, host, cause, now).await {
                    Ok(()) => (
                        Severity::Info,
                        format!(
                            "rule {name} wakes {woken}: no host that is awake takes a guest, {why}"
                        ),
                    ),
                    Err(error) => {
                        self.unwakeable().insert(host, now);
                        (Severity::Warning, format!("rule {name} cannot wake {woken}: {error}"))
                    }
                };
                let draft =
                    || values(Draft::new("rule.wakes", severity, text)).with("woken", woken);
                self.say_once(rule, format!("wake {host}"), draft).await;
            }
        }
        true
    }

    fn unwakeable(&self) -> std::sync::MutexGuard<'_, BTreeMap<HostId, Timestamp>> {
        self.unwakeable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(
        &self,
        rule: &Rule,
        view: &ClusterView,
        hot: &[HostId],
        plan: Plan,
        report: PlanReport,
    ) -> anyhow::Result<()> {
        let id = plan_id();
        let now = self.clock.now();
        self.events.record(plan_event(rule, view, hot, &plan, &report, id)).await;
        if rule.dry_run {
            self.note(rule.id, format!("dry {}", moves_key(&plan)), now);
        }
        let order = Order {
            plan,
            report,
            cause: Cause::Rule { id: rule.id, name: rule.name.clone() },
            settings: MigrationSettings::default(),
            measure_over: rule.period,
            cleared: Vec::new(),
        };
        match launch(&self.records, &self.engine, order, id, now, rule.dry_run).await {
            Ok(_) => Ok(()),
            Err(LaunchError::Overtaken(reason)) => {
                let text = format!("the plan of rule {} was overtaken: {reason}", rule.name);
                let draft = Draft::new("plan.overtaken", Severity::Info, text);
                self.events.record(draft.rule(rule.name.clone())).await;
                Ok(())
            }
            Err(error @ LaunchError::Record(_)) => Err(error.into()),
        }
    }

    async fn say_once(&self, rule: &Rule, key: String, draft: impl FnOnce() -> Draft) {
        if !self.said_before(rule.id, &key) {
            self.note(rule.id, key, self.clock.now());
            self.events.record(draft()).await;
        }
    }

    fn said_before(&self, rule: RuleId, key: &str) -> bool {
        let now = self.clock.now();
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&rule)
            .is_some_and(|(said, at)| said == key && now.since(*at) < REMIND_EVERY)
    }

    fn note(&self, rule: RuleId, key: String, now: Timestamp) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(rule, (key, now));
    }

    fn forget(&self, rule: RuleId) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).remove(&rule);
    }
}

/// Evaluates one rule now; changes nothing.
pub async fn evaluate(
    records: &Records,
    history: &dyn History,
    rule: &Rule,
    now: Timestamp,
    sample_interval: Duration,
) -> anyhow::Result<Evaluation> {
    let over = Over { period: rule.period, aggregate: rule.aggregate, sample_interval };
    let series = samples(history, now, over.reach()).await?;
    let tables = records.read();
    let view = cluster_view(&tables, &series, now, over);
    let before = tables.firings.get(rule.id);
    let hosts = view
        .hosts
        .iter()
        .filter(|(host, _)| rule.watches(**host))
        .filter_map(|(host, seen)| {
            let reading = seen.readings.get(&rule.condition.metric)?;
            let state = before
                .and_then(|record| record.hosts.get(host))
                .copied()
                .unwrap_or(HostFiring::Clear);
            let (state, transition) = advance(rule, state, reading, now);
            Some((*host, state, transition))
        })
        .collect();
    Ok(Evaluation { view, hosts })
}

/// Which host the rule has woken where there is no move. The `unwakeable` failed at a moment.
pub fn next_wake(
    tables: &Tables,
    rule: &Rule,
    evaluation: &Evaluation,
    hot: &[HostId],
    unwakeable: &BTreeMap<HostId, Timestamp>,
) -> Next {
    let fired = evaluation.hosts.iter().filter(|(host, _, _)| hot.contains(host));
    let fired = fired.filter_map(|(_, state, _)| state.since()).min();
    let (view, mut sleepers) = (&evaluation.view, waker::sleepers(tables));
    for one in sleepers.iter_mut().filter(|one| one.standing == Standing::Parked) {
        if let Some(at) = unwakeable.get(&one.host) {
            one.standing = Standing::Failed { at: *at };
        }
    }
    rule_wake::next(tables, rule, view, hot, &sleepers, fired.unwrap_or(view.at))
}

/// What the planner says for these hosts.
pub fn plan_for(
    tables: &Tables,
    rule: &Rule,
    view: &ClusterView,
    hosts: Vec<HostId>,
) -> (Plan, PlanReport) {
    plan_within(tables, rule, view, hosts, placement(tables, rule))
}

/// The same where a plan must keep something else.
pub fn plan_within(
    tables: &Tables,
    rule: &Rule,
    view: &ClusterView,
    hosts: Vec<HostId>,
    placement: PlacementPolicy,
) -> (Plan, PlanReport) {
    let goal = Goal::Relieve { condition: rule.condition, hosts };
    let policy = Policy::new(goal, placement);
    let budget = Budget { max_moves: rule.max_moves as usize, ..crate::queue::budget(tables) };
    plan(view, &policy, &budget, &mut Pcg64::new(seed().into(), 1))
}

/// The conditions of all rules that act, which no target may come near.
pub fn ceilings(tables: &Tables) -> Vec<Ceiling> {
    tables.rules.iter().filter(|rule| rule.acts()).map(Rule::ceiling).collect()
}

/// What the rule's plans must keep.
pub fn placement(tables: &Tables, rule: &Rule) -> PlacementPolicy {
    rule.placement(tables.rules.iter(), standing(tables))
}

/// The plan that is being carried out, if there is one; drains do not hold up others.
pub fn running_plan(tables: &Tables) -> Option<PlanRecord> {
    let running = |plan: &&PlanRecord| {
        plan.state == PlanState::Running && !matches!(plan.cause, Cause::Drain { .. })
    };
    tables.plans.iter().rev().find(running).cloned()
}

/// Hosts on which the rule fires and its value is on the bad side now.
fn hot_hosts(rule: &Rule, evaluation: &Evaluation) -> Vec<HostId> {
    evaluation
        .hosts
        .iter()
        .filter(|(host, state, _)| {
            matches!(state, HostFiring::Firing { .. })
                && evaluation
                    .view
                    .host_value(*host, rule.condition.metric)
                    .is_some_and(|value| rule.condition.holds(value))
        })
        .map(|(host, _, _)| *host)
        .collect()
}

/// Whether nothing changed that a restart must know: the age of a sample does not count.
fn same_story(before: &FiringRecord, after: &FiringRecord) -> bool {
    before.hosts.len() == after.hosts.len()
        && before.hosts.iter().zip(&after.hosts).all(|(a, b)| match (a.1, b.1) {
            (HostFiring::Unknown { .. }, HostFiring::Unknown { .. }) => a.0 == b.0,
            _ => a == b,
        })
}

fn transition_event(
    rule: &Rule,
    view: &ClusterView,
    host: HostId,
    transition: Transition,
) -> Option<Draft> {
    let name = view.host_name(host);
    let metric = rule.condition.metric;
    let shown = view.host_value(host, metric).map(|value| metric.show(value));
    let shown = shown.unwrap_or_else(|| "no value".to_owned());
    let shown =
        format!("{shown}{}", if view.is_estimate(host, metric) { " by estimate" } else { "" });
    let over = format!("{:.0} s", rule.period.as_secs_f64());
    let draft = match transition {
        Transition::None | Transition::Regained => return None,
        Transition::Fired => Draft::new(
            "rule.fired",
            Severity::Warning,
            format!("rule {} fires on {name}: {} ({shown} over {over})", rule.name, rule.condition),
        ),
        Transition::Cleared => Draft::new(
            "rule.cleared",
            Severity::Info,
            format!("rule {} is clear on {name}: {shown} over {over}", rule.name),
        ),
        Transition::Lost(reason) => Draft::new(
            "rule.unknown",
            Severity::Info,
            format!("rule {} has no value for {name}: {reason}", rule.name),
        ),
    };
    Some(with_values(draft, rule, view, &[host]).host(name))
}

fn with_values(draft: Draft, rule: &Rule, view: &ClusterView, hosts: &[HostId]) -> Draft {
    let metric = rule.condition.metric;
    let draft = draft
        .rule(rule.name.clone())
        .with("metric", metric.name())
        .with("threshold", rule.condition.threshold)
        .with("clear", rule.clear)
        .with("period_s", rule.period.as_secs_f64());
    let worst = hosts
        .iter()
        .filter_map(|host| Some((view.host_value(*host, metric)?, *host)))
        .max_by(|a, b| rule.condition.excess(a.0).total_cmp(&rule.condition.excess(b.0)));
    match worst {
        Some((value, host)) => {
            let draft = draft.host(view.host_name(host)).with("value", value);
            let estimate = view.is_estimate(host, metric);
            if estimate { draft.with("estimate", true) } else { draft }
        }
        None => draft,
    }
}

fn no_plan_event(rule: &Rule, view: &ClusterView, hot: &[HostId], report: &PlanReport) -> Draft {
    let reasons: Vec<String> = report
        .refused
        .iter()
        .take(REFUSALS_SHOWN)
        .map(|refused| {
            let guest = view.guest_name(refused.guest);
            match refused.host {
                Some(host) => format!("{guest} to {}: {}", view.host_name(host), refused.reason),
                None => format!("{guest}: {}", refused.reason),
            }
        })
        .collect();
    let why: Vec<String> = report
        .hosts
        .iter()
        .filter_map(|outlook| {
            let reason = outlook.unrelieved.as_ref()?;
            Some(format!("{}: {reason}", view.host_name(outlook.host)))
        })
        .collect();
    let first = reasons.first().map_or_else(String::new, |reason| {
        let more = report.refused.len().saturating_sub(1);
        format!(
            "; {reason}{}",
            if more > 0 { format!(" (and {more} more)") } else { String::new() }
        )
    });
    let text = format!(
        "rule {} finds no move: {}{first}; `drover rule test {}` shows every reason",
        rule.name,
        why.join("; "),
        rule.name
    );
    with_values(Draft::new("rule.no_plan", Severity::Warning, text), rule, view, hot)
        .with("refused", reasons)
        .with("refused_total", report.refused.len())
}

fn plan_event(
    rule: &Rule,
    view: &ClusterView,
    hot: &[HostId],
    plan: &Plan,
    report: &PlanReport,
    id: drover_model::PlanId,
) -> Draft {
    let moves: Vec<String> = plan
        .moves()
        .map(|step| {
            format!(
                "{} {}→{} (source {} → {}, target {} → {}; {}; {})",
                view.guest_name(step.step.guest),
                view.host_name(step.step.from),
                view.host_name(step.step.to),
                step.metric.show(step.from.0),
                step.metric.show(step.from.1),
                step.metric.show(step.to.0),
                step.metric.show(step.to.1),
                step.why_guest,
                step.why_host,
            )
        })
        .collect();
    let prefix = if rule.dry_run { "would do" } else { "plans" };
    let text = format!("rule {} {prefix} {}", rule.name, report.summary);
    with_values(Draft::new("plan.made", Severity::Info, text), rule, view, hot)
        .plan(id)
        .with("moves", moves)
        .with("dry_run", rule.dry_run)
}

fn refusal_key(report: &PlanReport) -> String {
    report
        .refused
        .iter()
        .map(|refused| format!("{}{:?}{}", refused.guest, refused.host, refused.constraint))
        .collect()
}

fn moves_key(plan: &Plan) -> String {
    plan.moves().map(|step| format!("{}{}", step.step.guest, step.step.to)).collect()
}
