//! The dated picture of the cluster that a decision is made on.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use drover_model::{
    BmcProtocol, ClusterView, GuestView, Host, HostId, HostView, InFlightMove, Metric, PowerLine,
    PowerSource, Reading, Timestamp,
};
use drover_ports::{Entity, History, HistoryError};
use drover_rules::{Aggregate, WindowSpec, aggregate};

use crate::power::is_measured;
use crate::records::{HostRecord, Tables};

/// Metrics of hosts that decisions look at.
const HOST_METRICS: [Metric; 4] =
    [Metric::CpuUsageActive, Metric::MemAvailable, Metric::PowerWatts, Metric::PowerPackageWatts];
/// Metrics of guests that decisions look at.
const GUEST_METRICS: [Metric; 2] = [Metric::GuestCpuCores, Metric::GuestResident];

/// Which window the picture's values are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Length.
    pub period: Duration,
    /// How.
    pub aggregate: Aggregate,
    /// Time between two samples of a healthy agent.
    pub sample_interval: Duration,
}

impl Over {
    /// How far back samples may count.
    pub fn reach(&self) -> Duration {
        self.window(None).reach()
    }

    const fn window(self, not_before: Option<Timestamp>) -> WindowSpec {
        let Self { period, aggregate, sample_interval } = self;
        WindowSpec { period, aggregate, sample_interval, not_before }
    }
}

/// Samples by entity and metric, oldest first.
pub type Samples = HashMap<Entity, BTreeMap<Metric, Vec<(Timestamp, f64)>>>;

/// Samples of the whole cluster, oldest first, by entity and metric.
pub async fn samples(
    history: &dyn History,
    now: Timestamp,
    period: Duration,
) -> Result<Samples, HistoryError> {
    let mut all = Samples::new();
    for point in history.window(now.minus(period), now).await? {
        let of = all.entry(point.entity).or_default();
        for (metric, value) in point.values {
            of.entry(metric).or_default().push((point.at, value));
        }
    }
    Ok(all)
}

/// Puts records and samples together.
pub fn cluster_view(tables: &Tables, samples: &Samples, now: Timestamp, over: Over) -> ClusterView {
    let hosts = tables
        .hosts
        .iter()
        .map(|record| {
            let id = record.host.id;
            let readings = host_readings(samples, id, now, over, record.disturbed);
            (id, HostView { host: host(tables, record), readings, lines: lines(tables, id) })
        })
        .collect();
    let guests = tables
        .guests
        .iter()
        .filter(|record| !record.absent)
        .map(|record| {
            let id = record.guest.id;
            let view = GuestView {
                guest: record.guest.clone(),
                readings: readings(samples, Entity::Guest(id), &GUEST_METRICS, now, over, None),
                last_moved: record.last_moved,
            };
            (id, view)
        })
        .collect();
    ClusterView { at: now, hosts, guests, in_flight: in_flight(tables) }
}

/// What a host draws by its CPU use, as far as it has been learned.
pub fn lines(tables: &Tables, host: HostId) -> BTreeMap<Metric, PowerLine> {
    tables.power_lines.get(host).map(|record| record.lines.clone()).unwrap_or_default()
}

/// Whether a metric's values of a host are estimates and no measurements.
pub fn is_estimate(tables: &Tables, host: HostId, metric: Metric) -> bool {
    let record = tables.hosts.get(host);
    record.is_some_and(|record| self::host(tables, record).capabilities.is_estimate(metric))
}

/// A host, with its BMC as the first source of its watts where the controller asks it.
fn host(tables: &Tables, record: &HostRecord) -> Host {
    let mut host = record.host.clone();
    let settings = tables.power.get(host.id).map(|record| &record.settings);
    let bmc = settings.and_then(|settings| settings.bmc.as_ref());
    if let Some(bmc) = bmc.filter(|_| is_measured(tables, host.id)) {
        let source = match bmc.protocol {
            BmcProtocol::Ipmi => PowerSource::Ipmi,
            BmcProtocol::Redfish => PowerSource::Redfish,
        };
        host.capabilities.power_sources.insert(0, source);
    }
    host
}

/// Readings of one host; samples before `not_before` do not count.
pub fn host_readings(
    samples: &Samples,
    host: HostId,
    now: Timestamp,
    over: Over,
    not_before: Option<Timestamp>,
) -> BTreeMap<Metric, Reading> {
    readings(samples, Entity::Host(host), &HOST_METRICS, now, over, not_before)
}

fn readings(
    samples: &Samples,
    entity: Entity,
    metrics: &[Metric],
    now: Timestamp,
    over: Over,
    not_before: Option<Timestamp>,
) -> BTreeMap<Metric, Reading> {
    let spec = over.window(not_before);
    let of = samples.get(&entity);
    let series = |metric| of.and_then(|of| of.get(metric)).map_or(&[][..], Vec::as_slice);
    metrics.iter().map(|metric| (*metric, aggregate(series(metric), now, &spec))).collect()
}

/// Moves that have begun and not ended.
pub fn in_flight(tables: &Tables) -> Vec<InFlightMove> {
    tables
        .operations
        .iter()
        .filter(|operation| !operation.migration.state.is_finished())
        .map(|operation| InFlightMove {
            operation: operation.migration.operation,
            guest: operation.migration.guest,
            from: operation.migration.from,
            to: operation.migration.to,
        })
        .collect()
}
