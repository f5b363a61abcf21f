//! Counts while a run goes on.

use std::time::Duration;

use drover_model::Metric;

use crate::report::{ClusterPoint, Figures, HostSeries, MAX_POINTS, MoveReport, RunReport};
use crate::settings::Settings;

/// Less than this part of a core is rounding.
const NOTHING: f64 = 1e-6;

/// A host in one turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostTurn {
    pub(crate) percent: f64,
    pub(crate) watts: f64,
    pub(crate) over: bool,
}

/// A guest in one turn, cores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuestTurn {
    pub(crate) runs: bool,
    pub(crate) wants: f64,
    pub(crate) gets: f64,
}

/// Sums of one host.
#[derive(Debug, Clone, Default)]
struct HostSum {
    cpu: f64,
    watts: f64,
    over_for: Duration,
    series: (Vec<f64>, Vec<f64>, Vec<usize>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tally {
    figures: Figures,
    /// Turns in which a host was over, a guest was short, a guest was down.
    over: u64,
    short: u64,
    down: u64,
    interval: Duration,
    /// Turns that make one point of the series, and how many of the present point are done.
    turns_per_point: u64,
    turns: u64,
    point: ClusterPoint,
    points: Vec<ClusterPoint>,
    hosts: Vec<HostSum>,
    longest: (Duration, usize),
    watt_seconds: f64,
}

impl Tally {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            figures: Figures::default(),
            over: 0,
            short: 0,
            down: 0,
            interval: settings.interval,
            turns_per_point: settings.ticks().div_ceil(MAX_POINTS as u64).max(1),
            turns: 0,
            point: ClusterPoint::default(),
            points: Vec::new(),
            hosts: vec![HostSum::default(); settings.cluster.hosts().len()],
            longest: (Duration::ZERO, 0),
            watt_seconds: 0.0,
        }
    }

    pub(crate) const fn fired(&mut self) {
        self.figures.firings += 1;
    }

    pub(crate) const fn planned(&mut self) {
        self.figures.plans += 1;
    }

    pub(crate) const fn found_no_move(&mut self) {
        self.figures.turns_without_a_move += 1;
    }

    pub(crate) const fn failed_host(&mut self) {
        self.figures.host_failures += 1;
    }

    pub(crate) const fn restarted(&mut self) {
        self.figures.restarts += 1;
    }

    /// One turn of one host.
    pub(crate) fn host(&mut self, number: usize, turn: HostTurn) {
        let seconds = self.interval.as_secs_f64();
        self.watt_seconds += turn.watts * seconds;
        let host = &mut self.hosts[number];
        host.cpu += turn.percent;
        host.watts += turn.watts;
        if turn.over {
            host.over_for += self.interval;
            self.over += 1;
            if host.over_for > self.longest.0 {
                self.longest = (host.over_for, number);
            }
        } else {
            host.over_for = Duration::ZERO;
        }
        self.point.watts += turn.watts;
        self.point.highest_cpu_percent = self.point.highest_cpu_percent.max(turn.percent);
    }

    /// One turn of one guest.
    pub(crate) fn guest(&mut self, turn: GuestTurn) {
        let minutes = self.interval.as_secs_f64() / 60.0;
        self.point.wanted_cores += turn.wants;
        self.point.given_cores += turn.gets;
        if !turn.runs {
            self.down += 1;
            return;
        }
        let short = turn.wants - turn.gets;
        if short > NOTHING {
            self.short += 1;
            self.figures.unserved_core_minutes += short * minutes;
        }
    }

    /// CPU that a guest lost while it moved, core-seconds.
    pub(crate) fn lost_to_a_move(&mut self, core_seconds: f64) {
        self.figures.lost_to_moves_core_minutes += core_seconds / 60.0;
    }

    /// The turn is over.
    pub(crate) fn turn(&mut self, now: Duration, guests: &[usize], over: usize) {
        if self.turns == 0 {
            self.point.at_s = now.as_secs_f64();
        }
        self.point.hosts_over = self.point.hosts_over.max(over);
        self.turns += 1;
        if self.turns == self.turns_per_point {
            self.end_point(guests);
        }
    }

    fn end_point(&mut self, guests: &[usize]) {
        let turns = self.turns as f64;
        for (host, guests) in self.hosts.iter_mut().zip(guests) {
            host.series.0.push(host.cpu / turns);
            host.series.1.push(host.watts / turns);
            host.series.2.push(*guests);
            (host.cpu, host.watts) = (0.0, 0.0);
        }
        let point = ClusterPoint {
            watts: self.point.watts / turns,
            wanted_cores: self.point.wanted_cores / turns,
            given_cores: self.point.given_cores / turns,
            ..self.point
        };
        self.points.push(point);
        self.point = ClusterPoint::default();
        self.turns = 0;
    }

    /// The report.
    pub(crate) fn report(
        self,
        settings: &Settings,
        moves: Vec<MoveReport>,
        violations: Vec<String>,
    ) -> RunReport {
        let specs = settings.cluster.hosts();
        let completed = moves.iter().filter(|one| one.state == "completed").count();
        let unfinished = moves.iter().filter(|one| one.ended_s.is_none()).count();
        let longest = self.longest.0;
        let minutes = |turns: u64| turns as f64 * settings.interval.as_secs_f64() / 60.0;
        let figures = Figures {
            moves: completed,
            unfinished_moves: unfinished,
            failed_moves: moves.len() - completed - unfinished,
            // A sum of nothing is -0.0 (IEEE 754).
            sent_gib: moves.iter().map(|one| one.sent_mib).sum::<f64>() / 1024.0 + 0.0,
            overload_host_minutes: minutes(self.over),
            short_guest_minutes: minutes(self.short),
            down_guest_minutes: minutes(self.down),
            longest_overload_minutes: longest.as_secs_f64() / 60.0,
            longest_overload_host: (longest > Duration::ZERO)
                .then(|| specs[self.longest.1].name.clone()),
            energy_kwh: self.watt_seconds / 3_600_000.0,
            ..self.figures
        };
        let host_series = self.hosts.into_iter().zip(specs).map(|(sum, spec)| HostSeries {
            host: spec.name.clone(),
            cpu_percent: sum.series.0,
            watts: sum.series.1,
            guests: sum.series.2,
        });
        RunReport {
            seed: settings.seed,
            start_ms: settings.start.as_millis(),
            duration_s: (settings.interval * u32::try_from(settings.ticks()).unwrap_or(u32::MAX))
                .as_secs_f64(),
            interval_s: settings.interval.as_secs_f64(),
            hosts: specs.len(),
            guests: settings.cluster.guests().len(),
            judged_by: settings.judges.iter().map(|rule| rule.condition.to_string()).collect(),
            cpu_threshold_percent: settings
                .judges
                .iter()
                .filter(|rule| rule.condition.metric == Metric::CpuUsageActive)
                .map(|rule| rule.condition.threshold)
                .min_by(f64::total_cmp),
            figures,
            moves,
            violations,
            cluster_series: self.points,
            host_series: host_series.collect(),
        }
    }
}
