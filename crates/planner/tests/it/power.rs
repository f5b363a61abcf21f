//! What must hold of every decision about power, in random clusters played by the minute.
//!
//! The world does at once what is decided: guests of a parked host are where the decision
//! found room, the host is off after two minutes, and a woken one is on after its wake time.

use std::time::Duration;

use drover_model::{HostId, PowerCurve, Timestamp};
use drover_planner::consolidate::{GuestLoad, HostLoad};
use drover_planner::power::{
    Decision, Expected, Machine, MachineState, PowerLevel, PowerPolicy, State, View, decide,
};
use proptest::prelude::*;

/// Midnight of a Friday.
const START: Timestamp = Timestamp::from_millis(1_799_971_200_000);
const MINUTE: Duration = Duration::from_secs(60);
const EMPTYING: Duration = Duration::from_secs(180);
const SHUTDOWN: Duration = Duration::from_secs(120);

fn curve(idle: f64) -> PowerCurve {
    PowerCurve(std::array::from_fn(|step| 4.0f64.mul_add(f64::from(step as u8), idle)))
}

fn host(n: usize, cores: f64, gib: u64, on: bool, wake: u64) -> (HostLoad, Machine) {
    let load = HostLoad {
        capacity: cores,
        core: cores,
        memory_mb: gib as f64 * 1024.0,
        power: curve(80.0 + n as f64),
        utilisation: 0.0,
        guests: Vec::new(),
    };
    let since = START.minus(Duration::from_secs(86_400));
    let machine = Machine {
        id: HostId::from_u128(n as u128 + 1),
        state: if on { MachineState::On { since } } else { MachineState::Off { since } },
        min_on: Duration::from_secs(900),
        min_off: Duration::from_secs(600),
        wake_time: MINUTE * u32::try_from(wake).unwrap(),
        cycle_wh: 5.0,
        off_watts: 4.0,
        may_not_park: None,
        may_not_wake: None,
        excluded: false,
    };
    (load, machine)
}

/// Guests on the hosts that are on, in turn, as memory allows.
fn populate(view: &mut View, guests: &[(u64, f64)]) {
    for (n, (mib, cores)) in guests.iter().enumerate() {
        let memory_mb = *mib as f64;
        let count = view.machines.len();
        let used = |view: &View, host: usize| -> f64 {
            let of = view.load.hosts[host].guests.iter();
            of.map(|guest| view.load.guests[*guest].memory_mb).sum()
        };
        let fits = |host: &usize| {
            matches!(view.machines[*host].state, MachineState::On { .. })
                && used(view, *host) + memory_mb <= view.load.hosts[*host].memory_mb
        };
        let Some(home) = (0..count).map(|step| (n + step) % count).find(fits) else { continue };
        let guest = view.load.guests.len();
        view.load.hosts[home].guests.push(guest);
        view.load.guests.push(GuestLoad {
            size: cores * 2.0,
            image_mb: memory_mb,
            memory_mb,
            demand: *cores,
            history: vec![0.5; 4],
            host: Some(home),
        });
    }
}

/// Demand of every guest now, as a part of its size.
fn load(view: &mut View, part: impl Fn(usize) -> f64) {
    for (n, guest) in view.load.guests.iter_mut().enumerate() {
        guest.demand = guest.size * part(n);
        guest.history.insert(0, part(n));
        guest.history.truncate(30);
    }
    for host in &mut view.load.hosts {
        let demand: f64 = host.guests.iter().map(|guest| view.load.guests[*guest].demand).sum();
        host.utilisation = (demand / host.capacity).min(1.0);
    }
}

/// Does what was decided, and what time does to hosts.
fn play(view: &mut View, decision: &Decision, now: Timestamp) {
    for park in &decision.parks {
        for step in &park.moves {
            let guest = &mut view.load.guests[step.guest];
            if let Some(from) = guest.host.replace(step.to) {
                view.load.hosts[from].guests.retain(|other| *other != step.guest);
            }
            view.load.hosts[step.to].guests.push(step.guest);
        }
    }
    for machine in &mut view.machines {
        let wakes = decision.wakes.iter().any(|wake| wake.host == machine.id);
        let parks = decision.parks.iter().any(|park| park.host == machine.id);
        machine.state = match machine.state {
            MachineState::On { .. } if parks => MachineState::Leaving { since: now },
            MachineState::Leaving { .. } if wakes => MachineState::On { since: now },
            MachineState::Leaving { since } if now.since(since) >= EMPTYING => {
                MachineState::Parking { since: now }
            }
            MachineState::Off { .. } if wakes => MachineState::Waking { since: now },
            MachineState::Parking { since } if now.since(since) >= SHUTDOWN => {
                MachineState::Off { since: now }
            }
            MachineState::Waking { since } if now.since(since) >= machine.wake_time => {
                MachineState::On { since: now }
            }
            same => same,
        };
    }
}

