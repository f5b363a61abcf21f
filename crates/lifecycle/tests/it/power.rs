//! Waking and parking: their paths as tables, and what holds whatever happens.

use std::time::Duration;

use drover_lifecycle::power::{
    Lack, OffProof, Park, ParkEffect, ParkEvent as PE, ParkFailure, ParkSettings, ParkState as PS,
    Pauses, Sight, Wake, WakeEffect, WakeEvent as WE, WakeFailure, WakeSettings, WakeState as WS,
};
use drover_model::{PowerState, Timestamp, WakeMethod};
use proptest::prelude::*;

const BEGUN: Timestamp = Timestamp::from_millis(1_000_000);
const BMC: WakeMethod = WakeMethod::Bmc;
const LAN: WakeMethod = WakeMethod::WakeOnLan;

fn at(seconds: u64) -> Timestamp {
    BEGUN.plus(Duration::from_secs(seconds))
}

fn wake(methods: &[WakeMethod], asks_bmc: bool, from_off: bool) -> Wake {
    Wake::new(BEGUN, WakeSettings::by(methods.to_vec()), asks_bmc, from_off)
}

fn nothing() -> WE {
    WE::Seen(Sight::default())
}

fn seen(since: u64, hypervisor: bool, missing: &[&str]) -> WE {
    let missing = missing.iter().map(|thing| (*thing).to_owned()).collect();
    WE::Seen(Sight { session: Some(at(since)), hypervisor, missing })
}

/// The tried effect of the present state, carried out.
fn tried(wake: &Wake, failure: Option<&str>) -> WE {
    match wake.state {
        WS::Trying { number, method } => {
            WE::Tried { number, method, failure: failure.map(str::to_owned) }
        }
        _ => panic!("no try: {wake:?}"),
    }
}

fn show(wake: &Wake) -> String {
    match &wake.state {
        WS::Trying { number, method } => format!("try {number} by {}", method.as_str()),
        WS::Waiting { number, .. } => format!("waiting after {number}"),
        WS::Starting { number } => format!("starting after {number}"),
        WS::Awake { took_ms, was_up } => format!("awake {took_ms} {was_up}"),
        WS::Failed { cause } => cause.to_string(),
        WS::Asking => "asking".to_owned(),
    }
}

/// Each event with its second, and what comes of it.
fn check_wake(mut wake: Wake, steps: &[(u64, Option<WE>, &str)]) {
    for (second, event, expected) in steps {
        // None: the try of the present state is carried out.
        let event = event.clone().unwrap_or_else(|| tried(&wake, None));
        if let Ok((next, effects)) = wake.step(&event, at(*second)) {
            assert_eq!(effects, next.effects());
            wake = next;
        }
        assert_eq!(show(&wake), *expected, "after {event:?} at {second}");
    }
}

#[test]
fn a_host_is_awake_when_all_that_it_had_is_there_again() {
    check_wake(
        wake(&[LAN], false, true),
        &[
            (0, Some(nothing()), "try 1 by wake_on_lan"),
            (1, None, "waiting after 1"),
            (10, Some(nothing()), "waiting after 1"),
            (11, Some(nothing()), "try 2 by wake_on_lan"),
            (11, None, "waiting after 2"),
            (40, Some(seen(40, false, &[])), "starting after 2"),
            (45, Some(seen(40, true, &["pool fast"])), "starting after 2"),
            (50, Some(seen(40, true, &[])), "awake 50000 false"),
            (60, Some(nothing()), "awake 50000 false"),
        ],
    );
}

