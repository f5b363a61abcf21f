//! Hypervisors in memory that can send guests to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{
    BrokenStream, Bytes, CpuDescription, DirtyWindow, DiskCopy, Guest, GuestId, GuestState, HostId,
    Mib, MigrationOutcome, MigrationProgress, NamedCpu, RunningQemu, Vcpus,
};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::image::FileSink;
use crate::{
    GuestStats, HostDescription, Hypervisor, HypervisorError, HypervisorEvent, ImageSink,
    IncomingDisposal, MAX_DIRTY_WINDOW_S, OutgoingMigration,
};

/// Memory of each guest, MiB: all of it is sent.
const GUEST_MEMORY: u64 = 64;
/// Each guest writes so much a second, MiB, and so much over and over.
const DIRTY_MIB_A_SECOND: u64 = 2;
const WORKING_SET: u64 = 8;
/// What the network carries where there is no cap, MiB in one step.
const MIB_A_STEP: u64 = 16;
/// How long a step takes.
const STEP: Duration = Duration::from_millis(10);
const STEPS_A_SECOND: u64 = 100;
/// A guest keeps its vCPU busy for one part in so many.
const IDLE: u32 = 20;
const EVENT_BACKLOG: usize = 1024;
/// The version of every QEMU: one that moves emulated guests without loss.
const QEMU: &str = "10.0.13";
/// The one CPU model that there is.
pub(super) const MODEL: &str = "qemu64";
/// CPU features that a new host has.
const FEATURES: [&str; 4] = ["aes", "avx", "avx2", "sse4.2"];

/// Some hosts that reach each other.
#[derive(Debug, Clone, Default)]
pub struct MemoryHosts(Arc<Mutex<BTreeMap<String, Host>>>);

#[derive(Debug)]
pub(super) struct Host {
    pub(super) id: HostId,
    /// CPU features that guests can be given.
    pub(super) features: BTreeSet<String>,
    pub(super) guests: BTreeMap<GuestId, Copy>,
    events: broadcast::Sender<HypervisorEvent>,
}

/// What one host has of a guest.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    name: String,
    pub(super) state: GuestState,
    definition: String,
    /// The CPU that it was started with.
    pub(super) cpu: NamedCpu,
    /// The CPU of its stored definition.
    pub(super) stored_cpu: NamedCpu,
    /// It came by a migration and has not run since.
    never_ran: bool,
    started: Instant,
    job: Option<Job>,
}

#[derive(Debug, Clone, core::marker::Copy)]
struct Job {
    sent_mib: u64,
    begun: Instant,
    cancelled: bool,
    /// MiB/s.
    cap: Option<u64>,
    allows_post_copy: bool,
    switched: bool,
}

/// One of the hosts.
#[derive(Debug, Clone)]
pub struct MemoryHypervisor {
    hosts: MemoryHosts,
    uri: String,
    events: broadcast::Sender<HypervisorEvent>,
}

