//! Decides once a minute which hosts sleep, while the power policy stands, and has them woken
//! and parked.
//!
//! What was decided is kept with its numbers (`drover power explain`); a change of it is an
//! event. Where the policy only suggests, that is all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use drover_api::v1;
use drover_model::{HostId, Timestamp};
use drover_planner::power::{
    Ask, Decision, Expected, Machine, MachineState, PowerPolicy, State, View, WakeReason, Window,
    decide,
};
use drover_ports::{Clock, History};
use drover_rules::{Aggregate, COURSE_STEP};

use super::Reconcile;
use crate::engine::Engine;
use crate::events::{Draft, Events, Severity};
use crate::records::{
    Cause, PolicyName, PowerPolicyRecord, PowerTurnRecord, Records, ReserveName, ReserveRecord, Txn,
};
use crate::saving::{Switches, expected, facts, offset, past, power_view, told};
use crate::view::{Over, cluster_view, samples};

/// Time between two turns: windows are minutes.
pub const TURN: Duration = Duration::from_secs(60);
/// The newest load is a mean over so long: as the points of history are.
const NOW_OVER: Duration = Duration::from_secs(300);
/// A host whose parking was refused is not asked again for so long.
const RESPITE: Duration = Duration::from_secs(15 * 60);
/// A host that was woken for load is looked at for so long, that guests may be moved to it.
const AWAITED: Duration = Duration::from_secs(30 * 60);

/// See the module.
pub struct ManagePower {
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
    /// What switches hosts.
    pub switches: Arc<dyn Switches>,
    /// Of healthy agents.
    pub sample_interval: Duration,
    /// What it knows beside its record.
    pub last: Mutex<Lately>,
}

/// Lost with the process: the coming day is read from history anew, and one sentence is said
/// again.
#[derive(Debug, Clone, Default)]
pub struct Lately {
    course: Option<(Timestamp, Vec<Expected>)>,
    said: Option<String>,
}

#[async_trait]
impl Reconcile for ManagePower {
    fn name(&self) -> &'static str {
        "manage-power"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let policy = self.records.read().power_policy.get(PolicyName::Power).cloned();
        let Some(policy) = policy else {
            *self.last() = Lately::default();
            return Ok(());
        };
        let now = self.clock.now();
        let over = Over {
            period: NOW_OVER,
            aggregate: Aggregate::Mean,
            sample_interval: self.sample_interval,
        };
        let series = samples(self.history.as_ref(), now, over.reach()).await?;
        let (cluster, mut facts, reserve, before) = {
            let tables = self.records.read();
            let view = cluster_view(&tables, &series, now, over);
            let before = tables.power_turn.get(PolicyName::Power).cloned();
            let reserve = tables.reserve.get(ReserveName::Cluster).copied().unwrap_or_default();
            (view, facts(self.switches.as_ref(), &tables), reserve, before)
        };
        let past = past(&cluster, self.history.as_ref()).await?;
        let course = self.course(&cluster).await?;
        let (state, mut refused, mut awaited) = match before {
            Some(turn) => (turn.state, turn.refused, turn.awaited),
            None => (State::default(), BTreeMap::new(), BTreeMap::new()),
        };
        refused.retain(|_, (at, _)| now.since(*at) < RESPITE);
        for (host, (_, why)) in &refused {
            if let Some(of) = facts.get_mut(host) {
                of.may_not_park.get_or_insert_with(|| why.clone());
            }
        }
        let seen = power_view(&cluster, &past, &facts, &policy, course);
        let asked = asked(&policy, &reserve, now);
        let (state, decision) = decided(seen.view.clone(), asked, state, now).await?;
        let only = policy.suggest.then(|| "the policy only suggests".to_owned());
        let mut told = {
            let tables = self.records.read();
            told(&tables, &seen, &decision, policy.policy.level, only)
        };
        if told.suggested_only.is_none() {
            self.act(&decision, &mut told, &mut refused, now).await;
            awaited.extend(woken_for_load(&decision, &told, now));
            self.receive(&seen.view, &mut awaited, now).await?;
        }
        self.say(&told).await;
        self.keep(PowerTurnRecord { state, told, refused, awaited }).await
    }
}

/// The policy with what holds for every park, whoever asks for it: hosts that must stay awake
/// at all times, and failures to survive.
fn asked(policy: &PowerPolicyRecord, reserve: &ReserveRecord, now: Timestamp) -> PowerPolicy {
    const EVERY_DAY: u8 = 0b111_1111;
    const DAY_MIN: u16 = 24 * 60;
    let mut asked = policy.policy.clone();
    asked.utc_offset_s = offset(&policy.zone, now).unwrap_or_default();
    asked.survive_failures = asked.survive_failures.max(reserve.survive_failures);
    let ask = Ask::Awake(Some(reserve.min_awake));
    asked.schedule.push(Window { ask, days: EVERY_DAY, from: 0, to: DAY_MIN });
    asked
}

