//! What guests are expected to use in the coming period, where their history repeats.
//!
//! A balance that looks at the last minutes alone moves a guest at dawn to where it is in
//! the way at nine. Where a load follows the clock, the picture is raised to what is
//! expected; it is never lowered, and hosts rise with their guests.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{ClusterView, GuestId, HostId, Metric, Reading};
use drover_ports::{Entity, History, HistoryError, Resolution};
use drover_rules::{Pattern, forecast};

/// History that is looked at: two weeks and a day, so that weekdays can be told apart.
const PAST: Duration = Duration::from_secs(15 * 86_400);
/// In larger clusters the last minutes count alone: reading everyone's weeks would take
/// longer than the turn.
pub const MOST_GUESTS: usize = 500;

/// Raises guests' CPU, and their hosts' with it, to what is expected `ahead`. Returns the
/// guests that were raised, with cores more.
pub async fn look_ahead(
    view: &mut ClusterView,
    history: &dyn History,
    ahead: Duration,
) -> Result<BTreeMap<GuestId, f64>, HistoryError> {
    let mut raised = BTreeMap::new();
    if view.guests.len() > MOST_GUESTS {
        return Ok(raised);
    }
    let (now, from) = (view.at, view.at.minus(PAST));
    let metric = Metric::GuestCpuCores;
    for guest in view.guests.keys() {
        let Some(measured) = view.guest_value(*guest, metric) else { continue };
        let entity = Entity::Guest(*guest);
        let past = history.series(entity, metric, from, now, Resolution::FiveMinutes).await?;
        let samples: Vec<_> = past.iter().map(|point| (point.at, point.mean)).collect();
        let Some(known) = forecast(&samples, now, ahead) else { continue };
        if known.pattern != Pattern::None && known.mean > measured {
            raised.insert(*guest, known.mean - measured);
        }
    }
    let mut of_host: BTreeMap<HostId, f64> = BTreeMap::new();
    for (guest, more) in &raised {
        if let Some(seen) = view.guests.get_mut(guest) {
            *of_host.entry(seen.guest.host).or_default() += more;
            raise(&mut seen.readings, metric, *more, f64::INFINITY);
        }
    }
    for (host, more) in of_host {
        if let Some(seen) = view.hosts.get_mut(&host) {
            let percent = more * 100.0 / seen.host.capabilities.cores.0.max(f64::MIN_POSITIVE);
            raise(&mut seen.readings, Metric::CpuUsageActive, percent, 100.0);
        }
    }
    Ok(raised)
}

fn raise(readings: &mut BTreeMap<Metric, Reading>, metric: Metric, more: f64, most: f64) {
    if let Some(Reading::Known { value, .. }) = readings.get_mut(&metric) {
        *value = (*value + more).min(most);
    }
}

#[cfg(test)]
mod tests {
    use drover_model::Timestamp;
    use drover_ports::SamplePoint;
    use drover_ports::memory::MemoryHistory;
    use drover_testkit::{Cluster, guest_id, host_id};

    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    /// Four days in which vm1 is busy from 8 to 18, and vm2 never.
    async fn office() -> MemoryHistory {
        let history = MemoryHistory::default();
        let mut points = Vec::new();
        for step in 0..4 * 24 * 12 {
            let at = step * 300_000;
            let busy = (8..18).contains(&(at % DAY / HOUR));
            for (n, cores) in [(1, if busy { 6.0 } else { 1.0 }), (2, 1.0)] {
                points.push(SamplePoint {
                    entity: Entity::Guest(guest_id(n)),
                    at: Timestamp::from_millis(20_000 * DAY + at),
                    values: vec![(Metric::GuestCpuCores, cores)],
                });
            }
        }
        history.append(points).await.unwrap();
        history
    }

    fn at(hour: i64) -> ClusterView {
        let mut view = Cluster::new()
            .host(1, 10.0, 64, 20.0, 40.0)
            .guest(1, 1, 1024, 1.0)
            .guest(2, 1, 1024, 1.0)
            .view();
        view.at = Timestamp::from_millis(20_004 * DAY + hour * HOUR);
        view
    }

    #[tokio::test]
    async fn before_the_morning_the_morning_counts() {
        let history = office().await;
        let mut view = at(8);
        let raised = look_ahead(&mut view, &history, Duration::from_secs(3600)).await.unwrap();
        assert_eq!(raised.keys().copied().collect::<Vec<_>>(), [guest_id(1)]);
        assert_eq!(view.guest_value(guest_id(1), Metric::GuestCpuCores), Some(6.0));
        assert_eq!(view.host_value(host_id(1), Metric::CpuUsageActive), Some(70.0));
    }

    #[tokio::test]
    async fn at_night_nothing_is_raised() {
        let history = office().await;
        let mut view = at(2);
        let before = view.clone();
        look_ahead(&mut view, &history, Duration::from_secs(3600)).await.unwrap();
        assert_eq!(view, before);
    }
}
