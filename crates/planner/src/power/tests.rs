//! Hand-computed cases: hosts of 1000 units that draw 90 W idle and 130 W busy.

use std::time::Duration;

use drover_model::{HostId, PowerCurve, Timestamp};

use super::{
    Decision, Expected, Machine, MachineState, PowerLevel, PowerPolicy, Refusal, State, View,
    WakeReason, decide,
};
use crate::consolidate::{GuestLoad, HostLoad};

const POWER: PowerCurve =
    PowerCurve([90.0, 94.0, 98.0, 102.0, 106.0, 110.0, 114.0, 118.0, 122.0, 126.0, 130.0]);
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn id(host: usize) -> HostId {
    HostId::from_u128(host as u128 + 1)
}

/// Long on or long off.
fn long_ago() -> Timestamp {
    START.minus(Duration::from_secs(86_400))
}

/// Hosts by the steady demands of their guests; none: the host sleeps.
fn cluster(hosts: &[Option<&[f64]>]) -> View {
    let mut view = View::default();
    for (host, demands) in hosts.iter().enumerate() {
        let first = view.load.guests.len();
        view.load.guests.extend(demands.unwrap_or_default().iter().map(|&demand| GuestLoad {
            size: 1000.0,
            image_mb: 1024.0,
            memory_mb: 1024.0,
            demand,
            history: vec![demand / 1000.0; 20],
            host: Some(host),
        }));
        view.load.hosts.push(HostLoad {
            capacity: 1000.0,
            core: 1000.0,
            memory_mb: 8192.0,
            power: POWER,
            utilisation: demands.unwrap_or_default().iter().sum::<f64>() / 1000.0,
            guests: (first..view.load.guests.len()).collect(),
        });
        let since = long_ago();
        view.machines.push(Machine {
            id: id(host),
            state: match demands {
                Some(_) => MachineState::On { since },
                None => MachineState::Off { since },
            },
            min_on: minutes(15),
            min_off: minutes(15),
            wake_time: minutes(3),
            cycle_wh: 6.0,
            off_watts: 5.0,
            may_not_park: None,
            may_not_wake: None,
            excluded: false,
        });
    }
    view
}

/// The last of as many turns, a minute apart.
fn after(view: &View, policy: &PowerPolicy, turns: u64) -> Decision {
    let mut state = State::default();
    for turn in 0..turns {
        state = decide(view, policy, state, START.plus(minutes(turn))).0;
    }
    decide(view, policy, state, START.plus(minutes(turns))).1
}

fn policy(level: u8) -> PowerPolicy {
    PowerPolicy::new(PowerLevel::of(level).unwrap())
}

fn parked(decision: &Decision) -> Vec<HostId> {
    decision.parks.iter().map(|park| park.host).collect()
}

fn woken(decision: &Decision) -> Vec<HostId> {
    decision.wakes.iter().map(|wake| wake.host).collect()
}

#[test]
fn a_needless_host_is_parked_after_the_window_and_not_before() {
    let view = cluster(&[Some(&[300.0]), Some(&[100.0])]);
    let early = after(&view, &policy(5), 19);
    assert!(matches!(early.held, Some(Refusal::Watching { .. })), "{early:?}");
    let late = after(&view, &policy(5), 20);
    assert_eq!(parked(&late), [id(1)]);
    let park = &late.parks[0];
    // 94 W at 10 %, of which 5 W remain; the other goes from 102 W to 106 W
    assert!((park.saved_watts - (94.0 - 5.0 - 4.0)).abs() < 1e-9, "{park:?}");
    assert!((park.cost_wh - 6.1).abs() < 1e-9);
    assert_eq!(park.pay_back, Duration::from_secs_f64(6.1 / 85.0 * 3600.0));
    assert_eq!(park.stay, super::USUAL_STAY);
    assert_eq!((park.moves.len(), park.moves[0].to), (1, 0));
    assert!(park.to_string().starts_with("saves 85 W for about 4h: 0.33 kWh"), "{park}");
    assert!(matches!(late.kept[0].why, Refusal::EnoughAtOnce { most: 1 }), "{late:?}");
}

