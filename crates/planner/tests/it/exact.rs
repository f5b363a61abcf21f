//! The search against exact answers on small problems: a mixed-integer program where costs
//! are linear, all assignments one by one where they are not.

use drover_planner::search::{
    Class, Group, Imbalance, Instance, Law, LawKind, Length, Limits, Objective, State, search,
};
use good_lp::{
    Expression, ProblemVariables, Solution as _, SolverModel as _, Variable, constraint, variable,
};
use proptest::prelude::*;

const RESOURCES: usize = 2;

/// Guests of random sizes on hosts of random sizes; the first two guests stay apart.
fn small() -> impl Strategy<Value = Instance> {
    let hosts = prop::collection::vec((20u32..40, 20u32..40), 2..4);
    let guests = prop::collection::vec((0usize..4, 1u32..9, 1u32..9), 2..8);
    (hosts, guests, 0u32..30).prop_map(|(hosts, guests, price)| {
        let count = hosts.len();
        let number = |n: usize| u32::try_from(n).unwrap();
        let capacity: Vec<f64> =
            hosts.iter().flat_map(|(a, b)| [f64::from(*a) * 2.0, f64::from(*b) * 2.0]).collect();
        let limit = capacity.iter().map(|all| all * 0.25).collect();
        let mut member_of = vec![Vec::new(); guests.len()];
        member_of[0].push(0);
        member_of[1].push(0);
        Instance {
            resources: RESOURCES,
            lingers: Vec::new(),
            capacity,
            base: vec![0.0; count * RESOURCES],
            closed: vec![false; count],
            domains: vec![(0..count).map(number).collect()],
            demand: guests.iter().flat_map(|g| [f64::from(g.1), f64::from(g.2)]).collect(),
            home: guests.iter().map(|g| number(g.0 % count)).collect(),
            fixed: vec![false; guests.len()],
            class: vec![0; guests.len()],
            classes: vec![Class::default()],
            groups: vec![Group {
                members: vec![0, 1],
                laws: vec![Law {
                    kind: LawKind::Apart { most: 1 },
                    level: 0,
                    weight: f64::INFINITY,
                }],
            }],
            member_of,
            objective: Objective {
                limit,
                overload: vec![3.0, 2.0],
                displacement: vec![f64::from(price) / 10.0; guests.len()],
                ..Objective::default()
            },
        }
    })
}

fn searched(instance: &Instance, stages: u8) -> f64 {
    let length = Length { stages, cores: 1 };
    search(instance, &instance.home, Limits::NONE, length, 1).cost()
}

/// The least cost, by a solver of mixed-integer programs.
fn solved(instance: &Instance) -> f64 {
    let mut variables = ProblemVariables::new();
    let (guests, hosts) = (instance.guests(), instance.hosts());
    let at: Vec<Vec<Variable>> =
        (0..guests).map(|_| variables.add_vector(variable().binary(), hosts)).collect();
    let over: Vec<Vec<Variable>> =
        (0..hosts).map(|_| variables.add_vector(variable().min(0), RESOURCES)).collect();
    let used = |host: usize, r: usize| -> Expression {
        (0..guests).map(|guest| at[guest][host] * instance.demand_of(guest)[r]).sum()
    };
    let away: Expression = (0..guests)
        .map(|guest| {
            let stays = at[guest][instance.home[guest] as usize];
            (1 - stays) * instance.objective.displacement[guest]
        })
        .sum();
    let overload: Expression = over
        .iter()
        .flat_map(|of| of.iter().zip(&instance.objective.overload).map(|(v, w)| *v * *w))
        .sum();
    let mut model = variables.minimise(away + overload).using(good_lp::microlp);
    for guest in &at {
        let everywhere: Expression = guest.iter().copied().map(Expression::from).sum();
        model = model.with(constraint!(everywhere == 1));
    }
    for host in 0..hosts {
        model = model.with(constraint!(at[0][host] + at[1][host] <= 1));
        for (r, over) in over[host].iter().enumerate() {
            let slot = host * RESOURCES + r;
            let limit = instance.objective.limit[slot];
            model = model
                .with(constraint!(used(host, r) <= instance.capacity[slot]))
                .with(constraint!(*over >= used(host, r) - limit));
        }
    }
    let solution = model.solve().unwrap();
    let cost: f64 = (0..guests)
        .filter(|guest| solution.value(at[*guest][instance.home[*guest] as usize]) < 0.5)
        .map(|guest| instance.objective.displacement[guest])
        .sum();
    let overload: f64 = over
        .iter()
        .flat_map(|of| of.iter().zip(&instance.objective.overload))
        .map(|(v, w)| solution.value(*v) * w)
        .sum();
    cost + overload
}

/// The least cost of all assignments that break nothing.
fn enumerated(instance: &Instance) -> f64 {
    let (guests, hosts) = (instance.guests(), instance.hosts());
    let mut best = f64::INFINITY;
    for mut code in 0..hosts.pow(u32::try_from(guests).unwrap()) {
        let mut at = Vec::with_capacity(guests);
        for _ in 0..guests {
            at.push(u32::try_from(code % hosts).unwrap());
            code /= hosts;
        }
        let state = State::of(instance, at);
        let fits = (0..hosts).all(|host| state.slack(host).iter().all(|slack| *slack >= -1e-9));
        if fits {
            best = best.min(state.cost());
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn invariant_small_linear_problems_are_solved_exactly(instance in small()) {
        let (ours, exact) = (searched(&instance, 4), solved(&instance));
        prop_assert!((ours - exact).abs() < 1e-6, "searched {ours}, exact {exact}");
    }

    #[test]
    fn invariant_small_balances_are_solved_exactly(mut instance in small()) {
        instance.objective.imbalance = (0..RESOURCES)
            .map(|resource| Imbalance {
                resource,
                scale: (0..instance.hosts())
                    .map(|host| 1.0 / instance.capacity[host * RESOURCES + resource])
                    .collect(),
                weight: 10.0,
            })
            .collect();
        let (ours, exact) = (searched(&instance, 4), enumerated(&instance));
        prop_assert!((ours - exact).abs() < 1e-6, "searched {ours}, exact {exact}");
    }

    #[test]
    fn invariant_more_effort_is_never_worse(instance in small()) {
        let costs: Vec<f64> = (0..5).map(|stages| searched(&instance, stages)).collect();
        prop_assert!(costs.windows(2).all(|pair| pair[1] <= pair[0]), "{costs:?}");
    }
}
