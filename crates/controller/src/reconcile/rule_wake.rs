//! Which host a rule has woken when no host that is awake takes its guests.

use std::time::Duration;

use drover_model::{
    ClusterView, HostId, HostState, Metric, MissingReason, PowerLine, Reading, Timestamp,
};
use drover_planner::as_if_awake;
use drover_rules::Rule;

use super::rules::{placement, plan_within};
use crate::records::{PowerPhase, PowerRecord, Tables};
use crate::waker::{Sleeper, Standing, open_when_awake};

/// A host that did not wake is tried again after so long, if it is still wanted.
pub const TRIED_AGAIN: Duration = Duration::from_secs(1800);
/// A host that has just been woken is waited for, until it is measured, for the rule's period and
/// so much more: its agent connects, looks around, and the first sample needs a second one.
/// One that is not measured by then may never be.
pub const FIRST_SAMPLES: Duration = Duration::from_secs(60);
/// Hosts that are looked at in one turn: each costs a plan.
const LOOKED_AT: usize = 8;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A host that is awake is about to be measured, or one is being woken: it may do.
    Wait(String),
    /// This one is to be woken; the sentence says what it would take.
    Wake(HostId, String),
    /// No host that could be woken would take a guest; the sentence says why.
    Nobody(String),
}

/// Looks for the host to wake: of those that would take guests, one that is still being emptied
/// for a park, then the one that leaves least unrelieved, then the one that is awake soonest, then
/// the one that draws least at rest.
/// A host whose wake has failed since the rule fired is passed over.
pub fn next(
    tables: &Tables,
    rule: &Rule,
    view: &ClusterView,
    hot: &[HostId],
    sleepers: &[Sleeper],
    fired: Timestamp,
) -> Next {
    let may = |host: HostId| rule.target_hosts.is_empty() || rule.target_hosts.contains(&host);
    let may_take = |host: HostId| may(host) && !hot.contains(&host);
    let just_woken = || just_woken(tables, rule, view).find(|host| may_take(*host));
    if let Some(host) = about_to_be_measured(view, may_take).or_else(just_woken) {
        return Next::Wait(format!("{} is not measured for long enough", view.host_name(host)));
    }
    let ours = || sleepers.iter().filter(|one| may(one.host) && open_when_awake(tables, one.host));
    if let Some(one) = ours().find(|one| one.standing == Standing::Waking) {
        return Next::Wait(format!("{} is being woken", view.host_name(one.host)));
    }
    let open = |standing: Standing| match standing {
        Standing::Parked | Standing::Leaving => true,
        Standing::Waking => false,
        Standing::Failed { at } => at < fired || view.at.since(at) >= TRIED_AGAIN,
    };
    let mut candidates: Vec<&Sleeper> = ours().filter(|one| open(one.standing)).collect();
    let failed = ours().count() - candidates.len();
    let sleeps = |one: &Sleeper| one.standing != Standing::Leaving;
    candidates.sort_by(|a, b| {
        let cheap = cost(view, a).total_cmp(&cost(view, b)).then(a.host.cmp(&b.host));
        sleeps(a).cmp(&sleeps(b)).then(cheap)
    });
    let best = candidates
        .iter()
        .take(LOOKED_AT)
        .filter_map(|one| {
            let leaving = one.standing == Standing::Leaving;
            let awake = if leaving { view.clone() } else { as_if_awake(view, one.host) };
            let mut placement = placement(tables, rule);
            placement.open(one.host);
            let (plan, report) = plan_within(tables, rule, &awake, hot.to_vec(), placement);
            let moves = plan.moves().filter(|step| step.step.to == one.host).count();
            let left = report.hosts.iter().filter(|host| host.unrelieved.is_some()).count();
            (moves > 0).then_some((!leaving, left, one.host, moves))
        })
        .min_by_key(|(sleeps, left, _, _)| (*sleeps, *left));
    match best {
        Some((sleeps, _, host, moves)) => {
            let guests = if moves == 1 { "guest" } else { "guests" };
            let called = if sleeps { "" } else { "its park is called back, and " };
            Next::Wake(host, format!("{called}it would take {moves} {guests}"))
        }
        None if candidates.is_empty() && failed > 0 => {
            Next::Nobody(format!("{failed} parked host(s) did not wake"))
        }
        None if candidates.is_empty() => Next::Nobody("no target host is parked".to_owned()),
        None => Next::Nobody(format!("none of {} parked host(s) could take one", candidates.len())),
    }
}

