//! Which host a rule has woken when no host that is awake takes its guests.

use std::time::Duration;

use drover_model::{
    ClusterView, HostId, HostState, Metric, MissingReason, PowerLine, Reading, Timestamp,
};
use drover_planner::as_if_awake;
use drover_rules::Rule;

use super::rules::{placement, plan_within};
use crate::records::Tables;
use crate::waker::{Sleeper, Standing, open_when_awake};

/// A host that did not wake is tried again after so long, if it is still wanted.
pub const TRIED_AGAIN: Duration = Duration::from_secs(1800);
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

/// Looks for the host to wake: of those that would take guests, the one that leaves least
/// unrelieved, then the one that is awake soonest, then the one that draws least at rest.
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
    if let Some(host) = about_to_be_measured(view, hot, may) {
        return Next::Wait(format!("{} is not measured for long enough", view.host_name(host)));
    }
    let ours = || sleepers.iter().filter(|one| may(one.host) && open_when_awake(tables, one.host));
    if let Some(one) = ours().find(|one| one.standing == Standing::Waking) {
        return Next::Wait(format!("{} is being woken", view.host_name(one.host)));
    }
    let open = |standing: Standing| match standing {
        Standing::Parked => true,
        Standing::Waking => false,
        Standing::Failed { at } => at < fired || view.at.since(at) >= TRIED_AGAIN,
    };
    let mut candidates: Vec<&Sleeper> = ours().filter(|one| open(one.standing)).collect();
    let failed = ours().count() - candidates.len();
    candidates.sort_by(|a, b| cost(view, a).total_cmp(&cost(view, b)).then(a.host.cmp(&b.host)));
    let best = candidates
        .iter()
        .take(LOOKED_AT)
        .filter_map(|one| {
            let awake = as_if_awake(view, one.host);
            let mut placement = placement(tables, rule);
            placement.draining.retain(|host| *host != one.host);
            let (plan, report) = plan_within(tables, rule, &awake, hot.to_vec(), placement);
            let moves = plan.moves().filter(|step| step.step.to == one.host).count();
            let left = report.hosts.iter().filter(|host| host.unrelieved.is_some()).count();
            (moves > 0).then_some((left, one.host, moves))
        })
        .min_by_key(|(left, _, _)| *left);
    match best {
        Some((_, host, moves)) => {
            let guests = if moves == 1 { "guest" } else { "guests" };
            Next::Wake(host, format!("it would take {moves} {guests}"))
        }
        None if candidates.is_empty() && failed > 0 => {
            Next::Nobody(format!("{failed} parked host(s) did not wake"))
        }
        None if candidates.is_empty() => Next::Nobody("no target host is parked".to_owned()),
        None => Next::Nobody(format!("none of {} parked host(s) could take one", candidates.len())),
    }
}

/// A target that is up and whose window is not yet full: woken a moment ago, or just changed.
fn about_to_be_measured(
    view: &ClusterView,
    hot: &[HostId],
    may: impl Fn(HostId) -> bool,
) -> Option<HostId> {
    let soon = |reading: Option<&Reading>| {
        matches!(reading, Some(Reading::Missing(MissingReason::TooShort { .. })))
    };
    view.hosts
        .iter()
        .filter(|(id, host)| {
            host.host.state == HostState::Online && may(**id) && !hot.contains(*id)
        })
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

    fn woken(next: Next) -> HostId {
        match next {
            Next::Wake(host, _) => host,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_host_that_is_awake_soonest_is_woken_and_only_one_that_takes_a_guest() {
        let view = view().view();
        let all = [parked(3, Some(90)), parked(4, Some(40)), parked(5, Some(1))];
        assert_eq!(woken(ask(&view, &rule(&[]), &all)), host_id(4));
        assert_eq!(woken(ask(&view, &rule(&[2, 3]), &all)), host_id(3));
        let Next::Nobody(why) = ask(&view, &rule(&[5]), &all) else { panic!("woken") };
        assert!(why.contains("none of 1"), "{why}");
        let Next::Nobody(why) = ask(&view, &rule(&[2]), &all) else { panic!("woken") };
        assert!(why.contains("no target host is parked"), "{why}");
    }

    #[test]
    fn while_one_is_woken_no_other_is_and_after_a_failure_the_next_is() {
        let view = view().view();
        let mut all = [parked(3, Some(90)), parked(4, Some(40))];
        all[1].standing = Standing::Waking;
        assert!(matches!(ask(&view, &rule(&[]), &all), Next::Wait(why) if why.contains("h4")));
        all[1].standing = Standing::Failed { at: NOW.minus(Duration::from_secs(10)) };
        assert_eq!(woken(ask(&view, &rule(&[]), &all)), host_id(3));
        all[0].standing = all[1].standing;
        assert!(
            matches!(ask(&view, &rule(&[]), &all), Next::Nobody(why) if why.contains("2 parked"))
        );
        // What failed before the rule fired, or long ago, is tried again.
        all[1].standing = Standing::Failed { at: NOW.minus(Duration::from_secs(120)) };
        assert_eq!(woken(ask(&view, &rule(&[]), &all)), host_id(4));
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
        assert_eq!(woken(ask(&view, &rule(&[3]), &all)), host_id(3));
    }
}
