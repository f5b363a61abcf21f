//! The cluster as a request sees it: measured over few samples, whatever was moved lately, with
//! what has arrived since booked on top.

use std::time::Duration;

use drover_model::{ClusterView, Metric, MigrationSettings, Reading, Timestamp};
use drover_ports::{History, HistoryError};
use drover_rules::{Aggregate, Initiative, PlacementPolicy, Projection};

use crate::placement::standing;
use crate::preflight::memory::on_the_way;
use crate::reconcile::rules::ceilings;
use crate::records::{Records, Tables};
use crate::view::{Over, Samples, cluster_view, host_readings, samples};

/// Fresh values, not steady ones, over so many of the newest samples.
const SAMPLES: u32 = 2;

/// A cluster that is looked at, and what every plan over it must keep.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The cluster.
    pub view: ClusterView,
    /// What must be kept.
    pub placement: PlacementPolicy,
}

impl Picture {
    /// The same for moves that somebody else wants than Drover itself.
    pub fn wanted_by(self, initiative: Initiative) -> Self {
        Self { placement: PlacementPolicy { initiative, ..self.placement }, ..self }
    }

    /// The same for moves with these settings.
    pub fn under(self, settings: &MigrationSettings) -> Self {
        Self { placement: on_the_way(self.placement, settings), ..self }
    }
}

/// Looks at the cluster for moves that somebody asked for.
pub async fn look(
    records: &Records,
    history: &dyn History,
    now: Timestamp,
    sample_interval: Duration,
) -> Result<Picture, HistoryError> {
    let period = sample_interval * SAMPLES;
    let series: Samples = samples(history, now, period * 2).await?;
    let over = Over { period, aggregate: Aggregate::Mean, sample_interval };
    let tables = records.read();
    let mut view = cluster_view(&tables, &series, now, over);
    for record in tables.hosts.iter().filter(|record| record.disturbed.is_some()) {
        let Some(host) = view.hosts.get_mut(&record.host.id) else { continue };
        host.readings = host_readings(&series, record.host.id, now, over, None);
    }
    book_arrivals(&tables, &mut view, period);
    let placement = PlacementPolicy { ceilings: ceilings(&tables), ..standing(&tables) };
    Ok(Picture { view, placement })
}

/// Guests that arrived within the window are not wholly in what was measured over it: they
/// are counted in full. What their sources got back is not, until it is measured.
fn book_arrivals(tables: &Tables, view: &mut ClusterView, period: Duration) {
    let now = view.at;
    let arrived = tables.guests.iter().filter(|record| {
        !record.absent && record.last_moved.is_some_and(|at| now.since(at) <= period)
    });
    for record in arrived {
        let (guest, host) = (record.guest.id, record.guest.host);
        let memory = Projection::of(view).memory_demand(guest);
        let cores = view.guest_value(guest, Metric::GuestCpuCores).unwrap_or_default();
        let Some(seen) = view.hosts.get_mut(&host) else { continue };
        let all = seen.host.capabilities.cores.0.max(f64::MIN_POSITIVE);
        add(seen.readings.get_mut(&Metric::MemAvailable), -memory);
        add(seen.readings.get_mut(&Metric::CpuUsageActive), cores * 100.0 / all);
    }
}

fn add(reading: Option<&mut Reading>, more: f64) {
    if let Some(Reading::Known { value, .. }) = reading {
        *value = (*value + more).max(0.0);
    }
}