/// Hosts that were woken a moment ago and lack a value that a target must have. They may not even
/// be known to be online yet.
fn just_woken(tables: &Tables, rule: &Rule, view: &ClusterView) -> impl Iterator<Item = HostId> {
    let patience = rule.period + FIRST_SAMPLES;
    let is_new = move |record: &&PowerRecord| {
        let woken = record.last_wake.as_ref().filter(|wake| wake.failure.is_none());
        let lately = woken.is_some_and(|wake| view.at.since(wake.at) < patience);
        lately
            && record.phase == PowerPhase::Settled
            && tables.maintenance.get(record.host).is_none()
    };
    let needed = [Metric::CpuUsageActive, Metric::MemAvailable, rule.condition.metric];
    let lacks =
        move |host: &HostId| needed.iter().any(|metric| view.host_value(*host, *metric).is_none());
    let there = |host: &HostId| view.hosts.contains_key(host);
    tables.power.iter().filter(is_new).map(|record| record.host).filter(there).filter(lacks)
}

/// A target that is up and whose window is not yet full: woken a moment ago, or just changed.
fn about_to_be_measured(view: &ClusterView, may: impl Fn(HostId) -> bool) -> Option<HostId> {
    let soon = |reading: Option<&Reading>| {
        matches!(reading, Some(Reading::Missing(MissingReason::TooShort { .. })))
    };
    view.hosts
        .iter()
        .filter(|(id, host)| host.host.state == HostState::Online && may(**id))
        .find(|(_, host)| soon(host.readings.get(&Metric::CpuUsageActive)))
        .map(|(id, _)| *id)
}

/// Seconds until it is awake, and then its watts at rest: what is not known counts as much.
fn cost(view: &ClusterView, one: &Sleeper) -> f64 {
    const UNKNOWN_S: f64 = 600.0;
    const UNKNOWN_W: f64 = 1000.0;
    let line = view.hosts.get(&one.host).and_then(|host| host.lines.get(&Metric::PowerWatts));
    let idle = line.map_or(UNKNOWN_W, |line: &PowerLine| line.idle);
    one.takes.map_or(UNKNOWN_S, |takes| takes.as_secs_f64().round()) + idle / 1e6
}

#[cfg(test)]
mod tests {
    use drover_rules::Aggregate;
    use drover_testkit::{Cluster, NOW, host_id};

    use super::*;
    use crate::records::{PowerOutcome, Records, Txn};

    fn rule(targets: &[u128]) -> Rule {
        Rule {
            id: drover_model::RuleId::from_u128(1),
            name: "hot".to_owned(),
            enabled: true,
            condition: "power.watts > 250".parse().unwrap(),
            clear: 225.0,
            period: Duration::from_secs(60),
            aggregate: Aggregate::Mean,
            evaluations: 1,
            source_hosts: vec![host_id(1)],
            target_hosts: targets.iter().map(|n| host_id(*n)).collect(),
            guests: vec![],
            max_moves: 4,
            cooldown: Duration::from_secs(600),
            dry_run: false,
            wake: true,
            created: Timestamp::EPOCH,
        }
    }

    /// h1 is hot; h2 is full; h3, h4 and h5 are off. h5 is too small for any guest.
    fn view() -> Cluster {
        let mut cluster = Cluster::new()
            .host(1, 16.0, 64, 62.5, 40.0)
            .power(1, 260.0, 100.0, 356.0)
            .host(2, 16.0, 64, 90.0, 0.5)
            .power(2, 240.0, 60.0, 260.0);
        for (n, gib) in [(3, 64), (4, 64), (5, 1)] {
            cluster = cluster.host(n, 16.0, gib, 0.0, 0.0).power(n, 60.0, 60.0, 220.0);
            cluster = cluster.with(|view| {
                let host = view.hosts.get_mut(&host_id(n)).unwrap();
                (host.host.state, host.readings) = (HostState::Unreachable, Default::default());
            });
        }
        cluster.guest(1, 1, 2048, 1.0)
    }

    fn parked(n: u128, takes: Option<u64>) -> Sleeper {
        let takes = takes.map(Duration::from_secs);
        Sleeper { host: host_id(n), standing: Standing::Parked, takes }
    }

    fn ask(view: &ClusterView, rule: &Rule, sleepers: &[Sleeper]) -> Next {
        let fired = NOW.minus(Duration::from_secs(60));
        next(&Tables::default(), rule, view, &[host_id(1)], sleepers, fired)
    }

