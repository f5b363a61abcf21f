//! The first placement: where guests begin.

use super::LoadView;
use super::scratch::Scratch;
use crate::pack::{Packing, Unplaced, Why, pack};

/// Steps of search before a placement counts as not found: some seconds.
const STEPS: u64 = 100_000_000;

/// A guest that has no host.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("guest {guest} (a core of {size}, {memory_mb} MB) has no host: {why}")]
pub struct NoHost {
    /// Its number.
    pub guest: usize,
    /// The core that it needs, compute units.
    pub size: f64,
    /// The memory that it needs, MB.
    pub memory_mb: f64,
    /// What speaks against it.
    pub why: Why,
}

/// A host for every guest.
pub(super) fn place(view: &LoadView) -> Result<Vec<usize>, NoHost> {
    let scratch = Scratch::new(view, Vec::new());
    let mut cores: Vec<f64> = view.guests.iter().map(|guest| guest.size).collect();
    cores.sort_by(f64::total_cmp);
    cores.dedup();
    let kind_of = |size: f64| cores.partition_point(|core| *core < size);
    let packing = Packing {
        resources: 1,
        names: vec!["MB of memory"],
        need: view.guests.iter().map(|guest| guest.memory_mb).collect(),
        room: view.hosts.iter().map(|host| host.memory_mb).collect(),
        kind: view.guests.iter().map(|guest| kind_of(guest.size)).collect(),
        allowed: cores
            .iter()
            .map(|core| view.hosts.iter().map(|host| host.core >= *core).collect())
            .collect(),
        order: scratch.by_efficiency(),
    };
    pack(&packing, STEPS).map_err(|Unplaced { guest, why }| {
        let of = &view.guests[guest];
        NoHost { guest, size: of.size, memory_mb: of.memory_mb, why }
    })
}
