//! The hypervisor of one host.
//!
//! The adapter carries out single calls and reports what it sees; which call is right,
//! and under which epoch, is the agent's and the controller's business.

use async_trait::async_trait;
use drover_model::{
    BrokenStream, Bytes, CpuDescription, DirtyWindow, DiskCopy, Guest, GuestId, HostId,
    MigrationOutcome, MigrationProgress, MigrationSettings, NetworkDescription, PoolDescription,
};
use tokio::sync::broadcast;

use crate::Inspection;

/// What the hypervisor itself says of the host; the agent adds kernel, memory and budget.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostDescription {
    /// libvirt's host UUID.
    pub id: Option<HostId>,
    /// Host name as libvirt reports it.
    pub hostname: String,
    /// Processor.
    pub cpu: CpuDescription,
    /// Logical processors.
    pub cpus: u32,
    /// QEMU version.
    pub qemu: String,
    /// libvirt daemon version.
    pub libvirt: String,
    /// Domain types that work: `kvm`, `qemu`.
    pub virt_types: Vec<String>,
    /// Machine types of the native architecture.
    pub machine_types: Vec<String>,
    /// Storage pools.
    pub pools: Vec<PoolDescription>,
    /// libvirt networks (the agent adds host bridges).
    pub networks: Vec<NetworkDescription>,
}

/// Cumulative counters of one active guest, from one bulk call. While a job runs, libvirt
/// tells only some of them; what it does not tell is none, never zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestStats {
    /// Whose; none only in a default value.
    pub guest: Option<GuestId>,
    /// Host CPU time of the QEMU process, ns.
    pub cpu_time_ns: Option<u64>,
    /// CPU time of all vCPUs, ns.
    pub vcpu_time_ns: Option<u64>,
    /// vCPUs online.
    pub vcpus: Option<u32>,
    /// Resident memory of the QEMU process, bytes.
    pub resident: Option<u64>,
    /// Memory that the balloon leaves the guest, bytes.
    pub balloon: Option<u64>,
    /// Bytes read from all disks.
    pub disk_read: Option<u64>,
    /// Bytes written to all disks.
    pub disk_written: Option<u64>,
    /// Bytes received by all network cards (from the guest's side).
    pub net_rx: Option<u64>,
    /// Bytes sent by all network cards (from the guest's side).
    pub net_tx: Option<u64>,
}

/// Where and how a guest is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMigration {
    /// The guest.
    pub guest: GuestId,
    /// libvirt URI by which this host's libvirtd reaches the target's.
    pub peer_uri: String,
    /// Address at which the target's QEMU listens for the data: an IP address or a name.
    pub migration_address: String,
    /// The name that the target's certificate is checked for where it is encrypted; none
    /// means the address. It is the one that libvirtd's certificate was checked for: the data
    /// may go to an address that no certificate names.
    pub tls_name: Option<String>,
    /// How. Whether it is encrypted is decided: `tls` that is none means that it is not.
    pub settings: MigrationSettings,
    /// Allow the switch to post-copy. Then the guest does *not* arrive paused: libvirt lets
    /// it run on the target, after [`Hypervisor::start_post_copy`] before all is there.
    pub post_copy: bool,
    /// Disks that are copied with it, into images that are there already; no others.
    pub disks: Vec<DiskCopy>,
    /// All writable file disks lie below paths that the operator declared to be the same
    /// on both hosts, so libvirt may be told that they are shared
    /// (VIR_MIGRATE_UNSAFE: libvirt 9.0 recognises only some network file systems).
    pub disks_declared_shared: bool,
}

/// An image that is being written on a peer. Each call blocks. Dropped without
/// [`ImageSink::finish`], what was sent so far may be left there.
pub trait ImageSink: Send {
    /// The next bytes.
    fn send(&mut self, bytes: &[u8]) -> Result<(), HypervisorError>;

    /// So many zero bytes, which need take no space there.
    fn skip(&mut self, length: u64) -> Result<(), HypervisorError>;

    /// That was all; returns when the peer has it all.
    fn finish(self: Box<Self>) -> Result<(), HypervisorError>;
}

