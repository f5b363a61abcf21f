//! Chooses where a guest goes that somebody wants moved: the planner's best host, or the next
//! best where the hosts speak against that one.

use std::collections::BTreeMap;

use drover_api::{Problem, ProblemKind};
use drover_model::{ClusterView, GuestId, HostId, MigrationMode, MigrationSettings};
use drover_planner::{Budget, Goal, Plan, PlanReport, Policy, plan};
use drover_rules::constraint::{Constraint, KnownRefusals};
use drover_rules::preflight::{Finding, Severity, cure_of};
use drover_rules::{Aggregate, Initiative, Move, PlacementPolicy};
use rand_pcg::Pcg64;

use super::Api;
use super::check::{add_lifted, hint, look_at_plan, refused};
use super::guests::forgive_moves;
use super::reply::Failed;
use crate::launch::Order;
use crate::moment::seed;
use crate::preflight::Blocked;
use crate::preflight::memory::{add, each_once, on_the_way};
use crate::records::{Cause, Tables};
use crate::view::{Over, cluster_view, samples};

/// A request looks at so many of the newest samples: an operator's word needs fresh values,
/// not steady ones, and a host that has just joined can take a guest.
const REQUEST_SAMPLES: u32 = 2;
/// What came of a request is measured over so long.
const MEASURE_OVER: std::time::Duration = std::time::Duration::from_secs(30);
/// Hosts that are tried one after the other while somebody waits, at about a second each;
/// `drover guest check` looks at all.
const MOST_TRIES: usize = 8;

/// Cures that one refusal names; of many hosts the first are the commonest.
const MOST_CURES: usize = 3;

/// Which guest, and where it is to go if that was said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) guest: GuestId,
    pub(super) to: Option<HostId>,
}

/// What the planner says, and what it was asked.
struct Planned {
    view: ClusterView,
    placement: PlacementPolicy,
    plan: Plan,
    report: PlanReport,
}

/// The order for a move that nothing speaks against, or every reason. What checks have found
/// before does not count: whoever asks may have removed the cause, and it is looked at now.
pub(super) async fn choose(
    api: &Api,
    wish: Wish,
    settings: MigrationSettings,
    cause: Cause,
) -> Result<Order, Failed> {
    let mut known = BTreeMap::new();
    let mut tried: Vec<Blocked> = Vec::new();
    loop {
        let planned = planned(api, wish, &settings, &known).await?;
        if planned.plan.is_empty() {
            return Err(nowhere(&planned.report, wish.to, &tried));
        }
        let moves: Vec<Move> = planned.plan.moves().map(|step| step.step).collect();
        let looked = match settings.mode {
            // Nobody is left to ask.
            MigrationMode::Rescue => Default::default(),
            _ => look_at_plan(api, &moves, &settings, None).await?,
        };
        let Some(blocked) = looked.blocked.into_iter().next() else {
            let mut cleared = looked.clear;
            add_lifted(&planned.view, &planned.placement, &mut cleared);
            if let Some(one) = cleared.first_mut() {
                one.warnings.extend(not_chosen(&api.records.read(), &tried));
            }
            let Planned { plan, report, .. } = planned;
            return Ok(Order {
                plan,
                report,
                cause,
                settings,
                measure_over: MEASURE_OVER,
                cleared,
            });
        };
        add(&mut known, &blocked, blocked.refusal(&settings, api.clock.now()));
        let is_last = wish.to.is_some() || blocked.is_everywhere();
        tried.push(blocked);
        if is_last || tried.len() >= MOST_TRIES {
            return Err(refused(&api.records.read(), &tried));
        }
    }
}

async fn planned(
    api: &Api,
    wish: Wish,
    settings: &MigrationSettings,
    known: &BTreeMap<GuestId, KnownRefusals>,
) -> Result<Planned, Failed> {
    let now = api.clock.now();
    let period = api.sample_interval * REQUEST_SAMPLES;
    // Read a little more: what is stale is named with its age.
    let series = samples(api.history.as_ref(), now, period * 10).await?;
    let over = Over { period, aggregate: Aggregate::Mean, sample_interval: api.sample_interval };
    let Wish { guest, to } = wish;
    let tables = api.records.read();
    let mut view = cluster_view(&tables, &series, now, over);
    forgive_moves(&tables, &series, &mut view, over);
    let mut placement = PlacementPolicy {
        target_hosts: to.into_iter().collect(),
        refused: known.clone(),
        initiative: Initiative::Request,
        ..on_the_way(crate::placement::wishes(&tables), settings)
    };
    // A host that was asked for may go over a rule's threshold: that is the
    // operator's word, and the rule will say so. A choice of ours may not.
    if to.is_none() {
        placement.ceilings = crate::reconcile::rules::ceilings(&tables);
    }
    let policy = Policy::new(Goal::Place { guest, to }, placement);
    let (plan, report) =
        plan(&view, &policy, &Budget::default(), &mut Pcg64::new(seed().into(), 1));
    Ok(Planned { view, placement: policy.placement, plan, report })
}

fn nowhere(report: &PlanReport, to: Option<HostId>, tried: &[Blocked]) -> Failed {
    let unmeasured = report.refused.iter().any(|r| r.constraint == Constraint::FreshSamples);
    let hint = if !tried.is_empty() {
        let found = tried.iter().flat_map(|blocked| &blocked.findings);
        hint(&each_once(found.map(|finding| finding.cure.as_str())))
    } else if to.is_some() && report.refused.iter().any(|r| r.constraint == Constraint::Asleep) {
        "wake it first, or leave --to out to have another host chosen".to_owned()
    } else if unmeasured && to.is_none() {
        "samples come in after a few seconds: try again, or name a host with --to".to_owned()
    } else {
        let mut cures = each_once(report.refused.iter().map(|one| cure_of(one.constraint)));
        cures.truncate(MOST_CURES);
        hint(&cures)
    };
    Failed(Problem::new(ProblemKind::Refused, report.summary.clone()).hint(hint))
}

/// Hosts that would have been better and do not take the guest.
fn not_chosen(tables: &Tables, tried: &[Blocked]) -> Vec<Finding> {
    let of = |blocked: &Blocked| Finding {
        check: Constraint::Preflight.as_str().to_owned(),
        severity: Severity::Warns,
        cause: format!("{} was not chosen: {}", tables.host_name(blocked.to), blocked.causes()),
        cure: blocked.cures(),
        everywhere: false,
    };
    tried.iter().map(of).collect()
}