#[test]
fn a_host_that_is_up_is_awake_at_once() {
    check_wake(wake(&[LAN], false, false), &[(0, Some(seen(0, true, &[])), "awake 0 true")]);
    let before = WE::Seen(Sight {
        session: Some(Timestamp::from_millis(5)),
        hypervisor: true,
        missing: vec![],
    });
    check_wake(wake(&[LAN], false, false), &[(0, Some(before.clone()), "awake 0 true")]);
    check_wake(
        wake(&[BMC], true, false),
        &[
            (0, Some(before.clone()), "asking"),
            (1, Some(WE::Power(PowerState::On)), "starting after 0"),
            (1, Some(before.clone()), "awake 1000 true"),
        ],
    );
    // Its session has not been noticed to be dead.
    check_wake(
        wake(&[BMC], true, false),
        &[
            (0, Some(before.clone()), "asking"),
            (1, Some(WE::Power(PowerState::Off)), "try 1 by bmc"),
            (1, None, "waiting after 1"),
            (2, Some(before), "waiting after 1"),
        ],
    );
}

#[test]
fn methods_take_turns_and_one_that_cannot_be_used_gives_its_turn_away() {
    let two = wake(&[BMC, LAN], true, true);
    let broken =
        |number, method| Some(WE::Tried { number, method, failure: Some("no route".to_owned()) });
    check_wake(
        two,
        &[
            (0, Some(WE::PowerUnknown("dead".to_owned())), "try 1 by bmc"),
            (0, broken(1, BMC), "try 1 by wake_on_lan"),
            (0, broken(1, BMC), "try 1 by wake_on_lan"),
            (1, None, "waiting after 1"),
            (11, Some(nothing()), "try 2 by wake_on_lan"),
            (11, broken(2, LAN), "try 2 by bmc"),
            (11, broken(2, BMC), "waiting after 2"),
            (21, Some(nothing()), "try 3 by bmc"),
        ],
    );
}

#[test]
fn a_bmc_that_refuses_the_login_is_asked_once() {
    let denied = || Some(WE::Denied("wrong password".to_owned()));
    let no_more = |mut wake: Wake| {
        for event in [denied().unwrap(), nothing()] {
            wake = wake.step(&event, at(1)).unwrap().0;
            assert!(!wake.effects().contains(&WakeEffect::AskPower), "{wake:?}");
        }
        wake
    };
    // Nothing else wakes it.
    assert_eq!(show(&no_more(wake(&[BMC], true, true))), "wrong password; it was not asked again");
    check_wake(
        wake(&[BMC], true, true),
        &[
            (0, Some(WE::Power(PowerState::Off)), "try 1 by bmc"),
            (1, denied(), "waiting after 1"),
            (2, Some(nothing()), "wrong password; it was not asked again"),
        ],
    );
    // The next method has its turn, now and ever after.
    assert_eq!(show(&no_more(wake(&[BMC, LAN], true, true))), "try 1 by wake_on_lan");
    check_wake(
        wake(&[LAN, BMC], true, true),
        &[
            (0, Some(WE::Power(PowerState::Off)), "try 1 by wake_on_lan"),
            (0, None, "waiting after 1"),
            (10, Some(nothing()), "try 2 by bmc"),
            (10, denied(), "try 2 by wake_on_lan"),
            (10, None, "waiting after 2"),
            (20, Some(nothing()), "try 3 by wake_on_lan"),
        ],
    );
    // A host that is up needs none.
    check_wake(
        wake(&[BMC], true, false),
        &[(0, denied(), "asking"), (1, Some(seen(0, true, &[])), "awake 1000 true")],
    );
    // One that is known to be on is waited for.
    check_wake(
        wake(&[BMC], true, true),
        &[
            (0, Some(WE::Power(PowerState::On)), "starting after 0"),
            (5, denied(), "starting after 0"),
            (20, Some(nothing()), "starting after 0"),
            (300, Some(nothing()), "it is switched on, but its agent is not back"),
        ],
    );
}

