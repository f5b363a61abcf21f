//! The contest's rules, computed from the model alone: independent of the engine.

use std::collections::{BTreeMap, BTreeSet};

use super::format::Model;

/// The objective, or every hard constraint that is broken.
pub(crate) fn check(model: &Model, initial: &[u32], at: &[u32]) -> Result<i128, Vec<String>> {
    let mut broken = Vec::new();
    let resources = model.resources.len();
    let mut used = vec![vec![0i64; resources]; model.machines.len()];
    let mut held = used.clone();
    let mut hosts_of: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for ((process, home), host) in model.processes.iter().zip(initial).zip(at) {
        hosts_of.entry(process.service).or_default().push(*host);
        for r in 0..resources {
            used[*host as usize][r] += process.needs[r];
            held[*host as usize][r] += process.needs[r];
            if model.resources[r].transient && home != host {
                held[*home as usize][r] += process.needs[r];
            }
        }
    }
    for (number, (machine, held)) in model.machines.iter().zip(&held).enumerate() {
        if machine.capacity.iter().zip(held).any(|(capacity, held)| held > capacity) {
            broken.push(format!("machine {number} is over capacity"));
        }
    }
    let neighbourhoods: BTreeMap<u32, BTreeSet<u32>> = hosts_of
        .iter()
        .map(|(service, hosts)| {
            let of = |host: &u32| model.machines[*host as usize].neighbourhood;
            (*service, hosts.iter().map(of).collect())
        })
        .collect();
    for (service, hosts) in &hosts_of {
        let rules = &model.services[*service as usize];
        if hosts.iter().collect::<BTreeSet<_>>().len() < hosts.len() {
            broken.push(format!("service {service} has two processes on one machine"));
        }
        let locations: BTreeSet<u32> =
            hosts.iter().map(|host| model.machines[*host as usize].location).collect();
        if locations.len() < usize::from(rules.spread) {
            broken.push(format!("service {service} is in {} locations", locations.len()));
        }
        for other in &rules.depends_on {
            let there = neighbourhoods.get(other).cloned().unwrap_or_default();
            if !neighbourhoods[service].is_subset(&there) {
                broken.push(format!("service {service} is without service {other} somewhere"));
            }
        }
    }
    if broken.is_empty() { Ok(objective(model, initial, at, &used)) } else { Err(broken) }
}

fn objective(model: &Model, initial: &[u32], at: &[u32], used: &[Vec<i64>]) -> i128 {
    let wide = i128::from;
    let mut cost = 0;
    for (machine, used) in model.machines.iter().zip(used) {
        for (r, resource) in model.resources.iter().enumerate() {
            cost += wide(resource.weight) * wide((used[r] - machine.safety[r]).max(0));
        }
        let free = |r: usize| wide(machine.capacity[r] - used[r]);
        for balance in &model.balances {
            let missing = wide(balance.target) * free(balance.of) - free(balance.with);
            cost += wide(balance.weight) * missing.max(0);
        }
    }
    let mut moved: BTreeMap<u32, i128> = BTreeMap::new();
    for ((process, home), host) in model.processes.iter().zip(initial).zip(at) {
        if home != host {
            *moved.entry(process.service).or_default() += 1;
            cost += wide(model.process_weight) * wide(process.move_cost);
        }
        let far = model.machines[*home as usize].move_cost[*host as usize];
        cost += wide(model.machine_weight) * wide(far);
    }
    cost + wide(model.service_weight) * moved.values().max().copied().unwrap_or(0)
}
