//! Hosts that are emptied, several guests at once, and how much may be under way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{MigrateOptions, MoveWarnings, Operation, Plan, Time};

/// What `PUT /v1/hosts/{host}/maintenance` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrainRequest {
    /// Guests go to hosts with all of these labels only; empty means to any.
    pub to_labels: BTreeMap<String, String>,
    /// Also when some guests cannot leave: the others do.
    pub partial: bool,
    /// How guests are moved.
    pub options: MigrateOptions,
    /// Only say whether the host can be emptied, and how.
    pub dry_run: bool,
}

/// What `PUT /v1/hosts/{host}/maintenance` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainResponse {
    /// Whether the host can be emptied.
    pub certificate: DrainCertificate,
    /// What has begun; none for a dry run.
    pub maintenance: Option<HostMaintenance>,
}

/// Whether a host can be emptied: checked for every moment of the moves, while guests hold
/// memory on both hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainCertificate {
    /// Host name.
    pub host: String,
    /// Whether every guest that is to leave can.
    pub feasible: bool,
    /// Guests that are to leave.
    pub guests: u32,
    /// Moves, those of guests elsewhere that make room included.
    pub moves: u32,
    /// Bytes to send.
    pub bytes: u64,
    /// Forecast, seconds: the bytes over the host's link.
    pub seconds: f64,
    /// Guests that cannot leave.
    pub blocked: Vec<BlockedGuest>,
    /// Guests that stay: they are shut off.
    pub stays: Vec<String>,
    /// The moves. Those of one batch need nothing of each other; the limits say how many of
    /// them are made at once.
    pub batches: Vec<Vec<DrainMove>>,
    /// Moves of which their hosts did not tell in time whether they can be made: they are asked
    /// when their turn comes. The hosts of all others have nothing against them.
    pub unasked: u32,
    /// What was found and blocks nothing.
    pub warnings: Vec<MoveWarnings>,
}

/// One move of a drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainMove {
    /// Guest name.
    pub guest: String,
    /// Host name.
    pub from: String,
    /// Host name.
    pub to: String,
    /// Bytes to send.
    pub bytes: u64,
}

/// A guest that does not get away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockedGuest {
    /// Guest name.
    pub guest: String,
    /// Every reason, with the host that it is about.
    pub reasons: Vec<String>,
    /// How often its move failed.
    pub failures: u32,
}

/// A host that is to be empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostMaintenance {
    /// `draining` or `drained`.
    pub state: String,
    /// Who asked for it.
    pub asked_by: String,
    /// Since when.
    pub since: Time,
    /// When its last guest left.
    pub drained: Option<Time>,
    /// Where guests may go; empty means to any host.
    pub to_labels: BTreeMap<String, String>,
    /// Guests that were to leave at the start.
    pub guests: u32,
    /// Guests that have left.
    pub moved: u32,
    /// Guests that are still to leave.
    pub left: u32,
    /// Of these, those that are being moved.
    pub under_way: u32,
    /// Of these, those whose move waits for its turn.
    pub queued: u32,
    /// Memory of the guests that have left, bytes.
    pub bytes_moved: u64,
    /// Memory that is still to leave, bytes.
    pub bytes_left: u64,
    /// Memory that leaves in a second, measured over the moves that have ended.
    pub bytes_per_second: Option<u64>,
    /// When it will be over at this rate; none while nothing is measured or guests hang.
    pub estimated_end: Option<Time>,
    /// Guests that do not get away. They are looked at again, but do not count on it.
    pub hanging: Vec<BlockedGuest>,
    /// Guests that stay: they are shut off.
    pub stays: Vec<String>,
}

/// What `POST /v1/migrations` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MigrateSeveralRequest {
    /// Names or ids. Either these or `from`.
    pub guests: Vec<String>,
    /// All running guests of this host.
    pub from: Option<String>,
    /// Host name or id; none lets the planner choose for each.
    pub to: Option<String>,
    /// Move those that can be moved, also when others cannot.
    pub skip_refused: bool,
    /// How.
    pub options: MigrateOptions,
    /// Only check and say where they would go.
    pub dry_run: bool,
}

/// What `POST /v1/migrations` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MigrateSeveralResponse {
    /// One for each guest of the plan's first batch; later batches begin by themselves.
    pub operations: Vec<Operation>,
    /// Guests that are not moved.
    pub refused: Vec<BlockedGuest>,
    /// One plan over all of them.
    pub plan: Plan,
    /// What was found and does not block: of moves that were looked at, those with any.
    #[serde(default)]
    pub warnings: Vec<super::MoveWarnings>,
}

/// `GET` and `PUT /v1/limits`: migrations at once. A number that is left out of a `PUT` has its
/// default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// That leave one host; default 2, 1 to 64. More share its link, and a guest whose memory
    /// is sent slowly dirties more of it meanwhile.
    pub out_per_host: Option<u32>,
    /// That come to one host; default 2, 1 to 64.
    pub in_per_host: Option<u32>,
    /// Between the same two hosts, whichever way; default 2, 1 to 64. Lower it where hosts are
    /// joined by a thin line.
    pub per_link: Option<u32>,
    /// In the whole cluster; 1 to 1024. Default: half as many as there are hosts, at least 8.
    pub per_cluster: Option<u32>,
}

/// The limits in force and what they are used for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsInForce {
    /// That leave one host.
    pub out_per_host: u32,
    /// That come to one host.
    pub in_per_host: u32,
    /// Between the same two hosts.
    pub per_link: u32,
    /// In the whole cluster.
    pub per_cluster: u32,
    /// Whether the last follows from the number of hosts.
    pub per_cluster_by_size: bool,
    /// Migrations under way.
    pub under_way: u32,
    /// Migrations that wait for their turn.
    pub queued: u32,
}
