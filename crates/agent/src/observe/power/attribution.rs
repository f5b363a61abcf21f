//! Each guest's part of what the host draws. Pure.
//!
//! The part is that of Kepler (sustainable-computing-io/kepler, "Power Attribution Guide"):
//!
//! ```text
//! active watts = power.watts × the host's CPU use, 0 to 1
//! guest watts  = active watts × the guest's CPU time ÷ the CPU time of the whole host
//! ```
//!
//! The rest, what the host draws whether anybody computes or not, is left with the host: no
//! guest that leaves takes it away, and sharing it out (by memory, or evenly) would make the
//! same guest dearer on an emptier host. It needs no figure that the host does not tell, such
//! as its idle watts, and the sum over guests is never above what was measured.
//!
//! Not known here: how hard a core works. A second of vector code counts as one of waiting
//! for memory, and disks and network count for nobody.

use drover_model::{GuestId, Metric};

use super::super::fold::Values;

/// What is to be shared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Active {
    /// `power.watts` times the host's CPU use.
    pub watts: f64,
    /// Cores that the whole host keeps busy.
    pub cores: f64,
}

/// Adds [`Metric::GuestPowerWatts`] to each guest whose CPU time is known.
///
/// Guests are read a moment before the host, so that together they may seem to use more than
/// it does: then they share all of it.
pub fn share(active: Active, guests: &mut [(GuestId, Values)]) {
    let together: f64 = guests.iter().filter_map(|(_, values)| cores(values)).sum();
    let whole = active.cores.max(together);
    for (_, values) in guests {
        if let Some(own) = cores(values) {
            let part = if whole > 0.0 { own / whole } else { 0.0 };
            values.push((Metric::GuestPowerWatts, active.watts * part));
        }
    }
}

fn cores(values: &Values) -> Option<f64> {
    let found = values.iter().find(|(metric, _)| *metric == Metric::GuestCpuCores)?;
    Some(found.1).filter(|cores| cores.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(watts: f64, cores: f64, guests: &[Option<f64>]) -> Vec<Option<f64>> {
        let mut list: Vec<(GuestId, Values)> = guests
            .iter()
            .zip(0..)
            .map(|(cores, id)| {
                let values = cores.map(|cores| (Metric::GuestCpuCores, cores));
                (GuestId::from_u128(id), values.into_iter().collect())
            })
            .collect();
        share(Active { watts, cores }, &mut list);
        let part = |values: &Values| {
            values.iter().find(|(m, _)| *m == Metric::GuestPowerWatts).map(|(_, watts)| *watts)
        };
        list.iter().map(|(_, values)| part(values)).collect()
    }

    #[test]
    fn guests_get_active_watts_by_cpu_time() {
        for (what, watts, cores, guests, expected) in [
            (
                "the rest is the host's own",
                100.0,
                4.0,
                vec![Some(1.0), Some(2.0)],
                [Some(25.0), Some(50.0)],
            ),
            (
                "never more than there is",
                90.0,
                1.0,
                vec![Some(1.0), Some(2.0)],
                [Some(30.0), Some(60.0)],
            ),
            ("unknown stays unknown", 100.0, 2.0, vec![None, Some(1.0)], [None, Some(50.0)]),
            ("nobody computes", 0.0, 0.0, vec![Some(0.0), Some(0.0)], [Some(0.0), Some(0.0)]),
        ] {
            assert_eq!(shared(watts, cores, &guests), expected, "{what}");
        }
    }
}
