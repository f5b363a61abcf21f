//! The power policy, and what it decided last.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What `PUT /v1/policies/power` takes. Durations are texts such as `15m`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPower {
    /// 1 wakes what the policy requires and parks nothing, 5 parks whatever saves anything.
    pub level: u8,
    /// Hosts awake beyond what the load needs. Default 0.
    #[serde(default)]
    pub reserve: u32,
    /// Hosts whose loss those that are awake must survive. Default 0; at most 8.
    #[serde(default)]
    pub survive_failures: u8,
    /// Times of the week: `park mon-fri 19:00-06:30` (parking is allowed then, and at no other
    /// time), `awake daily 08:00-18:00 4`, `awake sat,sun 08:00-12:00 all`.
    #[serde(default)]
    pub schedule: Vec<String>,
    /// Time zone of the schedule, such as `Europe/Berlin`. Default `UTC`.
    #[serde(default = "default_zone")]
    pub time_zone: String,
    /// Hosts that are neither parked nor woken.
    #[serde(default)]
    pub exclude_hosts: Vec<String>,
    /// A host stays on for at least so long. Default `30m`; 1 min to 24 h.
    #[serde(default = "default_min_on")]
    pub min_on: String,
    /// A host stays off for at least so long. Default `15m`; 1 min to 24 h.
    #[serde(default = "default_min_off")]
    pub min_off: String,
    /// Only say what would be done.
    #[serde(default)]
    pub suggest: bool,
}

fn default_zone() -> String {
    "UTC".to_owned()
}
fn default_min_on() -> String {
    "30m".to_owned()
}
fn default_min_off() -> String {
    "15m".to_owned()
}

/// The power policy that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PowerPolicy {
    /// What was asked for.
    #[serde(flatten)]
    pub spec: SetPower,
    /// What the level means.
    pub parameters: PowerParameters,
    /// When it was set.
    pub set: Time,
}

/// What a level means. Numbers are texts, so that they are shown as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PowerParameters {
    /// Percent of a host's CPU that load and reserve may fill.
    pub comfortable_cpu: u8,
    /// Percent of a host's memory that guests may fill.
    pub comfortable_memory: u8,
    /// Reserve, in standard deviations, below which a host is woken.
    pub wake_sigmas: String,
    /// Reserve, in standard deviations, that must remain when a host is parked.
    pub park_sigmas: String,
    /// How long the load must have been too high before a host is woken.
    pub up_window: String,
    /// How long a host must have been needless before it is parked.
    pub down_window: String,
    /// What parking saves must be so many times its cost.
    pub pay_back: String,
    /// Watts that each guest moved must save.
    pub watts_per_move: String,
}

/// What the power policy decided in its last turn, and on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerDecision {
    /// When.
    pub at: Time,
    /// 1 to 5.
    pub level: u8,
    /// Why nothing is done about it; none where it is.
    pub suggested_only: Option<String>,
    /// What it rests on.
    pub outlook: PowerOutlook,
    /// Hosts to wake.
    pub wakes: Vec<PowerWake>,
    /// Why one should be woken where none can.
    pub unmet: Option<String>,
    /// Hosts to park.
    pub parks: Vec<PowerPark>,
    /// Why nothing is parked in this turn; none where each host has its own answer.
    pub held: Option<String>,
    /// Hosts that stay on, and why.
    pub kept: Vec<PowerKept>,
    /// Hosts that were not looked at, or cannot be woken, and why.
    pub left_out: Vec<PowerKept>,
}

/// The load and what there is for it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerOutlook {
    /// Hosts that serve guests.
    pub hosts_on: usize,
    /// These, and hosts that are being woken.
    pub hosts_open: usize,
    /// Expected demand of all guests, cores.
    pub load_cores: f64,
    /// Its standard deviation, cores.
    pub deviation_cores: f64,
    /// Cores of the open hosts without those in reserve.
    pub capacity_cores: f64,
    /// Cores below which a host is woken.
    pub wake_below_cores: f64,
    /// Cores that must remain when a host is parked: the highest of the window.
    pub park_above_cores: f64,
    /// Memory of all guests, MiB.
    pub memory_mib: f64,
    /// Memory of the open hosts without those in reserve, MiB.
    pub memory_capacity_mib: f64,
    /// Highest mean load that history expects in the coming day, cores; none where it shows no
    /// pattern.
    pub expected_cores: Option<f64>,
    /// What the hosts that are on draw by their curves, W.
    pub watts: f64,
}

/// A host to wake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerWake {
    /// Host name.
    pub host: String,
    /// Why, with its numbers.
    pub why: String,
    /// When it should be ready.
    pub ready_by: Time,
    /// What it will draw while idle, W.
    pub idle_watts: f64,
    /// What this wake and the next parking cost, Wh.
    pub cost_wh: f64,
    /// Why it was not done; none where it was begun or only suggested.
    pub failure: Option<String>,
}

/// A host to park.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerPark {
    /// Host name.
    pub host: String,
    /// In one sentence.
    pub why: String,
    /// W saved.
    pub saved_watts: f64,
    /// What the moves, going down and coming back cost, Wh.
    pub cost_wh: f64,
    /// After so many seconds the cost is earned.
    pub pay_back_s: u64,
    /// How long it will probably sleep, seconds.
    pub stay_s: u64,
    /// What is saved over the stay, without the cost, kWh.
    pub saved_kwh: f64,
    /// Guests that leave, and hosts that have room for them.
    pub moves: Vec<PowerMove>,
    /// Why it was not done; none where it was begun or only suggested.
    pub failure: Option<String>,
}

/// A guest that leaves a host that is to be parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PowerMove {
    /// Guest name.
    pub guest: String,
    /// Name of a host with room for it.
    pub to: String,
}

/// A host that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PowerKept {
    /// Host name.
    pub host: String,
    /// Why.
    pub why: String,
}