#[test]
fn the_lowest_level_parks_nothing_and_wakes_for_constraints_alone() {
    let idle = cluster(&[Some(&[]), Some(&[])]);
    assert_eq!(after(&idle, &policy(1), 60).held, Some(Refusal::Level));
    let busy = cluster(&[Some(&[900.0]), None]);
    assert_eq!(woken(&after(&busy, &policy(1), 60)), []);
    let wanted = after(&busy, &PowerPolicy { reserve: 1, ..policy(1) }, 0);
    assert_eq!(woken(&wanted), [id(1)]);
    assert!(matches!(wanted.wakes[0].why, WakeReason::Reserve { reserve: 1, .. }));
    let over = cluster(&[Some(&[700.0, 400.0]), None]);
    assert_eq!(woken(&after(&over, &policy(1), 0)), [id(1)], "more than there is");
}

#[test]
fn a_load_that_stays_too_high_wakes_a_host() {
    let view = cluster(&[Some(&[400.0, 450.0]), None, None]);
    assert_eq!(woken(&after(&view, &policy(3), 2)), []);
    let decision = after(&view, &policy(3), 3);
    assert_eq!(woken(&decision), [id(1)], "one is enough: {decision:?}");
    assert!(matches!(decision.wakes[0].why, WakeReason::Load { .. }));
    assert_eq!(decision.held, Some(Refusal::Waking));
    assert_eq!(decision.wakes[0].ready_by, START.plus(minutes(6)));
    // on its way it counts: nothing more is woken
    let mut waking = view;
    waking.machines[1].state = MachineState::Waking { since: START };
    assert_eq!(woken(&after(&waking, &policy(3), 9)), []);
}

#[test]
fn a_host_that_is_still_being_emptied_is_called_back_before_another_is_woken() {
    let mut view = cluster(&[Some(&[400.0, 450.0]), None, Some(&[10.0])]);
    // It would be the cheaper one to wake.
    view.load.hosts[2].power = PowerCurve([200.0; 11]);
    view.machines[2].state = MachineState::Leaving { since: START };
    view.machines[2].may_not_wake = Some("its card is dead".to_owned());
    let decision = after(&view, &policy(3), 3);
    assert_eq!(woken(&decision), [id(2)], "{decision:?}");
    let wake = &decision.wakes[0];
    assert!(wake.called_back && wake.cycle_wh == 0.0, "{wake:?}");
    assert_eq!(wake.ready_by, START.plus(minutes(3)), "at once");
    // Whom somebody else parks, or who shuts down, is not.
    view.machines[2].state = MachineState::Parking { since: START };
    let decision = after(&view, &policy(3), 3);
    assert_eq!(woken(&decision), [id(1)], "{decision:?}");
    assert!(!decision.wakes[0].called_back);
}

#[test]
fn a_host_that_no_move_relieves_wakes_another_at_once() {
    let mut view = cluster(&[Some(&[300.0, 300.0]), Some(&[600.0, 200.0]), None]);
    for guest in [0, 1] {
        view.load.guests[guest].demand = 550.0;
    }
    let decision = after(&view, &policy(5), 0);
    assert!(matches!(decision.wakes[0].why, WakeReason::Pressed { host, .. } if host == id(0)));
    // a guest that no host could satisfy wakes nobody
    let alone = cluster(&[Some(&[990.0, 990.0]), None]);
    assert_eq!(woken(&after(&alone, &policy(5), 0)).len(), 1);
    let huge = cluster(&[Some(&[1000.0]), None]);
    assert!(!matches!(
        after(&huge, &policy(5), 0).wakes.first().map(|wake| &wake.why),
        Some(WakeReason::Pressed { .. })
    ));
}

#[test]
fn what_history_knows_wakes_ahead_and_keeps_awake() {
    let quarter = |n: u64, mean| Expected {
        from: START.plus(minutes(15 * n)),
        until: START.plus(minutes(15 * (n + 1))),
        mean,
        p95: mean,
    };
    let mut view = cluster(&[Some(&[300.0]), Some(&[100.0]), None]);
    view.course = (0..96).map(|n| quarter(n, if n < 4 { 400.0 } else { 1900.0 })).collect();
    let policy = policy(5);
    // woken 3 min for the wake and 5 for the moves before the hour is over
    assert_eq!(woken(&after(&view, &policy, 51)), []);
    let decision = after(&view, &policy, 52);
    assert!(matches!(decision.wakes[0].why, WakeReason::Expected { .. }), "{decision:?}");
    // an hour is long enough to park at the begin of it, ten minutes are not
    let soon = after(&view, &policy, 47);
    assert!(soon.kept.iter().any(|kept| matches!(kept.why, Refusal::Soon { .. })), "{soon:?}");
    assert_eq!(parked(&soon), []);
}

