//! What a run gives, in units that its names say.

use drover_model::Name;
use drover_planner::PlannedMove;
use serde::Serialize;

/// Most points of a series in a report: what a page can show.
pub const MAX_POINTS: usize = 480;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// What all chance came from.
    pub seed: u64,
    /// When it began, milliseconds since 1970 UTC; 0 for a trace without dates.
    pub start_ms: i64,
    /// Length, seconds.
    pub duration_s: f64,
    /// Between two samples, seconds.
    pub interval_s: f64,
    /// Hosts.
    pub hosts: usize,
    /// Guests.
    pub guests: usize,
    /// The conditions by which overload is judged.
    pub judged_by: Vec<String>,
    /// The lowest CPU threshold among them, percent.
    pub cpu_threshold_percent: Option<f64>,
    /// The figures.
    pub figures: Figures,
    /// Every move in the order of time.
    pub moves: Vec<MoveReport>,
    /// What must hold and did not; empty unless there is a fault in Drover.
    pub violations: Vec<String>,
    /// The cluster over time.
    pub cluster_series: Vec<ClusterPoint>,
    /// Each host over time.
    pub host_series: Vec<HostSeries>,
}

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Figures {
    /// Moves that brought a guest to its target.
    pub moves: usize,
    /// Moves that did not.
    pub failed_moves: usize,
    /// Moves that the end of the run cut off.
    pub unfinished_moves: usize,
    /// Memory sent, GiB.
    pub sent_gib: f64,
    /// Times that a rule began to fire on a host.
    pub firings: u64,
    /// Plans with moves.
    pub plans: u64,
    /// Evaluations that found no move although the rule fired.
    pub turns_without_a_move: u64,
    /// Host-minutes over a threshold.
    pub overload_host_minutes: f64,
    /// The longest time that one host stayed over a threshold, minutes.
    pub longest_overload_minutes: f64,
    /// Which host.
    pub longest_overload_host: Option<Name>,
    /// Guest-minutes in which a guest got less CPU than it wanted because its host was full.
    pub short_guest_minutes: f64,
    /// CPU that guests wanted and did not get because their host was full, core-minutes.
    pub unserved_core_minutes: f64,
    /// CPU that guests lost while they moved, core-minutes.
    pub lost_to_moves_core_minutes: f64,
    /// Guest-minutes in which a guest ran nowhere.
    pub down_guest_minutes: f64,
    /// Hosts that died.
    pub host_failures: u64,
    /// Guests that were started again with their hosts.
    pub restarts: u64,
    /// Energy of all hosts, kWh.
    pub energy_kwh: f64,
}

/// One move.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MoveReport {
    /// When it began, seconds since the start.
    pub began_s: f64,
    /// When it ended.
    pub ended_s: Option<f64>,
    /// The guest.
    pub guest: Name,
    /// Source.
    pub from: Name,
    /// Target.
    pub to: Name,
    /// The state of its operation at the end.
    pub state: String,
    /// Why it failed.
    pub failure: Option<String>,
    /// The rule or the recorded cause.
    pub cause: String,
    /// Why this guest.
    pub why: String,
    /// Memory sent, MiB.
    pub sent_mib: f64,
    /// What the plan expected and what was measured one period later.
    pub forecast: Option<Forecast>,
}

/// Expected and measured values of the metric that was planned on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// The metric.
    pub metric: String,
    /// Source before.
    pub from_before: f64,
    /// Source as expected.
    pub from_expected: f64,
    /// Source as measured; none when it could not be or the plan failed.
    pub from_measured: Option<f64>,
    /// Target before.
    pub to_before: f64,
    /// Target as expected.
    pub to_expected: f64,
    /// Target as measured.
    pub to_measured: Option<f64>,
}

impl Forecast {
    /// What a plan expects.
    pub(crate) fn of(step: &PlannedMove) -> Self {
        Self {
            metric: step.metric.to_string(),
            from_before: step.from.0,
            from_expected: step.from.1,
            from_measured: None,
            to_before: step.to.0,
            to_expected: step.to.1,
            to_measured: None,
        }
    }
}

/// The cluster over a part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct ClusterPoint {
    /// Where the part begins, seconds since the start.
    pub at_s: f64,
    /// Mean power, watts.
    pub watts: f64,
    /// The highest CPU use of any host, percent.
    pub highest_cpu_percent: f64,
    /// Most hosts that were over a threshold at once.
    pub hosts_over: usize,
    /// CPU that guests wanted, mean, cores.
    pub wanted_cores: f64,
    /// CPU that guests got, mean, cores.
    pub given_cores: f64,
}

/// One host over time; parts as in the cluster's series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostSeries {
    /// The host.
    pub host: Name,
    /// Mean CPU use, percent.
    pub cpu_percent: Vec<f64>,
    /// Mean power, watts.
    pub watts: Vec<f64>,
    /// Guests at the end of the part.
    pub guests: Vec<usize>,
}

/// Two runs over the same trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What the first run is: `recorded` or `nobody moves`.
    pub before_is: String,
    /// The first run.
    pub before: RunReport,
    /// What the second run is: the rules' names.
    pub after_is: String,
    /// The second run.
    pub after: RunReport,
    /// What the comparison takes for granted.
    pub assumptions: Vec<String>,
}