    fn host_of(next: Next) -> HostId {
        match next {
            Next::Wake(host, _) => host,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_host_that_is_awake_soonest_is_woken_and_only_one_that_takes_a_guest() {
        let view = view().view();
        let all = [parked(3, Some(90)), parked(4, Some(40)), parked(5, Some(1))];
        assert_eq!(host_of(ask(&view, &rule(&[]), &all)), host_id(4));
        assert_eq!(host_of(ask(&view, &rule(&[2, 3]), &all)), host_id(3));
        let Next::Nobody(why) = ask(&view, &rule(&[5]), &all) else { panic!("woken") };
        assert!(why.contains("none of 1"), "{why}");
        let Next::Nobody(why) = ask(&view, &rule(&[2]), &all) else { panic!("woken") };
        assert!(why.contains("no target host is parked"), "{why}");
    }

    #[test]
    fn a_host_that_is_still_being_emptied_is_called_back_before_another_is_woken() {
        let leaving = |n| Sleeper { standing: Standing::Leaving, ..parked(n, Some(500)) };
        let up = view().host(3, 16.0, 64, 10.0, 40.0).power(3, 90.0, 60.0, 220.0).view();
        let Next::Wake(host, why) = ask(&up, &rule(&[]), &[leaving(3), parked(4, Some(1))]) else {
            panic!("nobody")
        };
        assert_eq!(
            (host, why.as_str()),
            (host_id(3), "its park is called back, and it would take 1 guest")
        );
        // One that is too full to take a guest is left to leave.
        let full = view().host(3, 16.0, 64, 90.0, 0.5).power(3, 200.0, 60.0, 220.0).view();
        let next = ask(&full, &rule(&[]), &[leaving(3), parked(4, Some(1))]);
        assert_eq!(host_of(next), host_id(4));
    }

    #[test]
    fn while_one_is_woken_no_other_is_and_after_a_failure_the_next_is() {
        let view = view().view();
        let mut all = [parked(3, Some(90)), parked(4, Some(40))];
        all[1].standing = Standing::Waking;
        assert!(matches!(ask(&view, &rule(&[]), &all), Next::Wait(why) if why.contains("h4")));
        all[1].standing = Standing::Failed { at: NOW.minus(Duration::from_secs(10)) };
        assert_eq!(host_of(ask(&view, &rule(&[]), &all)), host_id(3));
        all[0].standing = all[1].standing;
        assert!(
            matches!(ask(&view, &rule(&[]), &all), Next::Nobody(why) if why.contains("2 parked"))
        );
        // What failed before the rule fired, or long ago, is tried again.
        all[1].standing = Standing::Failed { at: NOW.minus(Duration::from_secs(120)) };
        assert_eq!(host_of(ask(&view, &rule(&[]), &all)), host_id(4));
    }

    /// h3 was woken then.
    async fn woken(at: Timestamp, failure: Option<&str>) -> Records {
        let store = std::sync::Arc::new(drover_ports::memory::MemoryStore::default());
        let records = Records::load(store).await.unwrap();
        let mut record = PowerRecord::new(host_id(3), at);
        let failure = failure.map(str::to_owned);
        record.last_wake = Some(PowerOutcome { at, took_ms: 60_000, failure, proof: None });
        let put = |_: &Tables| {
            let mut txn = Txn::none();
            txn.put(record);
            (txn, ())
        };
        records.update(put).await.unwrap();
        records
    }

    #[tokio::test]
    async fn a_host_that_was_woken_is_waited_for_until_it_is_measured_but_not_for_ever() {
        let ago = |seconds: u64| NOW.minus(Duration::from_secs(seconds));
        let ask = |records: &Records, view: &ClusterView, targets: &[u128]| {
            let sleepers = [parked(4, None)];
            next(&records.read(), &rule(targets), view, &[host_id(1)], &sleepers, ago(300))
        };
        // Not even that it is online is known yet.
        let bare = view().view();
        for (seconds, waits) in [(0, true), (119, true), (120, false)] {
            let next = ask(&woken(ago(seconds), None).await, &bare, &[]);
            let waited = matches!(&next, Next::Wait(why) if why.contains("h3"));
            assert_eq!(waited, waits, "{seconds} s: {next:?}");
        }
        let failed = woken(ago(5), Some("dark")).await;
        assert_eq!(host_of(ask(&failed, &bare, &[])), host_id(4));
        let well = woken(ago(5), None).await;
        assert_eq!(host_of(ask(&well, &bare, &[4])), host_id(4), "h3 is no target");
        let full = view().host(3, 16.0, 64, 90.0, 0.5).power(3, 250.0, 60.0, 260.0).view();
        assert_eq!(host_of(ask(&well, &full, &[])), host_id(4), "h3 is measured, and full");
    }

    #[test]
    fn a_host_that_has_just_come_is_waited_for() {
        let short = MissingReason::TooShort { covered_ms: 10_000, needed_ms: 50_000 };
        let view = view()
            .host(6, 16.0, 64, 0.0, 60.0)
            .with(|view| {
                let host = view.hosts.get_mut(&host_id(6)).unwrap();
                host.readings.insert(Metric::CpuUsageActive, Reading::Missing(short));
            })
            .view();
        let all = [parked(3, None)];
        assert!(matches!(ask(&view, &rule(&[]), &all), Next::Wait(why) if why.contains("h6")));
        assert_eq!(host_of(ask(&view, &rule(&[3]), &all)), host_id(3));
    }
}