#[test]
fn a_wake_says_what_is_missing_when_it_fails() {
    let fails = |mut wake: Wake, events: &[WE]| {
        let mut second = 0;
        while !wake.state.is_finished() {
            assert!(second < 1000, "{wake:?}");
            let event = match &wake.state {
                WS::Trying { .. } => tried(&wake, None),
                _ => events[usize::try_from(second).unwrap() % events.len()].clone(),
            };
            if let Ok((next, _)) = wake.step(&event, at(second)) {
                wake = next;
            }
            second += 1;
        }
        (second - 1, show(&wake))
    };
    let silent = "no sign of life after 12 tries".to_owned();
    assert_eq!(fails(wake(&[LAN], false, true), &[nothing()]), (300, silent.clone()));
    // The BMC's word ends it earlier.
    let off = [WE::Power(PowerState::Off), nothing()];
    let (after, text) = fails(wake(&[LAN], true, true), &off);
    assert_eq!(text, silent);
    assert!((120..=150).contains(&after), "{after}");
    let on = [WE::Power(PowerState::On), nothing()];
    let no_agent = "it is switched on, but its agent is not back".to_owned();
    assert_eq!(fails(wake(&[BMC], true, true), &on), (300, no_agent));
    let half = [seen(3, false, &[])];
    let no_libvirt = "it is up, but libvirtd does not answer".to_owned();
    assert_eq!(fails(wake(&[LAN], false, true), &half), (300, no_libvirt));
    let bare = [seen(3, true, &["pool fast", "bridge br0"])];
    let missing = "it is up, but pool fast, bridge br0 are missing".to_owned();
    assert_eq!(fails(wake(&[LAN], false, true), &bare), (300, missing));
    assert_eq!(fails(wake(&[], false, true), &[nothing()]).1, "no way to wake it is known");
}

#[test]
fn nothing_could_be_sent_ends_with_the_reason() {
    let mut wake = wake(&[LAN], false, true);
    wake.settings.tries = 2;
    let mut second = 0;
    while !wake.state.is_finished() {
        let event = match &wake.state {
            WS::Trying { .. } => tried(&wake, Some("no awake host can send")),
            _ => nothing(),
        };
        wake = wake.step(&event, at(second)).map_or(wake, |(next, _)| next);
        second += 1;
    }
    let text = "no sign of life after 2 tries; the last one: no awake host can send";
    assert_eq!((show(&wake).as_str(), second < 30), (text, true));
}

