//! What hosts draw: by their CPU use, over time, and together.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// Query of `GET /v1/hosts/{host}/power-curve`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PowerCurveQuery {
    /// `power.watts` (the default) or `power.package_watts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
}

/// What a host draws by its CPU use: a line through what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerCurve {
    /// Host name.
    pub host: String,
    /// Metric name.
    pub metric: String,
    /// Watts at rest.
    pub idle_watts: f64,
    /// Watts with every core busy.
    pub full_watts: f64,
    /// Watts that one busy core more adds.
    pub watts_per_core: f64,
    /// `learned` (fitted to this host's measurements), `scaled` (the usual shape of a server
    /// through what was measured) or `default` (nothing was measured: by its cores alone).
    pub basis: String,
    /// Why it is not learned, where it is not.
    pub why_not_learned: Option<String>,
    /// Moments with both CPU use and watts that it rests on.
    pub moments: u32,
    /// Lowest CPU use among them, percent.
    pub least_use_percent: Option<f64>,
    /// Highest CPU use among them, percent.
    pub most_use_percent: Option<f64>,
    /// Half of the moments are at most so many watts off the line.
    pub error_watts: Option<f64>,
    /// What was looked at: `5m` buckets of a week, or `1m` of a day where that tells more.
    pub resolution: String,
    /// The watts are an estimate themselves: nobody measures this host's power.
    pub estimate: bool,
    /// Medians of what was measured, by CPU use.
    pub measured: Vec<PowerPoint>,
    /// When it was looked at.
    pub at: Time,
}

/// What was measured at about one CPU use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerPoint {
    /// Median CPU use, percent.
    pub use_percent: f64,
    /// Median watts.
    pub watts: f64,
    /// Moments.
    pub moments: u32,
}

/// Query of `GET /v1/power/report`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PowerReportQuery {
    /// How many days back, today included; default 30, at most 366. Days are those of UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Grams of CO2 of a kilowatt hour, as the supplier states them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub co2: Option<f64>,
    /// Only this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// What hosts have drawn, and what parking has saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerReport {
    /// Begin.
    pub from: Time,
    /// End.
    pub to: Time,
    /// History that it rests on: `5m` or `1h` buckets.
    pub resolution: String,
    /// How long history is kept, in words.
    pub retention: String,
    /// Grams of CO2 of a kilowatt hour that were reckoned with.
    pub co2_g_per_kwh: Option<f64>,
    /// All hosts, all days.
    pub total: Energy,
    /// Each host.
    pub hosts: Vec<HostEnergy>,
    /// Each day of all hosts.
    pub days: Vec<DayEnergy>,
    /// Each month of all hosts, as far as its days are in the span.
    pub months: Vec<DayEnergy>,
}

/// Energy, and how much of the time it speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Energy {
    /// Kilowatt hours drawn, as far as they were measured.
    pub kwh: f64,
    /// Hours of hosts in which it was measured.
    pub measured_hours: f64,
    /// Hours of hosts that were parked.
    pub parked_hours: f64,
    /// Hours of hosts of which nothing is known: they count as nothing drawn.
    pub gap_hours: f64,
    /// Kilowatt hours that parking has saved, against hosts that are always on and at rest
    /// meanwhile; none where no host was parked.
    pub saved_kwh: Option<f64>,
    /// What a parked host draws at rest was not measured: that part is reckoned with the usual
    /// shape of a power curve.
    #[serde(default)]
    pub saved_is_estimate: bool,
    /// Kilograms of CO2 of what was drawn.
    pub co2_kg: Option<f64>,
    /// Kilograms of CO2 of what was saved.
    pub saved_co2_kg: Option<f64>,
}

/// Energy of a day or a month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DayEnergy {
    /// `2026-11-21` or `2026-11`, UTC.
    pub date: String,
    /// Its energy.
    #[serde(flatten)]
    pub energy: Energy,
}

/// Energy of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostEnergy {
    /// Its name.
    pub host: String,
    /// Its watts are estimates from CPU use now: nobody measures them.
    pub estimate: bool,
    /// What it draws at rest, as it was learned.
    pub idle_watts: Option<f64>,
    /// Its energy over the span.
    #[serde(flatten)]
    pub energy: Energy,
    /// Its days; left out where there are more than 20,000 of all hosts together.
    pub days: Vec<DayEnergy>,
}

/// What `PUT /v1/policies/power-caps/{name}` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPowerCap {
    /// The hosts: `label=rack:1` for all that have this label, also later ones; or the names
    /// of hosts.
    pub hosts: Vec<String>,
    /// The most that they may draw together, watts.
    pub watts: f64,
    /// Window over which their draw is averaged. Default `1m`; 10 s to 24 h.
    #[serde(default = "default_window")]
    pub window: String,
    /// Most moves of one plan. Default 4; 1 to 64.
    #[serde(default = "default_most_moves")]
    pub max_moves: u32,
}

fn default_window() -> String {
    "1m".to_owned()
}
const fn default_most_moves() -> u32 {
    4
}

/// A cap of what a group of hosts may draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerCap {
    /// Its name.
    pub name: String,
    /// What was asked for.
    #[serde(flatten)]
    pub spec: SetPowerCap,
    /// The hosts that are in it now.
    pub members: Vec<String>,
    /// What they draw now; none where that is not known of one of them.
    pub drawn_watts: Option<f64>,
    /// When it was set.
    pub set: Time,
}
