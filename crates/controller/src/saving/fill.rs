//! Guests for hosts that were woken for the load's sake: one plan that evens it out.
//!
//! Where the balance policy stands, that is its work. Only the first batch is carried out, as
//! with every plan that nobody applied.

use std::time::Duration;

use drover_model::{ClusterView, HostId, Metric, MigrationSettings, Timestamp};
use drover_planner::{Budget, Goal, Level, Policy, plan};
use drover_rules::{Aggregate, PlacementPolicy, Projection, audit};
use rand_pcg::Pcg64;

use crate::events::{Draft, Severity};
use crate::foresight::look_ahead;
use crate::launch::{LaunchError, Order, launch};
use crate::moment::{plan_id, seed};
use crate::placement::standing;
use crate::reconcile::ManagePower;
use crate::reconcile::rules::{ceilings, running_plan};
use crate::records::{Cause, PolicyName, Tables};
use crate::view::{Over, cluster_view, in_flight, samples};

/// A woken host is measured for so long before guests come: load is pressing.
const PERIOD: Duration = Duration::from_secs(60);
/// Most moves: a host is filled by a few guests, and by the balance of others later.
const MOVES: usize = 8;
/// What is expected so far ahead counts as load: a host woken for the morning is filled
/// before it.
const AHEAD: Duration = Duration::from_secs(3600);

impl ManagePower {
    /// Moves guests to these hosts, which are up. False while it cannot be told what to move.
    pub(crate) async fn fill(&self, hosts: &[HostId], now: Timestamp) -> anyhow::Result<bool> {
        if busy(&self.records.read()) {
            return Ok(false);
        }
        let over = Over {
            period: PERIOD,
            aggregate: Aggregate::Mean,
            sample_interval: self.sample_interval,
        };
        let series = samples(self.history.as_ref(), now, over.reach()).await?;
        let (mut view, placement, budget) = {
            let tables = self.records.read();
            if tables.balance.get(PolicyName::Balance).is_some() {
                return Ok(true);
            }
            let placement = PlacementPolicy { ceilings: ceilings(&tables), ..standing(&tables) };
            let budget = Budget { max_moves: MOVES, ..crate::queue::budget(&tables) };
            (cluster_view(&tables, &series, now, over), placement, budget)
        };
        if !hosts.iter().all(|host| view.host_value(*host, Metric::CpuUsageActive).is_some()) {
            return Ok(false);
        }
        look_ahead(&mut view, self.history.as_ref(), AHEAD).await?;
        self.even_out(&view, placement, &budget, now).await
    }

    async fn even_out(
        &self,
        view: &ClusterView,
        placement: PlacementPolicy,
        budget: &Budget,
        now: Timestamp,
    ) -> anyhow::Result<bool> {
        let policy = Policy::new(Goal::Balance { level: Level::Moderate }, placement);
        let (found, report) = plan(view, &policy, budget, &mut Pcg64::new(seed().into(), 1));
        if found.is_empty() {
            let text = format!("nothing is moved to what policy power woke: {}", report.summary);
            self.events.record(Draft::new("power.fills", Severity::Info, text)).await;
            return Ok(true);
        }
        let violations =
            audit::check_plan(&Projection::of(view), &policy.placement, &found.steps());
        anyhow::ensure!(violations.is_empty(), "the plan fails its audit: {violations:?}");
        let id = plan_id();
        let text = format!("policy power fills what it woke: {}", report.summary);
        let order = Order {
            plan: found,
            report,
            cause: Cause::Policy { name: PolicyName::Power },
            settings: MigrationSettings::default(),
            measure_over: PERIOD,
            cleared: Vec::new(),
        };
        match launch(&self.records, &self.engine, order, id, now, false).await {
            Ok(_) => {
                self.events.record(Draft::new("power.fills", Severity::Info, text).plan(id)).await;
                Ok(true)
            }
            Err(LaunchError::Overtaken(_)) => Ok(false),
            Err(error @ LaunchError::Record(_)) => Err(error.into()),
        }
    }
}

/// One plan at a time; a move that is under way changes what the next should be.
fn busy(tables: &Tables) -> bool {
    running_plan(tables).is_some() || !in_flight(tables).is_empty()
}