fn any_sight() -> impl Strategy<Value = Sight> {
    (prop::option::of(0u64..400), any::<bool>(), prop::collection::vec("pool [ab]", 0..2)).prop_map(
        |(since, hypervisor, missing)| Sight {
            session: since.map(|since| Timestamp::from_millis(900_000).plus(secs(since))),
            hypervisor,
            missing,
        },
    )
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn any_power() -> impl Strategy<Value = PowerState> {
    prop_oneof![Just(PowerState::On), Just(PowerState::Off)]
}

fn any_method() -> impl Strategy<Value = WakeMethod> {
    prop_oneof![Just(BMC), Just(LAN)]
}

fn any_wake_event() -> impl Strategy<Value = WE> {
    prop_oneof![
        any_sight().prop_map(WE::Seen),
        any_power().prop_map(WE::Power),
        Just(WE::PowerUnknown("dead".to_owned())),
        Just(WE::Denied("wrong password".to_owned())),
        (1u32..6, any_method(), prop::option::of("no"))
            .prop_map(|(number, method, failure)| { WE::Tried { number, method, failure } }),
    ]
}

fn any_wake() -> impl Strategy<Value = Wake> {
    let methods = prop_oneof![Just(vec![]), Just(vec![BMC]), Just(vec![LAN]), Just(vec![LAN, BMC])];
    (methods, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(methods, asks_bmc, from_off, doubling)| {
            let mut wake = wake(&methods, asks_bmc, from_off);
            wake.settings.tries = 4;
            wake.settings.pauses = if doubling { Pauses::Doubling } else { Pauses::Even };
            wake
        },
    )
}

proptest! {
    #[test]
    fn invariant_a_wake_tries_no_more_than_it_may_ends_in_time_and_on_proof_only(
        mut wake in any_wake(),
        events in prop::collection::vec((any_wake_event(), 0u64..20, any::<bool>()), 1..120),
    ) {
        let mut second = 0;
        for (event, pause, answers) in events {
            second += pause;
            // As the shell does: what the state asks for is carried out, maybe twice.
            let event = match wake.effects().first() {
                Some(WakeEffect::Try { number, method }) if answers => {
                    WE::Tried { number: *number, method: *method, failure: None }
                }
                _ => event,
            };
            for _ in 0..2 {
                let before = wake.clone();
                let Ok((next, effects)) = wake.step(&event, at(second)) else { continue };
                prop_assert!(!before.state.is_finished(), "what is over stays so");
                prop_assert_eq!(&effects, &next.effects());
                prop_assert!(next.state.tries() <= next.settings.tries);
                if let WS::Awake { was_up, .. } = next.state {
                    let WE::Seen(sight) = &event else { panic!("{event:?}") };
                    prop_assert!(sight.hypervisor && sight.missing.is_empty());
                    let since = sight.session.unwrap();
                    prop_assert!(!before.from_off || since >= before.begun);
                    prop_assert_eq!(was_up, !before.from_off && !before.sent);
                    prop_assert_eq!(&next.lacks, &Lack::Things(vec![]));
                }
                wake = next;
            }
            if second >= 300 {
                prop_assert!(wake.state.is_finished(), "{:?}", wake);
            }
        }
    }

    #[test]
    fn invariant_a_lost_controller_goes_on_in_every_state(
        wake in any_wake(),
        events in prop::collection::vec((any_wake_event(), 0u64..20), 0..40),
    ) {
        let mut wake = wake;
        let mut second = 0;
        for (event, pause) in events {
            second += pause;
            wake = wake.step(&event, at(second)).map_or(wake, |(next, _)| next);
            // Only what was stored is left.
            let stored = serde_json::to_string(&wake).unwrap();
            wake = serde_json::from_str(&stored).unwrap();
        }
        // From here the host boots, and the shell does as the state asks.
        let mut turns = 0;
        while !wake.state.is_finished() {
            turns += 1;
            prop_assert!(turns < 60);
            second += 1;
            let event = match wake.effects().first() {
                Some(WakeEffect::Try { number, method }) => {
                    WE::Tried { number: *number, method: *method, failure: None }
                }
                Some(WakeEffect::AskPower) if wake.state == WS::Asking => WE::Power(PowerState::On),
                _ => WE::Seen(Sight {
                    session: Some(at(second)), hypervisor: true, missing: vec![],
                }),
            };
            wake = wake.step(&event, at(second)).map_or(wake, |(next, _)| next);
        }
    }
}

fn park(asks_bmc: bool) -> Park {
    Park::new(BEGUN, ParkSettings::default(), asks_bmc)
}

fn agent(name: Option<&str>) -> PE {
    PE::Seen { agent: name.map(str::to_owned) }
}

fn drained() -> PE {
    PE::Drained { agent: Some("a1".to_owned()) }
}

fn check_park(mut park: Park, steps: &[(u64, PE, &str, &[ParkEffect])]) {
    for (second, event, expected, effects) in steps {
        if let Ok((next, asked)) = park.step(event, at(*second)) {
            assert_eq!(asked, next.effects());
            park = next;
        }
        let shown = match &park.state {
            PS::Parked { proof, .. } => format!("parked: {}", proof.as_str()),
            PS::Failed { cause, ordered } => format!("{cause} ({ordered})"),
            state => state.as_str().to_owned(),
        };
        assert_eq!(shown, *expected, "after {event:?} at {second}");
        assert_eq!(park.effects(), *effects, "after {event:?} at {second}");
    }
}

use ParkEffect::{AskPower, PowerOff};

#[test]
fn a_host_with_a_bmc_is_parked_on_its_word_and_the_agents_silence() {
    check_park(
        park(true),
        &[
            (0, agent(Some("a1")), "draining", &[]),
            (5, drained(), "shutting-down", &[PowerOff, AskPower]),
            (6, PE::OrderUnknown("no answer".to_owned()), "shutting-down", &[PowerOff, AskPower]),
            (7, PE::OrderTaken, "confirming", &[AskPower]),
            (8, agent(Some("a1")), "confirming", &[AskPower]),
            (9, PE::Power(PowerState::On), "confirming", &[AskPower]),
            (30, PE::Power(PowerState::Off), "confirming", &[AskPower]),
            (31, agent(None), "parked: its BMC says that it is off", &[]),
        ],
    );
}

#[test]
fn without_a_bmc_an_agent_that_took_the_order_and_is_silent_is_off_as_far_as_can_be_told() {
    check_park(
        park(false),
        &[
            (5, drained(), "shutting-down", &[PowerOff]),
            (6, agent(None), "shutting-down", &[PowerOff]),
            (7, PE::OrderTaken, "confirming", &[]),
            (10, agent(None), "confirming", &[]),
            (20, agent(Some("a1")), "confirming", &[]),
            (30, agent(None), "confirming", &[]),
            (74, agent(None), "confirming", &[]),
            (
                75,
                agent(None),
                "parked: it took the order and is silent: off, as far as can be told",
                &[],
            ),
        ],
    );
}

#[test]
fn a_lost_answer_to_the_order_is_made_good_by_the_bmc_alone() {
    check_park(
        park(true),
        &[
            (5, drained(), "shutting-down", &[PowerOff, AskPower]),
            (9, PE::Power(PowerState::Off), "shutting-down", &[PowerOff, AskPower]),
            (12, agent(None), "parked: its BMC says that it is off", &[]),
        ],
    );
    let unknown = "its agent did not answer for 300 s when it was told to switch off; whether \
                   it does is not known (true)";
    check_park(
        park(false),
        &[
            (5, drained(), "shutting-down", &[PowerOff]),
            (100, agent(None), "shutting-down", &[PowerOff]),
            (305, agent(None), unknown, &[]),
        ],
    );
}

#[test]
fn a_park_fails_with_its_reason() {
    let taken: Vec<(u64, PE, &str, &[ParkEffect])> = vec![
        (5, drained(), "shutting-down", &[PowerOff, AskPower]),
        (6, PE::OrderTaken, "confirming", &[AskPower]),
    ];
    let ends = |steps: &[(u64, PE, &str, &[ParkEffect])]| {
        check_park(park(true), &[taken.clone(), steps.to_vec()].concat());
    };
    let on = "its BMC says that it is still on 300 s after it took the order to switch off (true)";
    ends(&[
        (200, PE::Power(PowerState::On), "confirming", &[AskPower]),
        (210, agent(None), "confirming", &[AskPower]),
        (305, agent(None), on, &[]),
    ]);
    let stays = "its agent still answers 300 s after it took the order (true)";
    ends(&[(305, agent(Some("a1")), stays, &[])]);
    let wrong = "its BMC says that it is off, yet its agent still answers after 300 s: is the \
                 BMC's address another machine's? (true)";
    ends(&[
        (20, PE::Power(PowerState::Off), "confirming", &[AskPower]),
        (305, agent(Some("a1")), wrong, &[]),
    ]);
    ends(&[
        (20, agent(None), "confirming", &[AskPower]),
        (40, agent(Some("a2")), "it came up again instead of staying off (true)", &[]),
    ]);
    let dead_bmc = "parked: it took the order and is silent: off, as far as can be told";
    ends(&[
        (20, agent(None), "confirming", &[AskPower]),
        (21, PE::PowerUnknown("dead".to_owned()), "confirming", &[AskPower]),
        (200, agent(None), "confirming", &[AskPower]),
        (305, agent(None), dead_bmc, &[]),
    ]);
    // One that refuses the login is not asked again: what is left is silence.
    ends(&[
        (20, agent(None), "confirming", &[AskPower]),
        (21, PE::Denied("wrong password".to_owned()), "confirming", &[]),
        (64, agent(None), "confirming", &[]),
        (65, agent(None), dead_bmc, &[]),
    ]);
    let refused = "its agent does not switch it off: vm1 is active (false)";
    check_park(
        park(false),
        &[
            (5, drained(), "shutting-down", &[PowerOff]),
            (6, PE::OrderRefused("vm1 is active".to_owned()), refused, &[]),
        ],
    );
    let hangs = "guests do not get away: vm1: no room (false)";
    check_park(park(false), &[(5, PE::Hangs("vm1: no room".to_owned()), hangs, &[])]);
    check_park(park(false), &[(5, PE::Abandoned, "somebody took it into use again (false)", &[])]);
}

#[test]
fn a_guest_that_shows_up_before_the_order_is_drained_first() {
    check_park(
        park(false),
        &[
            (5, drained(), "shutting-down", &[PowerOff]),
            (6, PE::Occupied, "draining", &[]),
            (20, drained(), "shutting-down", &[PowerOff]),
        ],
    );
    // Its agent had found none, and had taken the order.
    check_park(
        park(false),
        &[
            (5, drained(), "shutting-down", &[PowerOff]),
            (6, PE::Occupied, "draining", &[]),
            (7, PE::OrderTaken, "confirming", &[]),
        ],
    );
}

#[test]
fn a_park_is_called_back_while_nobody_has_told_the_agent() {
    let call = || PE::CalledBack("policy power".to_owned());
    let called = "it was called back (policy power) (false)";
    check_park(park(true), &[(5, call(), called, &[])]);
    check_park(
        park(false),
        &[
            (5, drained(), "shutting-down", &[PowerOff]),
            (6, call(), "shutting-down", &[PowerOff]),
            // The answer to the order may still be on its way.
            (7, PE::Occupied, "draining", &[]),
            (8, call(), "draining", &[]),
            (9, PE::OrderTaken, "confirming", &[]),
        ],
    );
}

#[test]
fn an_agent_that_says_not_now_is_told_again_for_a_minute() {
    let busy = || PE::OrderNotNow("guest vm1 is leaving".to_owned());
    let refused = "its agent does not switch it off: guest vm1 is leaving (false)";
    let first: Vec<(u64, PE, &str, &[ParkEffect])> = vec![
        (5, drained(), "shutting-down", &[PowerOff]),
        (6, busy(), "shutting-down", &[PowerOff]),
        (40, busy(), "shutting-down", &[PowerOff]),
    ];
    let ends = |steps: &[(u64, PE, &str, &[ParkEffect])]| {
        check_park(park(false), &[first.clone(), steps.to_vec()].concat());
    };
    ends(&[(41, PE::OrderTaken, "confirming", &[])]);
    ends(&[(65, busy(), "shutting-down", &[PowerOff]), (66, busy(), refused, &[])]);
    // The guest shows up and leaves, and the minute begins anew.
    ends(&[
        (41, PE::Occupied, "draining", &[]),
        (90, drained(), "shutting-down", &[PowerOff]),
        (91, busy(), "shutting-down", &[PowerOff]),
        (151, busy(), refused, &[]),
    ]);
    // Once an answer is lost nobody knows.
    ends(&[
        (41, PE::OrderUnknown("no answer".to_owned()), "shutting-down", &[PowerOff]),
        (90, agent(Some("a1")), "shutting-down", &[PowerOff]),
    ]);
}

fn any_park_event() -> impl Strategy<Value = PE> {
    let name = || prop::option::of(prop_oneof![Just("a1".to_owned()), Just("a2".to_owned())]);
    prop_oneof![
        name().prop_map(|agent| PE::Drained { agent }),
        Just(PE::Occupied),
        Just(PE::Hangs("no room".to_owned())),
        Just(PE::Abandoned),
        Just(PE::CalledBack("rule hot".to_owned())),
        Just(PE::OrderTaken),
        Just(PE::OrderRefused("no".to_owned())),
        Just(PE::OrderNotNow("no".to_owned())),
        Just(PE::OrderUnknown("?".to_owned())),
        any_power().prop_map(PE::Power),
        Just(PE::PowerUnknown("?".to_owned())),
        Just(PE::Denied("?".to_owned())),
        name().prop_map(|agent| PE::Seen { agent }),
        name().prop_map(|agent| PE::Seen { agent }),
    ]
}

proptest! {
    #[test]
    fn invariant_a_host_is_parked_on_proof_only_and_every_order_ends(
        asks_bmc in any::<bool>(),
        events in prop::collection::vec((any_park_event(), 0u64..20), 1..150),
    ) {
        let mut park = park(asks_bmc);
        let mut second = 0;
        let (mut taken, mut last_agent, mut last_power) = (false, true, None);
        for (event, pause) in events {
            second += pause;
            if let PE::Seen { agent } = &event {
                last_agent = agent.is_some();
            }
            for _ in 0..2 {
                let before = park.clone();
                let Ok((next, effects)) = park.step(&event, at(second)) else { continue };
                prop_assert!(!before.state.is_finished(), "what is over stays so");
                prop_assert_eq!(&effects, &next.effects());
                taken |= matches!(next.state, PS::Confirming { .. });
                match (&event, &next.state) {
                    (PE::Power(power), _) => last_power = Some(*power),
                    (PE::PowerUnknown(_) | PE::Denied(_) | PE::Drained { .. }, _) => {
                        last_power = None;
                    }
                    _ => {}
                }
                if let PS::Parked { proof, .. } = next.state {
                    match proof {
                        OffProof::Bmc => prop_assert_eq!(last_power, Some(PowerState::Off)),
                        OffProof::Silence => {
                            prop_assert!(taken && last_power != Some(PowerState::On));
                        }
                    }
                    prop_assert!(!last_agent, "the agent is silent");
                }
                if effects.contains(&ParkEffect::PowerOff) {
                    let ordering = matches!(next.state, PS::Ordering { .. });
                    prop_assert!(ordering);
                }
                park = next;
            }
            let stored = serde_json::to_string(&park).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Park>(&stored).unwrap(), &park);
        }
        // Time alone ends what was ordered.
        if !matches!(park.state, PS::Draining) {
            for more in [0, 300, 400] {
                let event = PE::Seen { agent: None };
                park = park.step(&event, at(second + more)).map_or(park, |(next, _)| next);
            }
            prop_assert!(park.state.is_finished(), "{:?}", park);
        }
    }

    #[test]
    fn invariant_a_park_never_orders_a_host_off_that_has_guests(
        events in prop::collection::vec((any_park_event(), 0u64..20), 1..80),
    ) {
        let mut park = park(true);
        let mut second = 0;
        // Drained is the last that was heard of its guests.
        let mut empty = false;
        for (event, pause) in events {
            second += pause;
            match event {
                PE::Drained { .. } => empty = true,
                PE::Occupied => empty = false,
                _ => {}
            }
            park = park.step(&event, at(second)).map_or(park, |(next, _)| next);
            let orders = park.effects().contains(&ParkEffect::PowerOff);
            prop_assert!(!orders || empty);
        }
    }
}

#[test]
fn failures_read_as_sentences() {
    let missing = WakeFailure::Missing { what: vec!["pool fast".to_owned()] };
    assert_eq!(missing.to_string(), "it is up, but pool fast is missing");
    assert_eq!(ParkFailure::CameBack.to_string(), "it came up again instead of staying off");
}
