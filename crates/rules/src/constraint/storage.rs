//! Every disk must be reachable from the target, as the same bytes, unless it is copied there.

use std::path::Path;

use drover_model::{Disk, DiskSource, Host};

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = &case.target.host;
    let shared_here = |path: &str| {
        let below = |host: &Host| {
            host.capabilities.shared_paths.iter().any(|root| Path::new(path).starts_with(root))
        };
        below(target) && (case.is_new() || case.source.is_some_and(|source| below(&source.host)))
    };
    let missing: Vec<String> = case
        .guest
        .guest
        .disks
        .iter()
        .filter(|disk| !(case.policy.copies_storage && is_copied(disk, case)))
        .filter_map(|disk| unreachable(disk, target, &shared_here))
        .collect();
    Verdict::unless(missing.is_empty(), || missing.join("; "))
}

/// Whether a disk is copied with its guest: a file that the source shares with nobody. An
/// image that is read-only is not the guest's own.
fn is_copied(disk: &Disk, case: &PlacementCase<'_>) -> bool {
    let DiskSource::File { path } = &disk.source else { return false };
    let shares = |host: &Host| {
        host.capabilities.shared_paths.iter().any(|root| Path::new(path).starts_with(root))
    };
    !disk.readonly && !case.source.is_some_and(|source| shares(&source.host))
}

fn unreachable(disk: &Disk, target: &Host, shared_here: &dyn Fn(&str) -> bool) -> Option<String> {
    match &disk.source {
        DiskSource::Empty | DiskSource::Network { .. } => None,
        DiskSource::File { path } if shared_here(path) => None,
        DiskSource::File { path } => {
            Some(format!("disk {} is {path}, which is below no path shared by both", disk.target))
        }
        DiskSource::Block { path } if shared_here(path) => None,
        DiskSource::Block { path } => Some(format!(
            "disk {} is the block device {path}, which is not declared as shared",
            disk.target
        )),
        DiskSource::Volume { pool, .. } => {
            let there = target.capabilities.pools.iter().any(|p| p.name == *pool && p.active);
            (!there).then(|| {
                format!(
                    "disk {} needs the pool `{pool}`, not active on {}",
                    disk.target, target.name
                )
            })
        }
    }
}
