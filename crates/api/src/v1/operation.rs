//! Operations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// One operation: today always the migration of one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Id.
    pub id: String,
    /// `migrate`.
    pub kind: String,
    /// `live`, `cold` or `rescue`.
    pub mode: String,
    /// Whether what is sent is encrypted, once that is decided.
    pub encrypted: Option<bool>,
    /// Longest pause that QEMU may plan, milliseconds, as of now.
    pub max_downtime_ms: u64,
    /// Cap on the transfer, MiB/s, as of now.
    pub max_bandwidth_mib_s: Option<u64>,
    /// Other options that it is moved with, as `drover guest migrate` has them, without dashes.
    #[serde(default)]
    pub options: Vec<String>,
    /// Guest name.
    pub guest: String,
    /// Host name.
    pub from: String,
    /// Host name.
    pub to: String,
    /// `admitted`, `offering`, `transferring`, `cancelling`, `post-copy`, `defining`,
    /// `resuming`, `cleaning-up`, `returning`, `completed`, `cancelled` or `failed`.
    pub state: String,
    /// Whether it is over.
    pub finished: bool,
    /// `rule NAME`, `policy NAME`, `request of TOKEN` or `drain of HOST`.
    pub cause: String,
    /// The plan it belongs to.
    pub plan: Option<String>,
    /// When it was created.
    pub created: Time,
    /// When its state last changed.
    pub changed: Time,
    /// Last progress heard.
    pub progress: Option<Progress>,
    /// Whether the target measures how long the network sees nothing of the guest.
    pub probed: bool,
    /// What was measured, once it is completed.
    pub outcome: Option<Outcome>,
    /// Why it failed, and what to do.
    pub failure: Option<String>,
    /// The states it went through.
    pub timeline: Vec<Step>,
    /// What the source did to bring the transfer to its end, and why.
    #[serde(default)]
    pub notes: Vec<super::Note>,
    /// What it was expected to take.
    #[serde(default)]
    pub forecast: Option<super::Forecast>,
    /// How far that was off, once it is completed.
    #[serde(default)]
    pub forecast_error: Option<super::ForecastError>,
    /// Hosts that may still hold something of the guest from this move: the source a definition
    /// or disks, the target a paused copy. Each is cleaned up as soon as it answers, also after
    /// the end; what is defined there by hand before that goes too.
    #[serde(default)]
    pub unclean_hosts: Vec<String>,
    /// Where it is in the queue, while it is `admitted`.
    #[serde(default)]
    pub queue: Option<QueuePlace>,
}

/// A place in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuePlace {
    /// From 1.
    pub position: u32,
    /// How many wait in all.
    pub of: u32,
    /// `evacuation`, `request`, `relief`, `balance` or `consolidation`: the order of classes.
    pub class: String,
    /// What it waits for; none when it is about to begin.
    pub waits_for: Option<String>,
}

/// A state and when it was entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// The state.
    pub state: String,
    /// When.
    pub at: Time,
}

/// Progress of a running migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// 0 to 100; moves back when the guest dirties memory.
    pub percent: f64,
    /// Bytes sent or found to be zero pages.
    pub processed_bytes: u64,
    /// Bytes still to send.
    pub remaining_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes of memory that the guest dirties in one second.
    pub dirty_bytes_per_second: u64,
    /// Bytes sent in one second.
    pub throughput_bytes_per_second: u64,
    /// Passes over the memory so far.
    pub iteration: u32,
    /// Time since the job began, milliseconds.
    pub elapsed_ms: u64,
}

/// What a completed migration measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// libvirt's job from start to end, milliseconds.
    pub total_ms: u64,
    /// The pause that QEMU reports for the switch-over, milliseconds.
    pub downtime_ms: Option<u64>,
    /// Bytes sent, where libvirt told.
    pub transferred_bytes: Option<u64>,
    /// Passes over the memory, where libvirt told.
    pub iterations: Option<u32>,
    /// From the proof that the source's copy is gone to the target running,
    /// milliseconds, by the controller's clock.
    pub handover_ms: Option<u64>,
    /// How long the network saw nothing of the guest around the switch-over, milliseconds, as
    /// measured by the target; it comes about a second after the rest.
    pub blackout_ms: Option<u64>,
}

/// What `PATCH /v1/operations/{operation}` takes: what changes in a live migration that is
/// under way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdjustRequest {
    /// Longest pause that QEMU may plan, milliseconds, 1 to 2,000,000.
    pub max_downtime_ms: Option<u64>,
    /// Cap on the transfer, MiB/s.
    pub max_bandwidth_mib_s: Option<u64>,
    /// Lift the cap.
    pub no_bandwidth_cap: bool,
    /// Switch to post-copy now. A transfer that was not begun with post-copy starts anew.
    pub post_copy_now: bool,
}
