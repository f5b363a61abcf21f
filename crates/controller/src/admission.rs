//! Whether a guest can be moved in the way that was asked for, and which of its disks go with
//! it: pure. Whether a host can take it is the planner's business.

use std::path::{Component, Path};

use drover_model::{
    Bytes, Disk, DiskCopy, DiskSource, GuestId, GuestState, HostId, HostState, MigrationMode,
    MigrationSettings, StorageCopy,
};

use crate::records::{GuestRecord, Tables};

/// Why a guest cannot be moved like that, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

/// What is asked beside the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Whoever asks vouches that the guest's host is dead.
    pub host_is_dead: bool,
    /// The host's agent is connected.
    pub agent_answers: bool,
}

/// Formats that agents can copy: those whose sizes they can read.
const COPIED_FORMATS: [&str; 2] = ["raw", "qcow2"];

fn refusal(reason: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal { reason: reason.into(), hint: hint.into() }
}

/// Whether the guest can be moved in this way now.
pub fn admit(
    tables: &Tables,
    guest: GuestId,
    settings: &MigrationSettings,
    asked: Asked,
) -> Result<(), Refusal> {
    let Some(record) = tables.guests.get(guest) else { return Ok(()) };
    match settings.mode {
        MigrationMode::Live => by_state(tables, record, MigrationMode::Live, GuestState::Running),
        MigrationMode::Cold => by_state(tables, record, MigrationMode::Cold, GuestState::ShutOff),
        MigrationMode::Rescue => rescue(tables, record, asked),
    }?;
    if settings.mode != MigrationMode::Rescue {
        copies(tables, guest, settings).map_err(|reason| {
            refusal(reason, "such a disk has to be moved by hand, or to shared storage first")
        })?;
    }
    Ok(())
}

fn by_state(
    tables: &Tables,
    record: &GuestRecord,
    mode: MigrationMode,
    wanted: GuestState,
) -> Result<(), Refusal> {
    let guest = &record.guest;
    let (name, host) = (&guest.name, tables.host_name(guest.host));
    if state_of(tables, guest.host) == Some(HostState::Unreachable) {
        return Err(refusal(
            format!("{name} cannot move: its host {host} is unreachable"),
            rescue_hint(name, &host),
        ));
    }
    if guest.state == wanted {
        return Ok(());
    }
    let hint = match (mode, guest.state) {
        (MigrationMode::Live, GuestState::ShutOff) => {
            "`--mode cold` moves a guest that is shut off".to_owned()
        }
        (MigrationMode::Live, GuestState::Paused) => {
            format!("it arrives running: resume it first (`virsh resume {name}` on {host})")
        }
        (MigrationMode::Cold, GuestState::Running) => {
            "leave `--mode cold` out to move it while it runs, or shut it down first".to_owned()
        }
        _ => format!("`virsh domstate {name} --reason` on {host} says more"),
    };
    let way = mode.as_str();
    Err(refusal(format!("{name} cannot move {way}: it is {}", guest.state.as_str()), hint))
}

/// What to do about a guest of a host that does not answer.
pub fn rescue_hint(guest: &str, host: &str) -> String {
    format!(
        "it may run on there. If {host} is off, or cut off from its disks for good: `drover guest \
         migrate {guest} --mode rescue --host-is-dead`"
    )
}

fn rescue(tables: &Tables, record: &GuestRecord, asked: Asked) -> Result<(), Refusal> {
    let guest = &record.guest;
    let (name, host) = (&guest.name, tables.host_name(guest.host));
    let dead = state_of(tables, guest.host) == Some(HostState::Unreachable);
    if !dead || asked.agent_answers {
        return Err(refusal(
            format!("{name} cannot be rescued: the agent of {host} answers"),
            "a rescue is for guests of dead hosts; leave `--mode rescue` out",
        ));
    }
    if !asked.host_is_dead {
        return Err(refusal(
            format!("{name} cannot be rescued: nobody vouches that {host} is dead"),
            format!(
                "a host that does not answer may run its guests on, and a guest that runs twice \
                 destroys its disks. Switch {host} off, make sure, and add `--host-is-dead`"
            ),
        ));
    }
    let local: Vec<String> = guest
        .disks
        .iter()
        .filter(|disk| !is_reachable_elsewhere(tables, guest.host, disk))
        .map(|disk| format!("disk {} ({})", disk.target, place(disk)))
        .collect();
    if !local.is_empty() {
        return Err(refusal(
            format!("{name} cannot be rescued: only {host} has {}", local.join(" and ")),
            format!("bring {host} back, or restore the guest from a backup"),
        ));
    }
    if tables.definitions.get(guest.id).is_none() {
        return Err(refusal(
            format!("{name} cannot be rescued: its definition was never told"),
            "define and start it by hand where its disks are reachable",
        ));
    }
    Ok(())
}