prop_compose! {
    fn clusters()(
        hosts in prop::collection::vec((4.0..32.0f64, 16u64..128, prop::bool::weighted(0.7), 1u64..10), 2..9),
        guests in prop::collection::vec((256u64..8192, 0.1..2.0f64), 0..40),
    ) -> View {
        let mut view = View::default();
        for (n, (cores, gib, on, wake)) in hosts.iter().enumerate() {
            let (load, machine) = host(n, *cores, *gib, *on || n == 0, *wake);
            view.load.hosts.push(load);
            view.machines.push(machine);
        }
        populate(&mut view, &guests);
        view
    }
}

/// A part between 0 and 1 that looks like noise, from a seed, a guest and a minute.
fn noise(seed: u64, guest: usize, minute: u64) -> f64 {
    let mut x = seed ^ (guest as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (minute / 7);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Demand of a minute: an hour of noise, an hour of calm, and so on.
fn demand(seed: u64, minute: u64) -> impl Fn(usize) -> f64 {
    move |guest| {
        let calm = minute / 60 % 2 == 1;
        if calm { 0.1 } else { noise(seed, guest, minute) }
    }
}

/// Capacity of hosts without the largest ones, and what all guests ask for.
fn spare(view: &View, hosts: &[usize], fewer: usize) -> (f64, f64) {
    let sum = |mut each: Vec<f64>| -> f64 {
        each.sort_by(f64::total_cmp);
        each.iter().take(each.len().saturating_sub(fewer)).sum()
    };
    let of = &view.load.hosts;
    (
        sum(hosts.iter().map(|host| of[*host].capacity).collect()),
        sum(hosts.iter().map(|host| of[*host].memory_mb).collect()),
    )
}

fn check(view: &View, policy: &PowerPolicy, decision: &Decision, now: Timestamp) {
    let place = |id: HostId| view.machines.iter().position(|of| of.id == id).unwrap();
    let called = |id: HostId| decision.wakes.iter().any(|wake| wake.host == id);
    for wake in &decision.wakes {
        let machine = &view.machines[place(wake.host)];
        match machine.state {
            MachineState::Leaving { .. } => assert!(wake.called_back && wake.ready_by == now),
            MachineState::Off { since } => {
                assert!(now.since(since) >= machine.min_off, "woken too soon: {machine:?}");
                let leaving = |of: &Machine| {
                    matches!(of.state, MachineState::Leaving { .. }) && !called(of.id)
                };
                assert!(!view.machines.iter().any(leaving), "one could be called back");
            }
            _ => panic!("woken: {machine:?}"),
        }
    }
    let mut stay: Vec<usize> = (0..view.machines.len())
        .filter(|host| matches!(view.machines[*host].state, MachineState::On { .. }))
        .collect();
    for park in &decision.parks {
        assert!(decision.wakes.is_empty(), "woken and parked in one turn");
        let machine = &view.machines[place(park.host)];
        let MachineState::On { since } = machine.state else { panic!("parked: {machine:?}") };
        assert!(now.since(since) >= machine.min_on, "parked too soon: {machine:?}");
        assert!(park.saved_watts > 0.0 && park.saved_kwh > -1e-9, "{park:?}");
        assert!(park.pay_back <= park.stay, "{park:?}");
        stay.retain(|host| *host != place(park.host));
    }
    if decision.parks.is_empty() {
        return;
    }
    let mut after = view.clone();
    play(&mut after, decision, now);
    let fewer = policy.reserve + usize::from(policy.survive_failures);
    assert!(stay.len() >= fewer.max(1), "{} stay, {fewer} are asked for", stay.len());
    let (cpu, memory) = spare(&after, &stay, fewer);
    let load = decision.outlook.load;
    assert!(load <= cpu * (1.0 + 1e-9), "{load} of load on {cpu} without those in reserve");
    assert!(decision.outlook.memory_mb <= memory * (1.0 + 1e-9));
    for (n, guest) in after.load.guests.iter().enumerate() {
        assert!(stay.contains(&guest.host.unwrap()), "guest {n} is on a parked host");
    }
    for host in stay {
        let used: f64 = after.load.hosts[host]
            .guests
            .iter()
            .map(|guest| after.load.guests[*guest].memory_mb)
            .sum();
        assert!(used <= after.load.hosts[host].memory_mb, "host {host} is given too much memory");
    }
}

/// Plays so many minutes; the decisions of all of them.
fn run(mut view: View, policy: &PowerPolicy, seed: u64, minutes: u64) -> Vec<Decision> {
    let mut state = State::default();
    let mut decisions = Vec::new();
    for minute in 0..minutes {
        let now = START.plus(MINUTE * u32::try_from(minute).unwrap());
        load(&mut view, demand(seed, minute));
        let decision;
        (state, decision) = decide(&view, policy, state, now);
        check(&view, policy, &decision, now);
        play(&mut view, &decision, now);
        decisions.push(decision);
    }
    decisions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn invariant_no_decision_breaks_reserve_failures_room_or_minimum_times(
        view in clusters(), level in 1u8..=5, reserve in 0usize..3, failures in 0u8..2, seed: u64,
    ) {
        let level = PowerLevel::of(level).unwrap();
        let policy = PowerPolicy { reserve, survive_failures: failures, ..PowerPolicy::new(level) };
        let decisions = run(view.clone(), &policy, seed, 300);
        let parks: usize = decisions.iter().map(|decision| decision.parks.len()).sum();
        prop_assert!(level != PowerLevel::WakeOnly || parks == 0);
        prop_assert_eq!(decisions, run(view, &policy, seed, 300));
    }

    #[test]
    fn invariant_a_steady_load_comes_to_rest(view in clusters(), level in 2u8..=5) {
        let policy = PowerPolicy::new(PowerLevel::of(level).unwrap());
        let mut view = view;
        let mut state = State::default();
        let mut last = 0;
        for minute in 0..600u32 {
            let now = START.plus(MINUTE * minute);
            load(&mut view, |_| 0.4);
            let decision;
            (state, decision) = decide(&view, &policy, state, now);
            if !decision.parks.is_empty() || !decision.wakes.is_empty() {
                last = minute;
            }
            play(&mut view, &decision, now);
        }
        prop_assert!(last < 300, "still changing at minute {}", last);
    }

    #[test]
    fn invariant_a_known_morning_finds_its_hosts_awake(
        hosts in 3usize..8, wake in 1u64..20, level in 2u8..=5, night in 0.02..0.1f64,
        day in 0.25..0.4f64, hour in 6u64..10,
    ) {
        let policy = PowerPolicy::new(PowerLevel::of(level).unwrap());
        let mut view = View::default();
        for n in 0..hosts {
            let (load, machine) = host(n, 10.0, 64, true, wake);
            view.load.hosts.push(load);
            view.machines.push(machine);
        }
        populate(&mut view, &vec![(1024, 1.0); hosts * 6]);
        let size: f64 = view.load.guests.iter().map(|guest| guest.size).sum();
        let at = |minute: u64| {
            let busy = (hour..18).contains(&(minute / 60 % 24));
            if busy { day } else { night }
        };
        let past: Vec<(Timestamp, f64)> = (0..3 * 288u64)
            .map(|step| {
                let ago = Duration::from_secs(300 * (3 * 288 - step));
                (START.minus(ago), size * at(step * 5))
            })
            .collect();
        let mut state = State::default();
        let mut slept = 0;
        for minute in 0..hour * 60 + 1 {
            let now = START.plus(MINUTE * u32::try_from(minute).unwrap());
            load(&mut view, |_| at(minute));
            view.course = Expected::day(&past, now);
            let decision;
            (state, decision) = decide(&view, &policy, state, now);
            check(&view, &policy, &decision, now);
            let on = |of: &&Machine| matches!(of.state, MachineState::On { .. });
            let awake = view.machines.iter().filter(on).count();
            slept = slept.max(hosts - awake);
            let comfortable = policy.level.parameters().comfortable_cpu;
            let room = awake as f64 * 10.0 * comfortable;
            let most = hosts as f64 * 10.0 * comfortable;
            let asked = size * at(minute);
            prop_assert!(asked <= room || room >= most, "minute {minute}: {asked} on {room}");
            play(&mut view, &decision, now);
        }
        prop_assert!(slept > 0, "nothing slept in the night");
    }
}
