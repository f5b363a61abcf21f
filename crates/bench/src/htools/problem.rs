//! A Ganeti cluster in the search engine's terms.

use std::collections::BTreeMap;

use drover_planner::search::{Class, Group, Imbalance, Instance, Law, LawKind, Objective};

use super::format::File;
use super::score::{OFFLINE, TAG_CONFLICT, exclusion_prefixes, is_exclusive, vcpu_ratio};

const MEMORY: usize = 0;
const VCPUS: usize = 1;
const RESOURCES: usize = 2;

/// States the cluster; a move costs `per_gib` for each GiB and `per_move` by itself.
pub(crate) fn instance(file: &File, per_move: f64, per_gib: f64) -> Instance {
    let hosts = file.nodes.len();
    let (groups, member_of) = exclusion_groups(file);
    let group_names: Vec<&String> = file.nodes.iter().map(|node| &node.group).collect();
    let mut kinds = group_names.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let classes: Vec<Class> = kinds
        .iter()
        .map(|kind| {
            let allowed = if kinds.len() == 1 {
                Vec::new()
            } else {
                group_names.iter().map(|name| name == kind).collect()
            };
            Class { allowed, dislike: Vec::new() }
        })
        .collect();
    let class_of = |host: usize| kinds.binary_search(&group_names[host]).expect("each is listed");
    let gib = |mib: f64| mib / 1024.0;
    Instance {
        resources: RESOURCES,
        lingers: Vec::new(),
        capacity: file
            .nodes
            .iter()
            .flat_map(|node| [node.total_memory, node.cpus * vcpu_ratio(file)])
            .collect(),
        base: base(file),
        closed: file.nodes.iter().map(|node| node.offline).collect(),
        domains: vec![(0..hosts).map(number).collect()],
        demand: file
            .instances
            .iter()
            .flat_map(|machine| {
                [machine.memory, if machine.set_aside { 0.0 } else { machine.vcpus }]
            })
            .collect(),
        home: file.instances.iter().map(|machine| number(machine.primary)).collect(),
        fixed: file
            .instances
            .iter()
            .map(|machine| !(machine.is_mobile() && machine.running && machine.auto_balance))
            .collect(),
        class: file.instances.iter().map(|machine| number(class_of(machine.primary))).collect(),
        classes,
        groups,
        member_of,
        objective: Objective {
            imbalance: vec![
                imbalance(file, MEMORY, |node| node.total_memory),
                imbalance(file, VCPUS, |node| node.cpus * node.cpu_speed),
            ],
            shun: file.nodes.iter().map(|node| if node.offline { OFFLINE } else { 0.0 }).collect(),
            displacement: file
                .instances
                .iter()
                .map(|machine| per_move + per_gib * gib(machine.memory))
                .collect(),
            bytes: file.instances.iter().map(|machine| gib(machine.memory)).collect(),
            ..Objective::default()
        },
    }
}

/// What nodes use without the listed guests.
fn base(file: &File) -> Vec<f64> {
    let mut base: Vec<f64> = file
        .nodes
        .iter()
        .flat_map(|node| [node.total_memory - node.free_memory, node.node_cpus])
        .collect();
    // What is down is not in use: it is counted besides, so that it can start again.
    for machine in file.instances.iter().filter(|machine| machine.running) {
        base[machine.primary * RESOURCES + MEMORY] -= machine.memory;
    }
    base
}

fn imbalance(file: &File, resource: usize, all: fn(&super::format::Node) -> f64) -> Imbalance {
    let scale = file
        .nodes
        .iter()
        .map(|node| if node.offline || all(node) <= 0.0 { 0.0 } else { 1.0 / all(node) })
        .collect();
    Imbalance { resource, scale, weight: 1.0 }
}

fn exclusion_groups(file: &File) -> (Vec<Group>, Vec<Vec<u32>>) {
    let prefixes = exclusion_prefixes(file);
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut member_of = vec![Vec::new(); file.instances.len()];
    for (guest, machine) in file.instances.iter().enumerate() {
        for tag in machine.tags.iter().filter(|tag| is_exclusive(tag, &prefixes)) {
            let next = number(groups.len());
            let group = *numbers.entry(tag).or_insert(next);
            if group == next {
                let law = Law { kind: LawKind::Apart { most: 1 }, level: 0, weight: TAG_CONFLICT };
                groups.push(Group { members: Vec::new(), laws: vec![law] });
            }
            groups[group as usize].members.push(number(guest));
            member_of[guest].push(group);
        }
    }
    (groups, member_of)
}

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 of anything")
}
