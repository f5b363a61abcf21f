//! Keeps groups of hosts below their power caps: where one draws more over its window, guests
//! move out of it. That nothing is placed where a cap forbids it is every plan's own duty.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{ClusterView, Metric, MigrationSettings, RuleId, Timestamp};
use drover_planner::{Budget, Goal, Plan, PlanReport, Policy, plan};
use drover_ports::{Clock, History};
use drover_rules::constraint::PowerCap;
use drover_rules::{Aggregate, PlacementPolicy, Projection, audit};
use rand_pcg::Pcg64;

use super::Reconcile;
use super::rules::{ceilings, running_plan};
use crate::engine::Engine;
use crate::events::{Draft, Events, Severity};
use crate::launch::{LaunchError, Order, launch};
use crate::moment::{plan_id, seed};
use crate::placement::{power_cap, standing};
use crate::records::{Cause, PolicyName, PowerCapRecord, Records, Tables};
use crate::view::{Over, cluster_view, samples};

/// Moves bring a group down to this part of its cap: at the cap itself, noise would move
/// guests again and again.
const DOWN_TO: f64 = 0.95;
/// A guest that was moved stays for so long, as after a rule's move.
const COOLDOWN: Duration = Duration::from_secs(600);
/// A group that cannot be relieved is told of again after so long.
const REMIND_EVERY: Duration = Duration::from_secs(300);

/// See the module.
pub struct KeepPowerCaps {
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
    /// What was said last of each cap. Lost with the process: then it is said again.
    pub said: Mutex<BTreeMap<RuleId, (String, Timestamp)>>,
}

#[async_trait]
impl Reconcile for KeepPowerCaps {
    fn name(&self) -> &'static str {
        "keep-power-caps"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let caps: Vec<PowerCapRecord> = self.records.read().power_caps.iter().cloned().collect();
        for record in caps {
            self.keep(&record).await?;
        }
        Ok(())
    }
}

impl KeepPowerCaps {
    async fn keep(&self, record: &PowerCapRecord) -> anyhow::Result<()> {
        let now = self.clock.now();
        let over = Over {
            period: record.window,
            aggregate: Aggregate::Mean,
            sample_interval: self.sample_interval,
        };
        let series = samples(self.history.as_ref(), now, over.reach()).await?;
        let (view, cap, placement, budget, busy) = {
            let tables = self.records.read();
            let view = cluster_view(&tables, &series, now, over);
            let budget = crate::queue::budget(&tables);
            let busy = running_plan(&tables).is_some() || !view.in_flight.is_empty();
            (view, power_cap(&tables, record), placement(&tables), budget, busy)
        };
        let watts = Metric::PowerWatts;
        let drawn = match drawn(&view, &cap) {
            Ok(drawn) => drawn,
            Err(why) => {
                let text = format!("power cap {} cannot be judged: {why}", cap.name);
                self.say_once(record.id, "power_cap.unknown", Severity::Info, text).await;
                return Ok(());
            }
        };
        if drawn <= cap.watts {
            if self.said().remove(&record.id).is_some_and(|(kind, _)| kind == "power_cap.exceeded")
            {
                let text = format!("power cap {} is kept: {}", cap.name, watts.show(drawn));
                self.events.record(Draft::new("power_cap.kept", Severity::Info, text)).await;
            }
            return Ok(());
        }
        if busy {
            return Ok(());
        }
        let budget = Budget { max_moves: record.max_moves as usize, ..budget };
        let (plan, report) = search(&view, &placement, &cap, &budget);
        let text = format!(
            "the hosts of power cap {} draw {} of at most {}: {}",
            cap.name,
            watts.show(drawn),
            watts.show(cap.watts),
            report.summary
        );
        if plan.is_empty() {
            self.say_once(record.id, "power_cap.exceeded", Severity::Warning, text).await;
            return Ok(());
        }
        let violations = audit::check_plan(&Projection::of(&view), &placement, &plan.steps());
        anyhow::ensure!(violations.is_empty(), "the plan fails its audit: {violations:?}");
        self.start(record, text, plan, report, now).await
    }

    async fn start(
        &self,
        record: &PowerCapRecord,
        text: String,
        plan: Plan,
        report: PlanReport,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let id = plan_id();
        let draft = Draft::new("power_cap.exceeded", Severity::Warning, text).plan(id);
        self.events.record(draft).await;
        self.said().insert(record.id, ("power_cap.exceeded".to_owned(), now));
        let order = Order {
            plan,
            report,
            cause: Cause::Policy { name: PolicyName::PowerCap },
            settings: MigrationSettings::default(),
            measure_over: record.window,
            cleared: Vec::new(),
        };
        match launch(&self.records, &self.engine, order, id, now, false).await {
            Ok(_) => Ok(()),
            Err(LaunchError::Overtaken(reason)) => {
                let text = format!("the plan of power cap {} was overtaken: {reason}", record.name);
                self.events.record(Draft::new("plan.overtaken", Severity::Info, text)).await;
                Ok(())
            }
            Err(error @ LaunchError::Record(_)) => Err(error.into()),
        }
    }

    /// Says it unless the same was said of this cap a moment ago.
    async fn say_once(&self, cap: RuleId, kind: &str, severity: Severity, text: String) {
        let now = self.clock.now();
        let before = self.said().get(&cap).cloned();
        if before.is_some_and(|(said, at)| said == kind && now.since(at) < REMIND_EVERY) {
            return;
        }
        self.said().insert(cap, (kind.to_owned(), now));
        self.events.record(Draft::new(kind, severity, text)).await;
    }

    fn said(&self) -> std::sync::MutexGuard<'_, BTreeMap<RuleId, (String, Timestamp)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the group draws over the window. Here a host counts only by measurement: guests are
/// not moved because of what a silent host might draw.
fn drawn(view: &ClusterView, cap: &PowerCap) -> Result<f64, String> {
    let watts = |host: &drover_model::HostId| {
        let known = view.host_value(*host, Metric::PowerWatts);
        known.or_else(|| cap.off.contains(host).then_some(0.0)).ok_or_else(|| {
            format!("{} of {} is not known", Metric::PowerWatts, view.host_name(*host))
        })
    };
    cap.hosts.iter().map(watts).sum()
}

fn placement(tables: &Tables) -> PlacementPolicy {
    PlacementPolicy { ceilings: ceilings(tables), cooldown: COOLDOWN, ..standing(tables) }
}

fn search(
    view: &ClusterView,
    placement: &PlacementPolicy,
    cap: &PowerCap,
    budget: &Budget,
) -> (Plan, PlanReport) {
    let group = PowerCap { watts: cap.watts * DOWN_TO, ..cap.clone() };
    let policy = Policy::new(Goal::Shed { group }, placement.clone());
    plan(view, &policy, budget, &mut Pcg64::new(seed().into(), 1))
}