impl MemoryHosts {
    /// Adds a host; others reach it by this URI.
    pub fn add(&self, uri: &str, id: HostId) -> MemoryHypervisor {
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let host = Host::new(id, events.clone());
        self.lock().insert(uri.to_owned(), host);
        MemoryHypervisor { hosts: self.clone(), uri: uri.to_owned(), events }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryHypervisor {
    /// Defines and starts a guest here.
    pub fn start(&self, guest: GuestId, name: &str) {
        self.start_with(guest, name, NamedCpu { model: MODEL.to_owned(), ..NamedCpu::default() });
    }

    /// The same with a CPU; it is not checked that this host has it.
    pub fn start_with(&self, guest: GuestId, name: &str, cpu: NamedCpu) {
        self.here(|host| {
            let copy = Copy {
                name: name.to_owned(),
                state: GuestState::Running,
                definition: definition_of(guest, name),
                stored_cpu: cpu.clone(),
                cpu,
                never_ran: false,
                started: Instant::now(),
                job: None,
            };
            host.guests.insert(guest, copy);
            host.tell(HypervisorEvent::Lifecycle { guest });
        });
    }

    /// The CPU features that guests can be given here from now on.
    pub fn give_features(&self, features: &[&str]) {
        let features = features.iter().map(|name| (*name).to_owned()).collect();
        self.here(|host| host.features = features);
    }

    pub(super) fn here<T>(&self, act: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.hosts.lock();
        let lone = || Host::new(HostId::from_u128(0), self.events.clone());
        act(hosts.entry(self.uri.clone()).or_insert_with(lone))
    }

    pub(super) fn of<T>(
        &self,
        guest: GuestId,
        act: impl FnOnce(&mut Copy) -> Result<T, HypervisorError>,
    ) -> Result<T, HypervisorError> {
        self.here(|host| act(host.guests.get_mut(&guest).ok_or(HypervisorError::Gone(guest))?))
    }

    fn begin(&self, migration: &OutgoingMigration) -> Result<(), HypervisorError> {
        let guest = migration.guest;
        self.of(guest, |copy| match (copy.job, copy.state) {
            (Some(_), _) => Err(HypervisorError::Conflict("a job runs".to_owned())),
            (None, GuestState::Running) => {
                copy.job = Some(Job {
                    sent_mib: 0,
                    begun: Instant::now(),
                    cancelled: false,
                    cap: migration.settings.max_bandwidth_mib_s,
                    allows_post_copy: migration.post_copy,
                    switched: false,
                });
                Ok(())
            }
            (None, state) => {
                Err(HypervisorError::Conflict(format!("the guest is {}", state.as_str())))
            }
        })
    }

    /// Sends a little more; whether that was all.
    fn step(&self, guest: GuestId, mib: u64) -> Result<bool, HypervisorError> {
        let sent = self.of(guest, |copy| {
            let job = copy.job.as_mut().ok_or_else(|| HypervisorError::Broken("no job".into()))?;
            if job.cancelled {
                return Err(HypervisorError::Cancelled("asked to".to_owned()));
            }
            job.sent_mib += mib;
            Ok(job.sent_mib)
        })?;
        if sent == mib {
            let first = HypervisorEvent::MigrationIteration { guest, iteration: 1 };
            self.here(|host| host.tell(first));
        }
        Ok(sent >= GUEST_MEMORY || self.job(guest)?.switched)
    }

    fn job(&self, guest: GuestId) -> Result<Job, HypervisorError> {
        self.of(guest, |copy| copy.job.ok_or_else(|| HypervisorError::Broken("no job".into())))
    }

    /// The moment at which the guest changes hands.
    fn hand_over(&self, migration: &OutgoingMigration) -> Result<(), HypervisorError> {
        let (guest, peer) = (migration.guest, &migration.peer_uri);
        let mut hosts = self.hosts.lock();
        if !hosts.contains_key(peer) {
            return Err(HypervisorError::Retry(format!("nobody listens at {peer}")));
        }
        let source = hosts.get_mut(&self.uri).ok_or(HypervisorError::Gone(guest))?;
        let copy = source.guests.remove(&guest).ok_or(HypervisorError::Gone(guest))?;
        source.tell(HypervisorEvent::JobCompleted { guest });
        source.tell(HypervisorEvent::Lifecycle { guest });
        if let Some(target) = hosts.get_mut(peer) {
            let (state, never_ran) = if migration.post_copy {
                (GuestState::Running, false)
            } else {
                (GuestState::PausedForMigration, true)
            };
            target.guests.insert(guest, Copy { state, never_ran, job: None, ..copy });
            target.tell(HypervisorEvent::Lifecycle { guest });
        }
        Ok(())
    }

    async fn carry(&self, migration: &OutgoingMigration) -> Result<(), HypervisorError> {
        let (guest, peer) = (migration.guest, &migration.peer_uri);
        if !self.hosts.lock().contains_key(peer) {
            return Err(HypervisorError::Retry(format!("nobody listens at {peer}")));
        }
        loop {
            // A cap below a MiB a step: fewer steps carry something.
            let cap = self.job(guest)?.cap.unwrap_or(u64::MAX);
            let (mib, wait) = if cap < STEPS_A_SECOND {
                (1, Duration::from_secs(1) / u32::try_from(cap.max(1)).unwrap_or(1))
            } else {
                ((cap / STEPS_A_SECOND).min(MIB_A_STEP), STEP)
            };
            if self.step(guest, mib)? {
                return self.hand_over(migration);
            }
            let end = Instant::now() + wait;
            while Instant::now() < end && !self.step(guest, 0)? {
                tokio::time::sleep(STEP.min(wait)).await;
            }
        }
    }
}

impl Host {
    fn new(id: HostId, events: broadcast::Sender<HypervisorEvent>) -> Self {
        let features = FEATURES.iter().map(|name| (*name).to_owned()).collect();
        Self { id, features, guests: BTreeMap::new(), events }
    }

    fn tell(&self, event: HypervisorEvent) {
        // Nobody listening is no error.
        let _ = self.events.send(event);
    }
}

#[async_trait]
impl Hypervisor for MemoryHypervisor {
    async fn describe(&self) -> Result<HostDescription, HypervisorError> {
        Ok(HostDescription {
            id: Some(self.here(|host| host.id)),
            hostname: self.uri.clone(),
            cpu: CpuDescription { arch: "x86_64".to_owned(), ..CpuDescription::default() },
            cpus: 4,
            machine_types: vec!["pc-q35-7.2".to_owned()],
            qemu: QEMU.to_owned(),
            libvirt: "9.0.0".to_owned(),
            virt_types: vec!["qemu".to_owned()],
            ..HostDescription::default()
        })
    }

    async fn guests(&self, host: HostId) -> Result<Vec<Guest>, HypervisorError> {
        Ok(self.here(|here| here.guests.iter().map(|(id, copy)| listed(*id, copy, host)).collect()))
    }

    async fn stats(&self) -> Result<Vec<GuestStats>, HypervisorError> {
        let of = |(id, copy): (&GuestId, &Copy)| {
            let ran = if copy.never_ran { Duration::ZERO } else { copy.started.elapsed() };
            let cpu_time_ns = u64::try_from((ran / IDLE).as_nanos()).unwrap_or(u64::MAX);
            GuestStats {
                guest: Some(*id),
                cpu_time_ns: Some(cpu_time_ns),
                vcpu_time_ns: Some(cpu_time_ns),
                vcpus: Some(1),
                resident: Some(GUEST_MEMORY << 20),
                balloon: Some(GUEST_MEMORY << 20),
                ..GuestStats::default()
            }
        };
        Ok(self.here(|host| host.guests.iter().map(of).collect()))
    }

    async fn migrate_out(
        &self,
        migration: OutgoingMigration,
    ) -> Result<MigrationOutcome, HypervisorError> {
        let begun = Instant::now();
        self.begin(&migration)?;
        let carried = self.carry(&migration).await;
        // Whatever happened: if the guest is here it has no job any more.
        let _ = self.of(migration.guest, |copy| {
            copy.job = None;
            Ok(())
        });
        carried?;
        Ok(MigrationOutcome {
            total_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            downtime_ms: Some(0),
            transferred: Some(Bytes(GUEST_MEMORY << 20)),
            iterations: Some(1),
            blackout_ms: None,
        })
    }

    async fn progress(&self, guest: GuestId) -> Result<Option<MigrationProgress>, HypervisorError> {
        self.of(guest, |copy| {
            Ok(copy.job.map(|job| MigrationProgress {
                elapsed_ms: u64::try_from(job.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                total: Bytes(GUEST_MEMORY << 20),
                processed: Bytes(job.sent_mib << 20),
                remaining: Bytes(GUEST_MEMORY.saturating_sub(job.sent_mib) << 20),
                iteration: 1,
                ..MigrationProgress::default()
            }))
        })
    }

    async fn cancel_migration(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.of(guest, |copy| {
            copy.job.iter_mut().for_each(|job| job.cancelled = true);
            Ok(())
        })
    }

    async fn set_max_downtime(&self, guest: GuestId, _millis: u64) -> Result<(), HypervisorError> {
        // Nothing is dirtied here, so every limit is kept.
        self.of(guest, |_| Ok(()))
    }

    async fn set_bandwidth(
        &self,
        guest: GuestId,
        mib_per_s: Option<u64>,
    ) -> Result<(), HypervisorError> {
        self.of(guest, |copy| {
            copy.job.iter_mut().for_each(|job| job.cap = mib_per_s);
            Ok(())
        })
    }

    async fn start_post_copy(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.of(guest, |copy| match copy.job.as_mut() {
            Some(job) if job.allows_post_copy && job.sent_mib > 0 => {
                job.switched = true;
                Ok(())
            }
            _ => Err(HypervisorError::Conflict("no migration that allows it runs".to_owned())),
        })
    }

    async fn recover_post_copy(
        &self,
        migration: OutgoingMigration,
        _: BrokenStream,
    ) -> Result<MigrationOutcome, HypervisorError> {
        let state = self.of(migration.guest, |copy| Ok(copy.state))?;
        Err(HypervisorError::Conflict(format!("nothing broke: the guest is {}", state.as_str())))
    }

    async fn is_busy_at_target(&self, _: OutgoingMigration) -> Result<bool, HypervisorError> {
        Ok(false)
    }

    async fn resume(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.of(guest, |copy| {
            if copy.state == GuestState::PostCopyFailed {
                let message = "half of its memory has not come".to_owned();
                return Err(HypervisorError::Conflict(message));
            }
            copy.state = GuestState::Running;
            copy.never_ran = false;
            Ok(())
        })?;
        self.here(|host| host.tell(HypervisorEvent::Lifecycle { guest }));
        Ok(())
    }

    async fn suspend(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.of(guest, |copy| {
            copy.state = GuestState::Paused;
            Ok(())
        })?;
        self.here(|host| host.tell(HypervisorEvent::Lifecycle { guest }));
        Ok(())
    }

    async fn measure_dirtying(
        &self,
        guest: GuestId,
        seconds: u32,
    ) -> Result<DirtyWindow, HypervisorError> {
        let seconds = u64::from(seconds.clamp(1, MAX_DIRTY_WINDOW_S));
        self.of(guest, |copy| match (copy.job, copy.state) {
            (None, GuestState::Running) => Ok(()),
            _ => Err(HypervisorError::Conflict("it does not run, or a job runs".to_owned())),
        })?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let dirtied = (seconds * DIRTY_MIB_A_SECOND).min(WORKING_SET);
        Ok(DirtyWindow { window_ms: seconds * 1000, dirtied: Bytes(dirtied << 20) })
    }

    async fn wait_until_gone(&self, guest: GuestId) -> Result<(), HypervisorError> {
        while self.of(guest, |_| Ok(())).is_ok() {
            tokio::time::sleep(STEP).await;
        }
        Ok(())
    }

    async fn discard_incoming(&self, guest: GuestId) -> Result<IncomingDisposal, HypervisorError> {
        self.here(|host| match host.guests.get(&guest) {
            None => Ok(IncomingDisposal::Absent),
            Some(copy) if copy.never_ran => {
                host.guests.remove(&guest);
                host.tell(HypervisorEvent::Lifecycle { guest });
                Ok(IncomingDisposal::Discarded)
            }
            Some(copy) => Err(HypervisorError::Refused(format!(
                "the guest here has run and is {}",
                copy.state.as_str()
            ))),
        })
    }

    async fn definitions(&self) -> Result<Vec<(GuestId, String)>, HypervisorError> {
        let of = |(id, copy): (&GuestId, &Copy)| (*id, copy.definition.clone());
        Ok(self.here(|host| host.guests.iter().map(of).collect()))
    }

    async fn departing_definition(
        &self,
        guest: GuestId,
        disks: &[DiskCopy],
    ) -> Result<String, HypervisorError> {
        let definition = self.of(guest, |copy| Ok(copy.definition.clone()))?;
        let moved = |xml: String, disk: &DiskCopy| xml.replace(&disk.from, &disk.to);
        Ok(disks.iter().fold(definition, moved))
    }

    async fn define(&self, guest: GuestId, definition: String) -> Result<(), HypervisorError> {
        let name = name_in(&definition)
            .ok_or_else(|| HypervisorError::Refused("the definition has no name".to_owned()))?;
        self.here(|host| {
            let fresh = Copy {
                name,
                state: GuestState::ShutOff,
                definition: String::new(),
                cpu: NamedCpu::default(),
                stored_cpu: NamedCpu::default(),
                never_ran: false,
                started: Instant::now(),
                job: None,
            };
            host.guests.entry(guest).or_insert(fresh).definition = definition;
            host.tell(HypervisorEvent::Lifecycle { guest });
        });
        Ok(())
    }

    async fn discard_departed(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.here(|host| {
            let Some(copy) = host.guests.get_mut(&guest) else { return Ok(()) };
            match copy.state {
                _ if copy.job.is_some() => Err(HypervisorError::Conflict("a job runs".to_owned())),
                GuestState::ShutOff | GuestState::Departed => Ok(()),
                GuestState::PausedForMigration | GuestState::PostCopyFailed => {
                    copy.state = GuestState::ShutOff;
                    host.tell(HypervisorEvent::Lifecycle { guest });
                    Ok(())
                }
                state => Err(HypervisorError::Refused(format!("the guest is {}", state.as_str()))),
            }
        })
    }

    async fn start_guest(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.of(guest, |copy| match copy.state {
            GuestState::Running => Ok(()),
            GuestState::ShutOff => {
                copy.state = GuestState::Running;
                copy.started = Instant::now();
                Ok(())
            }
            state => Err(HypervisorError::Conflict(format!("the guest is {}", state.as_str()))),
        })?;
        self.here(|host| host.tell(HypervisorEvent::Lifecycle { guest }));
        Ok(())
    }

    async fn undefine(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.here(|host| match host.guests.get(&guest) {
            None => Ok(()),
            Some(copy) if copy.state.is_active() => {
                Err(HypervisorError::Conflict(format!("the guest is {}", copy.state.as_str())))
            }
            Some(_) => {
                host.guests.remove(&guest);
                host.tell(HypervisorEvent::Lifecycle { guest });
                Ok(())
            }
        })
    }

    async fn refresh_images(&self, _directories: &[String]) -> Result<(), HypervisorError> {
        // No pools, so no lists that could be out of date.
        self.here(|_| Ok(()))
    }

    async fn open_image(
        &self,
        peer_uri: &str,
        path: &str,
        length: Bytes,
    ) -> Result<Box<dyn ImageSink>, HypervisorError> {
        if !self.hosts.lock().contains_key(peer_uri) {
            return Err(HypervisorError::Retry(format!("nobody listens at {peer_uri}")));
        }
        Ok(Box::new(FileSink::open(path, length)?))
    }

    fn events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.events.subscribe()
    }
}

fn definition_of(guest: GuestId, name: &str) -> String {
    format!("<domain type='qemu'><name>{name}</name><uuid>{guest}</uuid></domain>")
}

fn name_in(definition: &str) -> Option<String> {
    let (_, rest) = definition.split_once("<name>")?;
    rest.split_once("</name>").map(|(name, _)| name.to_owned())
}

pub(super) fn listed(id: GuestId, copy: &Copy, host: HostId) -> Guest {
    Guest {
        id,
        name: copy.name.clone(),
        host,
        state: copy.state,
        vcpus: Vcpus(1),
        memory: Mib(GUEST_MEMORY),
        current_memory: Mib(GUEST_MEMORY),
        virt_type: "qemu".to_owned(),
        qemu: copy.state.is_active().then(|| RunningQemu::Known { version: QEMU.to_owned() }),
        arch: "x86_64".to_owned(),
        machine: "pc-q35-7.2".to_owned(),
        cpu_mode: "custom".to_owned(),
        cpu_model: Some(copy.cpu.model.clone()),
        disks: Vec::new(),
        leases: Vec::new(),
        nics: Vec::new(),
        host_devices: 0,
        persistent: true,
    }
}