/// Longest window over which dirtying is measured, seconds: QEMU's own limit.
pub const MAX_DIRTY_WINDOW_S: u32 = 60;

/// What became of a copy that was to be discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncomingDisposal {
    /// It was there, had never run, and is gone.
    Discarded,
    /// There was none.
    Absent,
}

/// Something happened to a guest. Events wake; whoever is woken reads again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HypervisorEvent {
    /// A guest was defined, started, paused, resumed, stopped, …
    Lifecycle {
        /// Which.
        guest: GuestId,
    },
    /// A migration finished one pass over the guest's memory.
    MigrationIteration {
        /// Which.
        guest: GuestId,
        /// How many passes so far.
        iteration: u32,
    },
    /// A job of the guest ended.
    JobCompleted {
        /// Which.
        guest: GuestId,
    },
    /// A device was added to or removed from the guest.
    DeviceChanged {
        /// Which.
        guest: GuestId,
    },
    /// The connection to the hypervisor was lost.
    Disconnected,
    /// The connection to the hypervisor is back; anything may have happened meanwhile.
    Connected,
}

/// Why the hypervisor did not do it, by what the caller does next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HypervisorError {
    /// No connection or a passing fault; nothing is known about the effect.
    #[error("the hypervisor is out of reach: {0}")]
    Retry(String),
    /// The guest is in another state than the call needs, or another job runs.
    #[error("the guest is in the way: {0}")]
    Conflict(String),
    /// The hypervisor refused; the same call will be refused again.
    #[error("the hypervisor refused: {0}")]
    Refused(String),
    /// A daemon that is up says: there is no such guest.
    #[error("no such guest on this host: {0}")]
    Gone(GuestId),
    /// The operation was cancelled on request.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// A fault inside the hypervisor or in this adapter.
    #[error("the hypervisor is broken: {0}")]
    Broken(String),
}

/// The hypervisor of one host.
#[async_trait]
pub trait Hypervisor: Inspection {
    /// Describes host and hypervisor.
    async fn describe(&self) -> Result<HostDescription, HypervisorError>;

    /// Every guest that is active or defined, with its live configuration and state.
    /// `host` of each is filled with `host`.
    async fn guests(&self, host: HostId) -> Result<Vec<Guest>, HypervisorError>;

    /// Counters of all active guests.
    async fn stats(&self) -> Result<Vec<GuestStats>, HypervisorError>;

    /// Sends a running guest to a peer: live, peer-to-peer, persistent there and no longer
    /// defined here, and *arriving paused*: nobody but [`Hypervisor::resume`] starts it,
    /// but for a migration that allows post-copy.
    ///
    /// Returns when the job is over; from then on this host has no copy that may run.
    /// On error the guest is where it was, or in a state that [`Hypervisor::guests`] tells.
    async fn migrate_out(
        &self,
        migration: OutgoingMigration,
    ) -> Result<MigrationOutcome, HypervisorError>;

    /// Progress of the guest's running job, none when no job runs.
    async fn progress(&self, guest: GuestId) -> Result<Option<MigrationProgress>, HypervisorError>;

    /// Asks the guest's running migration to end; the guest goes on where it is.
    /// No error when no job runs any more.
    async fn cancel_migration(&self, guest: GuestId) -> Result<(), HypervisorError>;

    /// Changes the longest pause that QEMU may plan for the switch-over, milliseconds.
    async fn set_max_downtime(&self, guest: GuestId, millis: u64) -> Result<(), HypervisorError>;

    /// Changes the cap on the guest's running migration, MiB/s; none means no cap. One that has
    /// not begun to send may still take the cap that it was begun with.
    async fn set_bandwidth(
        &self,
        guest: GuestId,
        mib_per_s: Option<u64>,
    ) -> Result<(), HypervisorError>;

    /// Switches the guest's running migration to post-copy: the source's copy stops, the
    /// target's runs, and what is missing follows. Conflict when no migration runs that
    /// allows it, or none that has begun to send.
    async fn start_post_copy(&self, guest: GuestId) -> Result<(), HypervisorError>;

