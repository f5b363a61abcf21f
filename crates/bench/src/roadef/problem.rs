//! The contest's problem in the search engine's terms.

use drover_planner::search::{Class, Group, Instance, Law, LawKind, Objective, Stranded};

use super::format::Model;

/// Level of locations and of neighbourhoods in `Instance::domains`.
const LOCATION: usize = 1;
const NEIGHBOURHOOD: usize = 2;

/// States the model with its initial assignment.
pub(crate) fn instance(model: &Model, initial: &[u32]) -> Instance {
    let machines = model.machines.len();
    let number = |n: usize| u32::try_from(n).expect("fewer than 2^32 of anything");
    let mut groups: Vec<Group> = model
        .services
        .iter()
        .enumerate()
        .map(|(own, service)| Group { members: Vec::new(), laws: laws(number(own), service) })
        .collect();
    let mut member_of = Vec::new();
    for (guest, process) in model.processes.iter().enumerate() {
        groups[process.service as usize].members.push(number(guest));
        member_of.push(vec![process.service]);
    }
    // A process that is alone in its service is apart from all others. Most are; without a
    // count for each machine the counts of 50,000 processes fit into a cache.
    for group in groups.iter_mut().filter(|group| group.members.len() < 2) {
        group.laws.retain(|law| law.kind != LawKind::Apart { most: 1 });
    }
    Instance {
        resources: model.resources.len(),
        lingers: model
            .processes
            .iter()
            .flat_map(|process| process.needs.iter().zip(&model.resources))
            .map(|(need, resource)| if resource.transient { real(*need) } else { 0.0 })
            .collect(),
        capacity: flat(model.machines.iter().map(|machine| &machine.capacity)),
        base: vec![0.0; machines * model.resources.len()],
        closed: vec![false; machines],
        domains: vec![
            (0..machines).map(number).collect(),
            model.machines.iter().map(|machine| machine.location).collect(),
            model.machines.iter().map(|machine| machine.neighbourhood).collect(),
        ],
        demand: flat(model.processes.iter().map(|process| &process.needs)),
        home: initial.to_vec(),
        fixed: vec![false; initial.len()],
        class: vec![0; initial.len()],
        classes: vec![Class::default()],
        groups,
        member_of,
        objective: objective(model),
    }
}

fn laws(own: u32, service: &super::format::Service) -> Vec<Law> {
    let hard = |kind, level| Law { kind, level, weight: f64::INFINITY };
    let mut laws = vec![hard(LawKind::Apart { most: 1 }, 0)];
    if service.spread > 1 {
        laws.push(hard(LawKind::Spread { least: service.spread }, LOCATION));
    }
    // A service is always near itself.
    let others = service.depends_on.iter().filter(|other| **other != own);
    laws.extend(others.map(|other| hard(LawKind::Near { other: *other }, NEIGHBOURHOOD)));
    laws
}

fn objective(model: &Model) -> Objective {
    Objective {
        limit: flat(model.machines.iter().map(|machine| &machine.safety)),
        overload: model.resources.iter().map(|resource| real(resource.weight)).collect(),
        stranded: model
            .balances
            .iter()
            .map(|cost| Stranded {
                of: cost.of,
                with: cost.with,
                ratio: real(cost.target),
                weight: real(cost.weight),
            })
            .collect(),
        displacement: model
            .processes
            .iter()
            .map(|process| real(model.process_weight) * real(process.move_cost))
            .collect(),
        distance: model
            .machines
            .iter()
            .flat_map(|machine| &machine.move_cost)
            .map(|cost| real(model.machine_weight) * real(*cost))
            .collect(),
        group_moves: real(model.service_weight),
        ..Objective::default()
    }
}

fn flat<'a>(rows: impl Iterator<Item = &'a Vec<i64>>) -> Vec<f64> {
    rows.flatten().map(|number| real(*number)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the contest's numbers are below 2^53")]
const fn real(number: i64) -> f64 {
    number as f64
}