fn state_of(tables: &Tables, host: HostId) -> Option<HostState> {
    tables.hosts.get(host).map(|record| record.host.state)
}

/// Whether other hosts have this disk's bytes, too.
fn is_reachable_elsewhere(tables: &Tables, host: HostId, disk: &Disk) -> bool {
    match &disk.source {
        DiskSource::Empty | DiskSource::Network { .. } => true,
        DiskSource::File { path } | DiskSource::Block { path } => is_shared(tables, host, path),
        DiskSource::Volume { pool, .. } => {
            let pools = tables.hosts.get(host).map(|record| &record.host.capabilities.pools);
            let kind = pools.into_iter().flatten().find(|known| known.name == *pool);
            kind.is_some_and(|pool| {
                let path = pool.path.as_deref();
                pool.kind != "dir" || path.is_some_and(|path| is_shared(tables, host, path))
            })
        }
    }
}

fn is_shared(tables: &Tables, host: HostId, path: &str) -> bool {
    let plain = Path::new(path).components().all(|part| part != Component::ParentDir);
    let record = tables.hosts.get(host);
    plain
        && record.is_some_and(|record| {
            let shared = &record.host.capabilities.shared_paths;
            shared.iter().any(|root| Path::new(path).starts_with(root))
        })
}

fn place(disk: &Disk) -> String {
    match &disk.source {
        DiskSource::File { path } | DiskSource::Block { path } => path.clone(),
        DiskSource::Network { protocol, name } => format!("{protocol} {name}"),
        DiskSource::Volume { pool, volume } => format!("volume {pool}/{volume}"),
        DiskSource::Empty => "empty".to_owned(),
    }
}

/// The disks that go with the guest, or why one of them cannot.
pub fn copies(
    tables: &Tables,
    guest: GuestId,
    settings: &MigrationSettings,
) -> Result<Vec<DiskCopy>, String> {
    let Some(record) = tables.guests.get(guest) else { return Ok(Vec::new()) };
    if settings.storage == StorageCopy::None {
        return Ok(Vec::new());
    }
    let host = record.guest.host;
    let local = record.guest.disks.iter().filter_map(|disk| match &disk.source {
        DiskSource::File { path } if !disk.readonly && !is_shared(tables, host, path) => {
            Some((disk, path))
        }
        _ => None,
    });
    local.map(|(disk, path)| copy(disk, path, settings)).collect()
}

fn copy(disk: &Disk, path: &str, settings: &MigrationSettings) -> Result<DiskCopy, String> {
    let named = format!("disk {} ({path})", disk.target);
    let format = disk.format.clone().unwrap_or_else(|| "raw".to_owned());
    if !COPIED_FORMATS.contains(&format.as_str()) {
        return Err(format!("{named} cannot be copied: its format is {format}, not raw or qcow2"));
    }
    if disk.shareable {
        return Err(format!("{named} cannot be copied: several guests may write to it"));
    }
    let (Some(capacity), Some(allocation)) = (disk.capacity, disk.allocation) else {
        return Err(format!("{named} cannot be copied: its host has not told its size"));
    };
    let layer = settings.storage == StorageCopy::TopLayer;
    let backing = disk.backing.clone().filter(|_| layer);
    // Layers that are merged may fill the disk.
    let merged = disk.backing.is_some() && !layer;
    Ok(DiskCopy {
        disk: disk.target.clone(),
        from: path.to_owned(),
        to: settings.on_target(path),
        format,
        capacity,
        allocation: if merged { Bytes(allocation.0.max(capacity.0)) } else { allocation },
        backing,
    })
}
