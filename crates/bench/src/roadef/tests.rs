use drover_planner::search::{Limits, State, Trials, anneal};
use proptest::prelude::*;
use rand_pcg::Pcg64;

use super::{SCHEDULE, checker, format, problem};

/// The worked example of the contest's description: four machines, three processes.
const MODEL: &str = "2 1 100 0 10 4 0 0 30 400 16 80 0 1 4 5 0 0 10 240 8 160 1 0 3 4 \
                     1 1 15 100 12 80 4 3 0 2 1 2 10 100 8 80 5 4 2 0 2 2 0 1 1 0 3 \
                     0 12 10 1000 0 10 20 100 1 6 200 1 1 0 1 20 10 1 10 100";
const INITIAL: &str = "0 3 0";

fn fixture() -> (format::Model, Vec<u32>) {
    let model = format::model(MODEL).unwrap();
    let initial = format::assignment(INITIAL, &model).unwrap();
    (model, initial)
}

#[test]
fn the_worked_example_costs_what_it_does_by_hand() {
    let (model, initial) = fixture();
    assert_eq!(checker::check(&model, &initial, &initial), Ok(4200));
    assert_eq!(checker::check(&model, &initial, &[0, 2, 0]), Ok(3510));
}

#[test]
fn a_broken_constraint_is_named() {
    let (model, initial) = fixture();
    let broken = checker::check(&model, &initial, &[3, 3, 3]).unwrap_err();
    assert!(broken.contains(&"machine 3 is over capacity".to_owned()), "{broken:?}");
    assert!(broken.contains(&"service 0 has two processes on one machine".to_owned()));
}

#[test]
fn an_error_names_the_number() {
    let error = format!("{:#}", format::model(&MODEL.replace("240", "24x")).unwrap_err());
    assert!(error.contains("number 20, `24x`"), "{error}");
    let (model, _) = fixture();
    let error = format!("{:#}", format::assignment("0 4 0", &model).unwrap_err());
    assert_eq!(error, "number 2: there is no machine 4");
}

prop_compose! {
    /// A model in which the initial assignment keeps every rule: capacities are what is
    /// used and some more, and services depend on those that are near them already.
    fn models()(
        machines in prop::collection::vec((0u32..3, 0u32..3, prop::array::uniform2(0i64..40)), 2..7),
        processes in prop::collection::vec((0u32..8, 0usize..7, prop::array::uniform2(0i64..10), 0i64..5), 1..16),
        transient in any::<[bool; 2]>(),
        weights in prop::array::uniform2(0i64..20),
        spread in 1u16..3,
        near in (0u32..8, 0u32..8),
        balance in (0usize..2, 0usize..2, 0i64..3, 0i64..10),
        moves in (0i64..4, 0i64..4, 0i64..4),
    ) -> (format::Model, Vec<u32>) {
        let count = machines.len();
        let mut taken = std::collections::BTreeSet::new();
        let mut initial = Vec::new();
        let mut kept = Vec::new();
        for (service, home, needs, move_cost) in processes {
            let home = u32::try_from(home % count).unwrap();
            if taken.insert((service, home)) {
                initial.push(home);
                kept.push(format::Process { service, needs: needs.to_vec(), move_cost });
            }
        }
        let places = |service: u32| kept.iter().zip(&initial).filter(move |(p, _)| p.service == service).map(|(_, home)| machines[*home as usize]);
        let locations = |service| places(service).map(|m| m.1).collect::<std::collections::BTreeSet<_>>();
        let around = |service| places(service).map(|m| m.0).collect::<std::collections::BTreeSet<_>>();
        let services = (0..8).map(|service| format::Service {
            spread: if locations(service).len() >= usize::from(spread) { spread } else { 0 },
            depends_on: if service == near.0 && near.0 != near.1 && around(service).is_subset(&around(near.1)) { vec![near.1] } else { vec![] },
        }).collect();
        let model = format::Model {
            resources: (0..2).map(|r| format::Resource { transient: transient[r], weight: weights[r] }).collect(),
            machines: (0..count).map(|number| {
                let (neighbourhood, location, more) = machines[number];
                let used = |r: usize| kept.iter().zip(&initial).filter(|(_, home)| **home as usize == number).map(|(p, _)| p.needs[r]).sum::<i64>();
                format::Machine {
                    neighbourhood,
                    location,
                    capacity: (0..2).map(|r| used(r) + more[r]).collect(),
                    safety: (0..2).map(|r| (used(r) + more[r]) * 3 / 5).collect(),
                    move_cost: (0..count).map(|to| i64::from(to != number) * i64::try_from(number + to).unwrap()).collect(),
                }
            }).collect(),
            services,
            processes: kept,
            balances: vec![format::Balance { of: balance.0, with: balance.1, target: balance.2, weight: balance.3 }],
            process_weight: moves.0,
            service_weight: moves.1,
            machine_weight: moves.2,
        };
        (model, initial)
    }
}

proptest! {
    /// The engine and the checker share no code: they agree on every assignment that the
    /// engine allows, and the engine allows only what the checker does.
    #[test]
    fn invariant_the_engine_costs_what_the_checker_says(
        (model, initial) in models(),
        steps in prop::collection::vec((any::<u32>(), any::<u32>(), any::<bool>()), 0..60),
    ) {
        let instance = problem::instance(&model, &initial);
        let mut state = State::at_home(&instance);
        for (a, b, swap) in steps {
            let guest = a as usize % initial.len();
            if swap {
                let other = b as usize % initial.len();
                if let Some(delta) = state.swap_delta(guest, other) {
                    state.swap(guest, other, delta);
                }
            } else {
                let to = b as usize % model.machines.len();
                if let Some(delta) = state.shift_delta(guest, to) {
                    state.shift(guest, to, delta);
                }
            }
            let checked = checker::check(&model, &initial, state.assignment());
            #[allow(clippy::cast_precision_loss)]
            let objective = checked.map(|cost| cost as f64);
            prop_assert!(objective.is_ok(), "{:?}", objective);
            prop_assert!((objective.unwrap() - state.cost()).abs() < 1e-6);
        }
    }

    #[test]
    fn invariant_a_search_never_ends_worse((model, initial) in models(), seed in any::<u64>()) {
        let instance = problem::instance(&model, &initial);
        let mut state = State::at_home(&instance);
        let before = checker::check(&model, &initial, &initial).unwrap();
        let mut rng = Pcg64::new(u128::from(seed), 1);
        anneal(&mut state, Limits::NONE, SCHEDULE, &mut Trials::new(3000), &mut rng);
        prop_assert!(checker::check(&model, &initial, state.assignment()).unwrap() <= before);
    }

    #[test]
    fn invariant_any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = format::model(&text);
        let _ = format::assignment(&text, &fixture().0);
    }

    #[test]
    fn invariant_a_spoilt_model_is_read_or_refused(
        spoilt in prop::collection::vec((any::<usize>(), prop::sample::select(&b" 0129-x"[..])), 1..6),
    ) {
        let mut bytes = MODEL.as_bytes().to_vec();
        for (at, byte) in spoilt {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(model) = format::model(std::str::from_utf8(&bytes).unwrap())
            && let Ok(initial) = format::assignment(INITIAL, &model)
        {
            let _ = checker::check(&model, &initial, &initial);
            let _ = State::at_home(&problem::instance(&model, &initial)).cost();
        }
    }
}
