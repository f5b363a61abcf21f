//! How much memory a guest dirties within a time: a curve through what was measured.

use drover_model::DirtyWindow;

use super::{real, whole};

/// d(t) = W (1 − e^(−r t / W)): at first as fast as the guest writes (r), in the end no more
/// than the memory that it writes over and over (W).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Curve {
    /// Bytes a millisecond, at first.
    rate: f64,
    /// Bytes.
    working_set: f64,
}

/// Steps of the search for the working set, between what was seen and all of the memory.
const STEPS: u32 = 64;
/// Distances that differ by less than a part in so many are equal.
const CLOSE: f64 = 1e6;
/// A window in which more than this part of the working set was written tells no rate.
const MOST_SEEN: f64 = 0.95;

impl Curve {
    /// A guest that writes nothing.
    pub(super) const NOTHING: Self = Self { rate: 0.0, working_set: 0.0 };

    /// Through windows of a guest that has `most` bytes of memory; none without windows.
    ///
    /// Of all working sets the one is taken whose curve lies closest to the windows. Windows
    /// on a straight line say nothing about it: then the guest is taken to write everywhere.
    pub(super) fn through(windows: &[DirtyWindow], most: f64) -> Option<Self> {
        let seen = windows.iter().map(|window| real(window.dirtied.0)).fold(0.0, f64::max);
        if windows.iter().all(|window| window.window_ms == 0) {
            return None;
        }
        if seen <= 0.0 {
            return Some(Self::NOTHING);
        }
        let (least, most) = (seen * 1.001, most.max(seen * 1.01));
        // From the largest on: of equals the first is taken.
        let candidates = (0..=STEPS).rev().map(|step| {
            let part = f64::from(step) / f64::from(STEPS);
            let working_set = least * (most / least).powf(part);
            let rate = rate_through(windows, working_set);
            Self { rate, working_set }
        });
        candidates.min_by_key(|curve| whole(curve.distance(windows) * CLOSE))
    }

    /// Bytes dirtied within a time, milliseconds.
    pub(super) fn within(self, ms: f64) -> f64 {
        if self.working_set <= 0.0 {
            return 0.0;
        }
        self.working_set * (1.0 - (-self.rate * ms / self.working_set).exp())
    }

    /// The same guest, writing so many times as fast.
    pub(super) fn times(self, factor: f64) -> Self {
        Self { rate: self.rate * factor, ..self }
    }

    /// Bytes a millisecond.
    pub(super) const fn rate(self) -> f64 {
        self.rate
    }

    /// Bytes.
    pub(super) const fn working_set(self) -> f64 {
        self.working_set
    }

    fn distance(self, windows: &[DirtyWindow]) -> f64 {
        let of = |window: &DirtyWindow| {
            let seen = real(window.dirtied.0).max(1.0);
            ((self.within(real(window.window_ms)) - seen) / seen).powi(2)
        };
        windows.iter().map(of).sum()
    }
}

/// What a window says of the rate when the working set is this: the shortest one, which says
/// most of how fast the guest writes before it comes to the same pages again.
fn rate_through(windows: &[DirtyWindow], working_set: f64) -> f64 {
    let usable = windows.iter().filter(|window| window.window_ms > 0);
    let Some(shortest) = usable.min_by_key(|window| window.window_ms) else { return 0.0 };
    // Nearly all of it was written: how much faster than that cannot be seen.
    let part = (real(shortest.dirtied.0) / working_set).min(MOST_SEEN);
    -(1.0 - part).ln() * working_set / real(shortest.window_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_model::Bytes;

    const MIB: f64 = (1 << 20) as f64;

    fn windows(all: &[(u64, f64)]) -> Vec<DirtyWindow> {
        all.iter()
            .map(|(window_ms, mib)| DirtyWindow {
                window_ms: *window_ms,
                dirtied: Bytes((mib * MIB) as u64),
            })
            .collect()
    }

    #[test]
    fn a_curve_that_bends_tells_rate_and_working_set() {
        let truth = Curve { rate: 50.0 * MIB / 1000.0, working_set: 64.0 * MIB };
        let all: Vec<(u64, f64)> = [1000, 3000, 10_000]
            .map(|ms| (ms, truth.within(ms as f64) / MIB))
            .into_iter()
            .collect();
        let curve = Curve::through(&windows(&all), 4096.0 * MIB).unwrap();
        assert!((curve.rate / truth.rate - 1.0).abs() < 0.1, "{curve:?}");
        assert!((curve.working_set / truth.working_set - 1.0).abs() < 0.1, "{curve:?}");
    }

    #[test]
    fn a_straight_line_may_go_on_over_all_memory() {
        let curve = Curve::through(&windows(&[(1000, 20.0), (3000, 60.0)]), 1024.0 * MIB).unwrap();
        assert!(curve.working_set > 1000.0 * MIB, "{curve:?}");
        assert!((curve.rate * 1000.0 / MIB - 20.0).abs() < 2.0, "{curve:?}");
    }

    #[test]
    fn a_single_window_says_nothing_about_the_working_set() {
        let curve = Curve::through(&windows(&[(1000, 14.0)]), 256.0 * MIB).unwrap();
        assert!(curve.working_set > 255.0 * MIB, "{curve:?}");
    }

    #[test]
    fn nothing_dirtied_is_nothing_and_no_window_is_unknown() {
        assert_eq!(Curve::through(&windows(&[(1000, 0.0)]), MIB), Some(Curve::NOTHING));
        assert_eq!(Curve::through(&[], MIB), None);
    }
}
