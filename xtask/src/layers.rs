//! The arrows of ARCHITECTURE.md, over the whole dependency closure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, MetadataCommand, PackageId};

/// What each crate of ours may depend on directly.
const ALLOWED: &[(&str, &[&str])] = &[
    ("drover-model", &[]),
    ("drover-rules", &["drover-model"]),
    ("drover-lifecycle", &["drover-model"]),
    ("drover-ports", &["drover-model"]),
    ("drover-api", &["drover-model"]),
    ("drover-agent-api", &[]),
    ("drover-planner", &["drover-model", "drover-rules"]),
    ("drover-adapter-libvirt", &["drover-model", "drover-ports"]),
    ("drover-adapter-power", &["drover-model", "drover-ports"]),
    ("drover-adapter-sqlite", &["drover-model", "drover-ports"]),
    (
        "drover-controller",
        &[
            "drover-model",
            "drover-rules",
            "drover-lifecycle",
            "drover-planner",
            "drover-ports",
            "drover-api",
            "drover-agent-api",
            "drover-adapter-power",
            "drover-adapter-sqlite",
        ],
    ),
    (
        "drover-agent",
        &[
            "drover-model",
            "drover-lifecycle",
            "drover-ports",
            "drover-api",
            "drover-agent-api",
            "drover-adapter-libvirt",
            "drover-adapter-power",
        ],
    ),
    // The public API, and the simulator: `drover sim` needs no controller.
    ("drover-cli", &["drover-api", "drover-model", "drover-rules", "drover-sim"]),
    ("drover-testkit", &["drover-model"]),
    ("drover-sim", &["drover-model", "drover-rules", "drover-lifecycle", "drover-planner"]),
    // The migration machine and nothing of the shells: it models them.
    ("drover-crash", &["drover-model", "drover-lifecycle"]),
    ("drover-lab", &[]),
    (
        "drover-bench",
        &[
            "drover-lab",
            "drover-api",
            "drover-agent-api",
            "drover-model",
            "drover-rules",
            "drover-planner",
            "drover-testkit",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that decide and never act.
const PURE: &[&str] = &["drover-model", "drover-rules", "drover-lifecycle", "drover-planner"];

/// What a pure crate may not reach, directly or not.
const IO_CRATES: &[&str] = &[
    "tokio",
    "reqwest",
    "rusqlite",
    "mio",
    "socket2",
    "rustix",
    "hyper",
    "tonic",
    "axum",
    "virt-sys",
    "tracing-subscriber",
];

type Graph<'a> = BTreeMap<&'a PackageId, Vec<&'a PackageId>>;

pub(crate) fn check() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().exec().context("cargo metadata")?;
    let resolve = metadata.resolve.as_ref().context("no dependency graph")?;
    let names: BTreeMap<&PackageId, &str> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    // Build and dev dependencies do not end up in what runs.
    let graph: Graph<'_> = resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node
                .deps
                .iter()
                .filter(|dep| dep.dep_kinds.iter().any(|info| info.kind == DependencyKind::Normal));
            (&node.id, normal.map(|dep| &dep.pkg).collect())
        })
        .collect();
    let mut wrong = Vec::new();
    for id in &metadata.workspace_members {
        let name = names[id];
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name} is not listed in xtask/src/layers.rs"));
            continue;
        };
        let ours = graph[id].iter().map(|dep| names[*dep]).filter(|dep| dep.starts_with("drover"));
        for dep in ours.filter(|dep| !allowed.contains(dep)) {
            wrong.push(format!("{name} must not depend on {dep}"));
        }
        if PURE.contains(&name) {
            for io in closure(id, &graph).iter().map(|id| names[*id]) {
                if IO_CRATES.contains(&io) {
                    wrong.push(format!("{name} is pure, yet it reaches {io}"));
                }
            }
        }
    }
    if !wrong.is_empty() {
        bail!("layers:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

fn closure<'a>(root: &'a PackageId, graph: &Graph<'a>) -> BTreeSet<&'a PackageId> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![root];
    while let Some(id) = todo.pop() {
        for dep in &graph[id] {
            if seen.insert(*dep) {
                todo.push(dep);
            }
        }
    }
    seen
}