    /// Goes on with a migration that broke after the switch to post-copy
    /// ([`GuestState::PostCopyFailed`]). Returns when the job is over.
    ///
    /// Conflict while QEMU's stream still stands and is to be left alone: it may go on by itself.
    /// Refused, and nothing is done, where the hypervisor on either side cannot do this.
    ///
    /// [`GuestState::PostCopyFailed`]: drover_model::GuestState::PostCopyFailed
    async fn recover_post_copy(
        &self,
        migration: OutgoingMigration,
        stream: BrokenStream,
    ) -> Result<MigrationOutcome, HypervisorError>;

    /// Whether the target's hypervisor is at work on the guest at this moment. That takes moments
    /// each time, and has no end while QEMU leaves a question unanswered.
    async fn is_busy_at_target(
        &self,
        migration: OutgoingMigration,
    ) -> Result<bool, HypervisorError>;

    /// Lets a guest run that is paused. No error when it already runs. Conflict, without delay,
    /// while half of its memory is elsewhere, also when that will never come.
    async fn resume(&self, guest: GuestId) -> Result<(), HypervisorError>;

    /// Waits until no process of the guest is left on this host that could still run: then,
    /// and only then, this host's copy is proven gone. Returns at once when there is none. An error where
    /// processes cannot be seen, or nobody can tell: it proves nothing.
    async fn wait_until_gone(&self, guest: GuestId) -> Result<(), HypervisorError>;

    /// Destroys a copy that arrived here by a migration and has never run since.
    /// One that has stopped by itself has left a definition: that goes.
    /// Refused for a guest in any other state.
    async fn discard_incoming(&self, guest: GuestId) -> Result<IncomingDisposal, HypervisorError>;

    /// Destroys what a migration left of a guest on the host that it has left for good: a copy
    /// that was sent and that libvirt could not take back, or the half of one that broke after
    /// the switch to post-copy. No error when there is none. A conflict while a job runs;
    /// refused for a guest in any other state.
    async fn discard_departed(&self, guest: GuestId) -> Result<(), HypervisorError>;

    /// Definition of each guest as it would be started here, secrets included: the stored
    /// one, or the live one of a guest that has no other.
    async fn definitions(&self) -> Result<Vec<(GuestId, String)>, HypervisorError>;

    /// Definition of a guest that is shut off as another host takes it over, with copied
    /// disks where they lie there. Refused where a part of the guest would stay behind.
    async fn departing_definition(
        &self,
        guest: GuestId,
        disks: &[DiskCopy],
    ) -> Result<String, HypervisorError>;

    /// Defines a guest, in place of an earlier definition; it stays as it is, active or not.
    async fn define(&self, guest: GuestId, definition: String) -> Result<(), HypervisorError>;

    /// Starts a guest that is defined and shut off. No error when it already runs.
    async fn start_guest(&self, guest: GuestId) -> Result<(), HypervisorError>;

    /// Removes the definition of a guest that is shut off. A conflict while it is active;
    /// no error when there is none.
    async fn undefine(&self, guest: GuestId) -> Result<(), HypervisorError>;

    /// Opens an image that exists on a peer, to be written from its beginning to this
    /// length.
    async fn open_image(
        &self,
        peer_uri: &str,
        path: &str,
        length: Bytes,
    ) -> Result<Box<dyn ImageSink>, HypervisorError>;

    /// Looks again at directories in which files came or went without the hypervisor's doing:
    /// libvirt keeps lists of what lies in its storage pools, and refuses a later
    /// `--copy-storage` for a file that it takes to be there. No error where a directory is
    /// no pool's.
    async fn refresh_images(&self, directories: &[String]) -> Result<(), HypervisorError>;

    /// Pauses a running guest, also one that is being sent. No error when it is paused already.
    async fn suspend(&self, guest: GuestId) -> Result<(), HypervisorError>;

    /// Measures how much memory a running guest dirties within a window, 1 to
    /// [`MAX_DIRTY_WINDOW_S`] seconds, and takes as long: an estimate from a sample of its
    /// pages that does not slow it down.
    async fn measure_dirtying(
        &self,
        guest: GuestId,
        seconds: u32,
    ) -> Result<DirtyWindow, HypervisorError>;

    /// Events from now on.
    fn events(&self) -> broadcast::Receiver<HypervisorEvent>;
}
