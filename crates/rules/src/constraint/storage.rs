//! Every disk must be reachable from the target, as the same bytes, unless it is copied there.

use std::path::Path;

use drover_model::{Disk, DiskSource, Host};

use super::{PlacementCase, Verdict};
use crate::why_not_copied;

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
        .filter_map(|disk| match local(disk, case).filter(|_| case.policy.copies_storage) {
            Some(path) => {
                let why = why_not_copied(disk)?;
                Some(format!("disk {} ({path}) cannot be copied: {why}", disk.target))
            }
            None => unreachable(disk, target, &shared_here),
        })
        .collect();
    Verdict::unless(missing.is_empty(), || missing.join("; "))
}

/// The path of a disk that goes with its guest where disks are copied: a file that the source
/// shares with nobody. An image that is read-only is not the guest's own.
fn local<'d>(disk: &'d Disk, case: &PlacementCase<'_>) -> Option<&'d str> {
    let DiskSource::File { path } = &disk.source else { return None };
    let shares = |host: &Host| {
        host.capabilities.shared_paths.iter().any(|root| Path::new(path).starts_with(root))
    };
    let shared = case.source.is_some_and(|source| shares(&source.host));
    (!disk.readonly && !shared).then_some(path.as_str())
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
