//! Ganeti's cluster score without dynamic utilisation, as `hbal --ignore-dynu` prints it
//! (`HTools.Cluster.Metrics` of Ganeti 3.0; lower is better). Computed from the file alone.
//! Instances with a secondary node add terms (reserved memory, N+1) that are not here.

use std::collections::BTreeMap;

use super::format::File;

/// Cost of a guest whose node is offline: it counts as such (4) and as a primary (16).
pub(crate) const OFFLINE: f64 = 20.0;
/// Cost of two guests with the same exclusion tag on one node.
pub(crate) const TAG_CONFLICT: f64 = 2.0;

/// The score.
pub(crate) fn score(file: &File) -> f64 {
    let mut vcpus: Vec<f64> = file.nodes.iter().map(|node| node.node_cpus).collect();
    let mut claimed = vec![0.0; file.nodes.len()];
    let mut spindles = vec![0.0; file.nodes.len()];
    let mut offline = 0.0;
    let mut tags: Vec<BTreeMap<&str, f64>> = vec![BTreeMap::new(); file.nodes.len()];
    let exclusive = exclusion_prefixes(file);
    for machine in &file.instances {
        let node = machine.primary;
        vcpus[node] += if machine.set_aside { 0.0 } else { machine.vcpus };
        claimed[node] += if machine.running { 0.0 } else { machine.memory };
        if !machine.is_mobile() {
            spindles[node] += machine.spindle_use;
        }
        offline += f64::from(file.nodes[node].offline);
        for tag in machine.tags.iter().filter(|tag| is_exclusive(tag, &exclusive)) {
            *tags[node].entry(tag).or_insert(0.0) += 1.0;
        }
    }
    let online: Vec<usize> =
        (0..file.nodes.len()).filter(|node| !file.nodes[*node].offline).collect();
    let spread = |of: &dyn Fn(usize) -> f64| deviation(online.iter().map(|node| of(*node)));
    let part = |of: f64, all: f64| if all > 0.0 { of / all } else { 0.0 };
    let memory = |node: usize| part(file.nodes[node].free_memory, file.nodes[node].total_memory);
    let disk = |node: usize| part(file.nodes[node].free_disk, file.nodes[node].total_disk);
    // What is down may start again: half of the weight is on memory with its share taken.
    let unclaimed = |node: usize| {
        part(file.nodes[node].free_memory - claimed[node], file.nodes[node].total_memory)
    };
    let cpu = |node: usize| part(vcpus[node], file.nodes[node].cpus * file.nodes[node].cpu_speed);
    let limit = spindle_ratio(file);
    let spindle = |node: usize| part(spindles[node], file.nodes[node].spindles * limit);
    let conflicts: f64 = tags.iter().flat_map(BTreeMap::values).map(|count| count - 1.0).sum();
    0.5 * spread(&memory)
        + 0.5 * spread(&unclaimed)
        + spread(&disk)
        + spread(&cpu)
        + spread(&spindle)
        + OFFLINE * offline
        + TAG_CONFLICT * conflicts
}

/// What cluster tags `htools:iextags:PREFIX` name: two guests with one tag `PREFIX:…`
/// should not share a node.
pub(crate) fn exclusion_prefixes(file: &File) -> Vec<String> {
    let prefixes = file.tags.iter().filter_map(|tag| tag.strip_prefix("htools:iextags:"));
    prefixes.map(|prefix| format!("{prefix}:")).collect()
}

pub(crate) fn is_exclusive(tag: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| tag.starts_with(prefix.as_str()))
}

/// Virtual CPUs that the policy allows per physical one.
pub(crate) fn vcpu_ratio(file: &File) -> f64 {
    policy_column(file, 4).unwrap_or(f64::INFINITY)
}

fn spindle_ratio(file: &File) -> f64 {
    policy_column(file, 5).unwrap_or(32.0)
}

/// A number of the cluster's instance policy, the line without an owner.
fn policy_column(file: &File, column: usize) -> Option<f64> {
    let line = file.policies.iter().find(|line| line.starts_with('|'))?;
    line.split('|').nth(column)?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "a count of nodes")]
fn deviation(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count).sqrt()
}