#[test]
fn the_schedule_wakes_before_its_window_and_forbids_parking() {
    // 1_800_000_000 s is a Friday, 08:00 UTC
    let with = |text: &str| PowerPolicy { schedule: vec![text.parse().unwrap()], ..policy(5) };
    let view = cluster(&[Some(&[100.0]), None]);
    let morning = with("awake fri 08:20-18:00 all");
    assert_eq!(woken(&after(&view, &morning, 11)), []);
    let decision = after(&view, &morning, 12);
    assert!(matches!(decision.wakes[0].why, WakeReason::Schedule { wanted: 2, .. }));
    let idle = cluster(&[Some(&[100.0]), Some(&[])]);
    assert_eq!(after(&idle, &with("park daily 20:00-06:00"), 60).held, Some(Refusal::Schedule));
    assert_eq!(parked(&after(&idle, &with("park daily 06:00-20:00"), 60)).len(), 1);
    let kept = after(&idle, &with("awake daily 08:00-18:00 2"), 60);
    assert!(matches!(kept.kept[0].why, Refusal::ScheduleAwake { wanted: 2 }), "{kept:?}");
}

#[test]
fn each_reason_to_stay_on_is_told() {
    let view = cluster(&[Some(&[300.0]), Some(&[100.0]), Some(&[100.0])]);
    let told = |change: &dyn Fn(&mut View), policy: &PowerPolicy| {
        let mut view = view.clone();
        change(&mut view);
        after(&view, policy, 60).kept.iter().map(|kept| kept.why.clone()).collect::<Vec<_>>()
    };
    let excluded = told(&|view| view.machines[1].excluded = true, &policy(5));
    assert!(excluded.contains(&Refusal::Excluded));
    let reason = "it was never seen to wake".to_owned();
    let may_not = told(&|view| view.machines[1].may_not_park = Some(reason.clone()), &policy(5));
    assert!(may_not.contains(&Refusal::MayNot { reason: reason.clone() }));
    let young = MachineState::On { since: START.plus(minutes(50)) };
    let minimum = told(&|view| view.machines[1].state = young, &policy(5));
    assert!(minimum.contains(&Refusal::MinimumOn { until: START.plus(minutes(65)) }));
    let needed = told(&|_| {}, &PowerPolicy { reserve: 2, ..policy(5) });
    assert!(needed.iter().all(|why| matches!(why, Refusal::Needed { .. })), "{needed:?}");
    let dear = told(
        &|view| view.machines.iter_mut().for_each(|machine| machine.cycle_wh = 400.0),
        &policy(5),
    );
    assert!(matches!(dear[0], Refusal::Price { .. }), "{dear:?}");
    let slow =
        told(&|view| view.load.hosts.iter_mut().for_each(|host| host.core = 500.0), &policy(5));
    assert!(matches!(slow[0], Refusal::NoRoom { .. }), "{slow:?}");
}

#[test]
fn hosts_that_others_could_not_replace_are_not_parked() {
    // any one of three can be lost, one of two cannot
    let view = cluster(&[Some(&[450.0]), Some(&[450.0]), Some(&[50.0])]);
    let survive = PowerPolicy { survive_failures: 1, ..policy(5) };
    assert_eq!(parked(&after(&view, &survive, 60)), [id(2)]);
    let pair = cluster(&[Some(&[300.0]), Some(&[300.0])]);
    let decision = after(&pair, &survive, 60);
    assert_eq!(parked(&decision), []);
    assert!(matches!(decision.kept[0].why, Refusal::Failures { failures: 1 }), "{decision:?}");
}

#[test]
fn a_gap_between_turns_begins_the_window_anew() {
    let view = cluster(&[Some(&[100.0]), Some(&[100.0])]);
    let mut state = State::default();
    for turn in 0..30 {
        state = decide(&view, &policy(5), state, START.plus(minutes(turn))).0;
    }
    let (_, decision) = decide(&view, &policy(5), state, START.plus(minutes(60)));
    assert!(matches!(decision.held, Some(Refusal::Watching { .. })));
}

#[test]
fn stays_are_learned() {
    let mut view = cluster(&[Some(&[100.0]), None]);
    let mut state = State::default();
    assert_eq!(state.usual_stay(), super::USUAL_STAY);
    for round in 0..10 {
        let at = START.plus(minutes(200 * round));
        view.machines[1].state = MachineState::Off { since: at };
        state = decide(&view, &policy(5), state, at).0;
        view.machines[1].state = MachineState::On { since: at.plus(minutes(30)) };
        state = decide(&view, &policy(5), state, at.plus(minutes(30))).0;
    }
    assert_eq!(state.usual_stay(), minutes(30));
}