/// Hosts that are being woken to take over load.
fn woken_for_load(
    decision: &Decision,
    told: &v1::PowerDecision,
    now: Timestamp,
) -> Vec<(HostId, Timestamp)> {
    let begun = decision.wakes.iter().zip(&told.wakes).filter(|(_, told)| told.failure.is_none());
    let takes_load = |why: &WakeReason| {
        matches!(
            why,
            WakeReason::Pressed { .. }
                | WakeReason::Expected { .. }
                | WakeReason::Load { .. }
                | WakeReason::Reserve { reserve: 0, failures: 0, .. }
        )
    };
    let hosts = begun.filter(|(wake, _)| takes_load(&wake.why));
    hosts.map(|(wake, _)| (wake.host, now)).collect()
}

/// Deciding takes a core for a while in a large cluster.
async fn decided(
    view: View,
    policy: PowerPolicy,
    state: State,
    now: Timestamp,
) -> anyhow::Result<(State, Decision)> {
    Ok(tokio::task::spawn_blocking(move || decide(&view, &policy, state, now)).await?)
}

impl ManagePower {
    /// The coming day, read from history once a quarter of an hour.
    async fn course(&self, view: &drover_model::ClusterView) -> anyhow::Result<Vec<Expected>> {
        let known = self.last().course.clone();
        if let Some((at, course)) = known
            && view.at.since(at) < COURSE_STEP
        {
            return Ok(course);
        }
        let course = expected(view, self.history.as_ref()).await?;
        self.last().course = Some((view.at, course.clone()));
        Ok(course)
    }

    /// Moves guests to awaited hosts that are up. The next turn goes on where one cannot tell.
    async fn receive(
        &self,
        view: &View,
        awaited: &mut BTreeMap<HostId, Timestamp>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        awaited.retain(|_, woken| now.since(*woken) < AWAITED);
        let on = |machine: &&Machine| matches!(machine.state, MachineState::On { .. });
        let up = view.machines.iter().filter(on).map(|machine| machine.id);
        let up: Vec<HostId> = up.filter(|host| awaited.contains_key(host)).collect();
        if !up.is_empty() && self.fill(&up, now).await? {
            awaited.retain(|host, _| !up.contains(host));
        }
        Ok(())
    }

    async fn act(
        &self,
        decision: &Decision,
        told: &mut v1::PowerDecision,
        refused: &mut BTreeMap<HostId, (Timestamp, String)>,
        now: Timestamp,
    ) {
        let cause = Cause::Policy { name: PolicyName::Power };
        for (wake, told) in decision.wakes.iter().zip(&mut told.wakes) {
            told.failure = self.switches.wake(wake.host, cause.clone()).await.err();
        }
        for (park, told) in decision.parks.iter().zip(&mut told.parks) {
            told.failure = self.switches.park(park.host, cause.clone()).await.err();
            if let Some(why) = &told.failure {
                refused.insert(park.host, (now, why.clone()));
            }
        }
    }

    /// An event where what is decided has changed.
    async fn say(&self, told: &v1::PowerDecision) {
        let wakes = told.wakes.iter().map(|of| format!("wake {} ({})", of.host, of.why));
        let parks = told.parks.iter().map(|of| format!("park {} ({})", of.host, of.why));
        let unmet = told.unmet.iter().map(|why| format!("no host can be woken: {why}"));
        let all: Vec<String> = wakes.chain(parks).chain(unmet).collect();
        // Numbers change with every turn: what is done, and to whom, is what is news.
        let hosts =
            told.wakes.iter().map(|of| &of.host).chain(told.parks.iter().map(|of| &of.host));
        let news: Vec<&str> = hosts.map(String::as_str).collect();
        let news = format!("{} {}", news.join(","), told.unmet.is_some());
        let same = self.last().said.as_ref() == Some(&news);
        let acted =
            told.suggested_only.is_none() && !(told.wakes.is_empty() && told.parks.is_empty());
        self.last().said = Some(news);
        if all.is_empty() || (same && !acted) {
            return;
        }
        let (kind, verb) = match &told.suggested_only {
            Some(_) => ("power.suggested", "suggests to"),
            None => ("power.decided", "decides to"),
        };
        let severity = if told.unmet.is_some() { Severity::Warning } else { Severity::Info };
        let text = format!("policy power {verb}: {}", all.join("; "));
        let draft = Draft::new(kind, severity, text)
            .with("load_cores", told.outlook.load_cores)
            .with("capacity_cores", told.outlook.capacity_cores)
            .with("watts", told.outlook.watts);
        self.events.record(draft).await;
    }

    async fn keep(&self, turn: PowerTurnRecord) -> anyhow::Result<()> {
        let kept = self.records.update(|tables| {
            let mut txn = Txn::none();
            // The policy may have ended meanwhile: then its story ends with it.
            if tables.power_policy.get(PolicyName::Power).is_some() {
                txn.replace(turn);
            }
            (txn, ())
        });
        Ok(kept.await?)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Lately> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
