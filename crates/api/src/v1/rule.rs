//! Rules.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Plan, Time};

/// How samples of the period become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// Arithmetic mean.
    #[default]
    Mean,
    /// Largest sample.
    Max,
    /// Smallest sample.
    Min,
    /// 95th percentile (nearest rank).
    P95,
}

/// What a rule is made of. Durations are texts such as `2m` or `1h30m`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// `cpu.usage_active > 60`, `cpu.usage_active.gt 60`, `mem.available < 4GiB`,
    /// `power.watts > 250`, `power.package_watts > 150`.
    pub condition: String,
    /// Window over which samples are aggregated. Default `2m`; 10 s to 24 h.
    #[serde(default = "default_period")]
    pub period: String,
    /// Default `mean`.
    #[serde(default)]
    pub aggregate: Aggregate,
    /// Consecutive evaluations that must hold before it fires. Default 1; 1 to 100.
    #[serde(default = "default_evaluations")]
    pub evaluations: u32,
    /// Names of hosts to watch; none means all.
    #[serde(default)]
    pub source_hosts: Vec<String>,
    /// Names of hosts that guests may be moved to; none means all.
    #[serde(default)]
    pub target_hosts: Vec<String>,
    /// Names of guests that may be moved; none means all.
    #[serde(default)]
    pub guests: Vec<String>,
    /// Most moves of one plan. Default 4; 1 to 64.
    #[serde(default = "default_max_moves")]
    pub max_moves: u32,
    /// A guest that was moved stays for at least this long. Default `10m`; 0 s to 7 d.
    #[serde(default = "default_cooldown")]
    pub cooldown: String,
    /// Value at which the rule counts as cleared. Default: the threshold less 10 % of it
    /// (for `<`: plus 10 %).
    #[serde(default)]
    pub clear: Option<String>,
    /// Plan and record, but move nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// When no host that is awake takes the guests, wake a parked one of the target hosts.
    #[serde(default)]
    pub wake: bool,
}

fn default_period() -> String {
    "2m".to_owned()
}
fn default_cooldown() -> String {
    "10m".to_owned()
}
const fn default_evaluations() -> u32 {
    1
}
const fn default_max_moves() -> u32 {
    4
}

/// What `POST /v1/rules` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRule {
    /// Unique name: letters, digits, `-`, `_`, `.`; at most 63.
    pub name: String,
    /// The rule.
    pub spec: RuleSpec,
}

/// What `PATCH /v1/rules/{rule}` takes: fields that are present replace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateRule {
    /// As in [`RuleSpec`].
    pub condition: Option<String>,
    /// As in [`RuleSpec`].
    pub period: Option<String>,
    /// As in [`RuleSpec`].
    pub aggregate: Option<Aggregate>,
    /// As in [`RuleSpec`].
    pub evaluations: Option<u32>,
    /// As in [`RuleSpec`]; an empty list means all.
    pub source_hosts: Option<Vec<String>>,
    /// As in [`RuleSpec`]; an empty list means all.
    pub target_hosts: Option<Vec<String>>,
    /// As in [`RuleSpec`]; an empty list means all.
    pub guests: Option<Vec<String>>,
    /// As in [`RuleSpec`].
    pub max_moves: Option<u32>,
    /// As in [`RuleSpec`].
    pub cooldown: Option<String>,
    /// As in [`RuleSpec`].
    pub clear: Option<String>,
    /// As in [`RuleSpec`].
    pub dry_run: Option<bool>,
    /// As in [`RuleSpec`].
    pub wake: Option<bool>,
    /// Switches the rule on or off.
    pub enabled: Option<bool>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// Clear value that is in force.
    pub clear_value: f64,
    /// The rule.
    pub spec: RuleSpec,
    /// What it says of each host it watches.
    pub hosts: Vec<RuleHost>,
    /// When it was created.
    pub created: Time,
}

/// What a rule says of one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleHost {
    /// Host name.
    pub host: String,
    /// `clear`, `pending` (held, but not for long enough), `firing` or `unknown`.
    pub state: String,
    /// The metric over the window.
    pub value: Option<f64>,
    /// The value with its unit, or why there is none.
    pub shown: String,
    /// Since when it is in this state.
    pub since: Option<Time>,
    /// The value is an estimate: nobody measures this host's power.
    #[serde(default)]
    pub estimate: bool,
}

/// What `POST /v1/rules/{rule}/test` answers: an evaluation now, nothing is moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleTest {
    /// Each watched host with its value.
    pub hosts: Vec<RuleHost>,
    /// Whether it would fire now, were each host's condition held for long enough.
    pub would_fire: bool,
    /// What would be done.
    pub plan: Option<Plan>,
    /// For a rule that may wake hosts and finds no move: which host would be woken, or why
    /// none.
    #[serde(default)]
    pub wake: Option<String>,
}
