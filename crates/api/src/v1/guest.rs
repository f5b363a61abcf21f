//! Guests.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// A guest in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Guest {
    /// Domain UUID.
    pub id: String,
    /// Domain name.
    pub name: String,
    /// `running`, `paused`, `paused-for-migration`, `paused-by-fault`, `shut-off`,
    /// `shutting-down`, `crashed`, or `unknown` when its host does not answer.
    pub state: String,
    /// Name of the host that owns it.
    pub host: String,
    /// vCPUs online.
    pub vcpus: u32,
    /// Memory it may grow to, MiB.
    pub memory_mib: u64,
    /// Newest CPU use, percent of its vCPUs.
    pub vcpu_percent: Option<f64>,
    /// Newest CPU use, percent of its host.
    pub host_percent: Option<f64>,
    /// Newest resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Id of the operation under way.
    pub operation: Option<String>,
}

/// A guest with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GuestDetail {
    /// As in the list.
    #[serde(flatten)]
    pub guest: Guest,
    /// What can be done where its host does not answer, or a move of it stands still.
    #[serde(default)]
    pub hint: Option<String>,
    /// Counts the changes of its owner.
    pub epoch: u64,
    /// `settled`, `leaving` or `arriving`.
    pub owner_phase: String,
    /// libvirt domain type.
    pub virt_type: String,
    /// Version of the QEMU that runs it, whatever has been installed since; none where it
    /// does not run, or where its host does not tell.
    #[serde(default)]
    pub qemu_version: Option<String>,
    /// Architecture.
    pub arch: String,
    /// Machine type.
    pub machine: String,
    /// CPU mode.
    pub cpu_mode: String,
    /// CPU model.
    pub cpu_model: Option<String>,
    /// Memory the balloon leaves it, MiB.
    pub current_memory_mib: u64,
    /// Disks.
    pub disks: Vec<GuestDisk>,
    /// Network cards.
    pub nics: Vec<GuestNic>,
    /// When it last arrived by a move of Drover's.
    pub last_moved: Option<Time>,
    /// Newest value of every metric, by metric name.
    pub metrics: std::collections::BTreeMap<String, f64>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestDisk {
    /// Name in the guest.
    pub target: String,
    /// `file /path`, `block /path`, `iscsi name`, `volume pool/name`, `empty`.
    pub source: String,
    /// Read-only.
    pub readonly: bool,
    /// Cache mode.
    pub cache: Option<String>,
    /// What keeps a second copy of the guest from writing to it: `lease`, `image-lock`,
    /// `own-host`, `read-only` or `none`.
    #[serde(default)]
    pub protection: String,
    /// Why it is said to be so.
    #[serde(default)]
    pub protection_reason: String,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestNic {
    /// MAC address.
    pub mac: String,
    /// `bridge NAME`, `network NAME` or libvirt's type.
    pub source: String,
    /// IP addresses that it was heard to claim; a silent guest's are not known.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// How guests are moved. What is left out has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MigrateOptions {
    /// `live` (default), `cold` or `rescue`.
    pub mode: Option<String>,
    /// Longest pause, milliseconds, 1 to 2,000,000; default the guest's, which is 1,000 where
    /// nothing is said. A move begins with 300 at most.
    pub max_downtime_ms: Option<u64>,
    /// Cap, MiB/s; none means the link's speed.
    pub max_bandwidth_mib_s: Option<u64>,
    /// Encrypt what is sent; none means where both hosts have certificates for it.
    pub tls: Option<bool>,
    /// `never` (default), `allow` or `now`.
    pub post_copy: Option<String>,
    /// Slow the guest down where it dirties memory faster than it is sent.
    pub auto_converge: bool,
    /// Connections to send memory over, 2 to 255; none means one.
    pub parallel: Option<u32>,
    /// `xbzrle`, `zlib` or `zstd`; the last two need `parallel`.
    pub compress: Option<String>,
    /// Local disks: `none` (default), `full` or `top-layer`.
    pub storage: Option<String>,
    /// Directories of the source and what they are called on the target.
    pub storage_map: std::collections::BTreeMap<String, String>,
    /// Pause the guest for as long as it takes when nothing else ends the transfer.
    pub quickly_finish: bool,
    /// Give up after so long, seconds, from the start of the transfer; at least 1.
    pub timeout_s: Option<u64>,
    /// Leave copied disks on the target when the migration fails.
    pub keep_target_on_failure: bool,
    /// Do not compare the processors. Also lifts the constraint `cpu-model` for this request,
    /// which the answer tells where it would have refused.
    pub skip_cpu_check: bool,
    /// Do not compare the kernels.
    pub skip_kernel_check: bool,
    /// Start the guest after a cold migration.
    pub auto_start: bool,
}

/// What `POST /v1/guests/{guest}/migrate` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MigrateRequest {
    /// Host name or id; none lets the planner choose.
    pub to: Option<String>,
    /// How.
    pub options: MigrateOptions,
    /// For a rescue: whoever asks has made sure that the guest's host is switched off or cut
    /// off from its disks, and that it stays so until it starts anew.
    pub host_is_dead: bool,
    /// Only check and say where it would go.
    pub dry_run: bool,
}

/// What `POST /v1/guests/{guest}/migrate` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MigrateResponse {
    /// The operation; none for a dry run.
    pub operation: Option<super::Operation>,
    /// Plan with its reasons.
    pub plan: super::Plan,
    /// What a live move is expected to take.
    #[serde(default)]
    pub forecast: Option<super::Forecast>,
    /// What was found and does not block it: also better hosts that do not take the guest, and
    /// what was left out on the request's word.
    #[serde(default)]
    pub warnings: Vec<super::Finding>,
}
