//! Learns what a host draws from what was measured of it: watts over CPU use, as a line.
//!
//! Measurements lie: a sensor hangs, a disk array spins up, a backup heats the network. So
//! no single measurement may decide. Moments are sorted into bins of CPU use, and each bin
//! is its medians: a night at rest does not outvote the day. The slope is the median of the
//! slopes between all pairs of bins (Theil 1950; Sen, J. Am. Stat. Assoc. 63, 1968), which
//! holds as long as no more than 29 % of the bins are wrong; the height is the median of
//! what the slope leaves.
//!
//! What cannot be learned yet has the usual shape of a server, put through what was
//! measured, and says so.

use drover_model::{LineBasis, PowerLine};

/// Bins of CPU use: of two percent points each.
const BINS: usize = 50;
/// Moments below which nothing is learned: a third of an hour of minutes.
pub const FEWEST_POINTS: usize = 20;
/// Bins below which a slope is a guess.
pub const FEWEST_BINS: usize = 4;
/// Part of the host's CPU that the moments must spread over: less, and noise decides.
pub const LEAST_SPREAD: f64 = 0.15;
/// Of so many moments a bin must have one to count: what is rarer may be a fault.
const RARE: usize = 500;
/// The most that one machine draws, watts: servers with eight accelerators stay below.
pub const MOST_WATTS: f64 = 20_000.0;
/// The part of full power that a server draws at rest where that is not known. Published
/// results of `SPECpower_ssj2008` lie from a tenth to three quarters.
const IDLE_PART: f64 = 0.5;
/// Full power of a machine of which nothing is known, watts: of the machine, and of a core.
const DEFAULT_FULL: (f64, f64) = (60.0, 8.0);

/// Why a line cannot be learned.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum NotLearned {
    /// Not measured for long enough.
    #[error("only {points} moments are known")]
    TooFew {
        /// Moments with both values.
        points: usize,
    },
    /// The host is always about as busy.
    #[error("its CPU use was seen between {least:.2} and {most:.2} of the whole only")]
    TooAlike {
        /// Lowest use, a fraction.
        least: f64,
        /// Highest use, a fraction.
        most: f64,
    },
    /// Its watts do not follow its CPU.
    #[error("its watts do not follow its CPU: they rise by {rise:.1} W and are {error:.1} W off")]
    Unexplained {
        /// Watts from the lowest use seen to the highest.
        rise: f64,
        /// Median error, watts.
        error: f64,
    },
}

/// What was measured at about one CPU use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Median CPU use, a fraction.
    pub used: f64,
    /// Median watts.
    pub watts: f64,
    /// How many moments.
    pub moments: usize,
}

/// Fits a line to moments of (CPU use as a fraction, watts), in any order.
pub fn learn(moments: &[(f64, f64)]) -> Result<PowerLine, NotLearned> {
    let moments: Vec<(f64, f64)> = moments.iter().copied().filter(is_sane).collect();
    if moments.len() < FEWEST_POINTS {
        return Err(NotLearned::TooFew { points: moments.len() });
    }
    let bins = bins(&moments);
    let least = bins.first().map_or(0.0, |bin| bin.used);
    let most = bins.last().map_or(0.0, |bin| bin.used);
    if bins.len() < FEWEST_BINS || most - least < LEAST_SPREAD {
        return Err(NotLearned::TooAlike { least, most });
    }
    let slopes = bins.iter().enumerate().flat_map(|(n, a)| {
        let rest = bins[n + 1..].iter();
        rest.filter(move |b| b.used > a.used).map(move |b| (b.watts - a.watts) / (b.used - a.used))
    });
    let slope = median(slopes.collect());
    let at_rest = median(bins.iter().map(|bin| bin.watts - slope * bin.used).collect());
    let off = |moment: &(f64, f64)| (moment.1 - at_rest - slope * moment.0).abs();
    let error = median(moments.iter().map(off).collect());
    let rise = slope * (most - least);
    if rise <= error || slope <= 0.0 {
        return Err(NotLearned::Unexplained { rise, error });
    }
    let full = (at_rest + slope).clamp(0.0, MOST_WATTS);
    let points = u32::try_from(moments.len()).unwrap_or(u32::MAX);
    let basis = LineBasis::Learned { points, least_use: least, most_use: most, error };
    Ok(PowerLine { idle: at_rest.clamp(0.0, full), full, basis })
}

/// The usual shape through one moment of (CPU use as a fraction, watts).
pub fn scaled(used: f64, watts: f64) -> PowerLine {
    let used = if used.is_finite() { used.clamp(0.0, 1.0) } else { 0.0 };
    let watts = if watts.is_finite() { watts.max(0.0) } else { 0.0 };
    let full = (watts / (IDLE_PART + (1.0 - IDLE_PART) * used)).min(MOST_WATTS);
    PowerLine { idle: full * IDLE_PART, full, basis: LineBasis::Scaled }
}

/// The line of a machine of which only the number of cores is known.
pub fn unmeasured(cores: f64) -> PowerLine {
    let (machine, core) = DEFAULT_FULL;
    let full = (machine + core * cores.max(0.0)).min(MOST_WATTS);
    PowerLine { idle: full * IDLE_PART, full, basis: LineBasis::Default }
}

/// The best line that the moments give, and why it is not learned where it is not.
pub fn line(moments: &[(f64, f64)], cores: f64) -> (PowerLine, Option<NotLearned>) {
    match learn(moments) {
        Ok(line) => (line, None),
        Err(why) => {
            let sane: Vec<(f64, f64)> = moments.iter().copied().filter(is_sane).collect();
            if sane.is_empty() {
                return (unmeasured(cores), Some(why));
            }
            let used = median(sane.iter().map(|moment| moment.0).collect());
            let watts = median(sane.iter().map(|moment| moment.1).collect());
            (scaled(used, watts), Some(why))
        }
    }
}

/// Moments by CPU use; bins with too few of them are left out.
pub fn bins(moments: &[(f64, f64)]) -> Vec<Bin> {
    let sane = moments.iter().filter(|moment| is_sane(moment));
    let mut bins: Vec<Vec<(f64, f64)>> = vec![Vec::new(); BINS];
    for moment in sane {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a fraction of a small count"
        )]
        let bin = (moment.0 * BINS as f64) as usize;
        bins[bin.min(BINS - 1)].push(*moment);
    }
    let enough = moments.len().div_ceil(RARE).max(1);
    bins.iter()
        .filter(|bin| bin.len() >= enough)
        .map(|bin| Bin {
            used: median(bin.iter().map(|moment| moment.0).collect()),
            watts: median(bin.iter().map(|moment| moment.1).collect()),
            moments: bin.len(),
        })
        .collect()
}

/// A machine that is on draws something, and is not busier than wholly.
fn is_sane(moment: &(f64, f64)) -> bool {
    (0.0..=1.0).contains(&moment.0) && moment.1 > 0.0 && moment.1 <= MOST_WATTS
}

/// The middle value; of an even number the mean of the two. 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0.0,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(values[middle - 1], *upper),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A day of minutes that goes from rest to full and back.
    fn day(idle: f64, full: f64) -> Vec<(f64, f64)> {
        let used = |minute: u32| (f64::from(minute) / 1440.0 * std::f64::consts::PI).sin();
        (0..1440).map(used).map(|used| (used, idle + (full - idle) * used)).collect()
    }

    fn check(moments: &[(f64, f64)], expected: Result<(f64, f64), &str>) {
        match (learn(moments), expected) {
            (Ok(line), Ok((idle, full))) => {
                assert!((line.idle - idle).abs() < 0.5, "{line:?}, not idle {idle}");
                assert!((line.full - full).abs() < 0.5, "{line:?}, not full {full}");
            }
            (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{why}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_line_is_found_and_says_what_it_rests_on() {
        check(&day(93.0, 135.0), Ok((93.0, 135.0)));
        let line = learn(&day(93.0, 135.0)).unwrap();
        let LineBasis::Learned { points, least_use, most_use, error } = line.basis else {
            panic!("{line:?}");
        };
        assert_eq!(points, 1440);
        assert!(least_use < 0.02 && most_use > 0.98 && error < 0.01, "{line:?}");
    }

    #[test]
    fn what_cannot_be_learned_says_why() {
        check(&[], Err("only 0 moments"));
        check(&day(93.0, 135.0)[..19], Err("only 19 moments"));
        check(&[(0.5, 150.0); 500], Err("between 0.50 and 0.50"));
        let falling: Vec<_> = day(93.0, 135.0).iter().map(|m| (m.0, 200.0 - m.1)).collect();
        check(&falling, Err("do not follow"));
        let erratic: Vec<_> = day(93.0, 94.0)
            .iter()
            .enumerate()
            .map(|(n, m)| (m.0, m.1 + if n % 2 == 0 { 40.0 } else { -40.0 }))
            .collect();
        check(&erratic, Err("do not follow"));
    }

    #[test]
    fn a_night_at_rest_and_hung_sensors_do_not_decide() {
        let mut moments = day(100.0, 300.0);
        moments.extend(vec![(0.01, 140.0); 200]);
        moments.extend((0..20).map(|n| (f64::from(n) / 20.0, 9000.0)));
        moments.extend([(0.5, 0.0), (0.5, f64::NAN), (-1.0, 100.0), (0.5, 1e9)]);
        let line = learn(&moments).unwrap();
        assert!((line.idle - 100.0).abs() < 5.0 && (line.full - 300.0).abs() < 5.0, "{line:?}");
    }

    #[test]
    fn the_usual_shape_goes_through_what_was_measured() {
        let line = scaled(0.4, 140.0);
        assert!((line.watts(0.4) - 140.0).abs() < 1e-9 && line.idle > 0.0, "{line:?}");
        let (line, why) = super::line(&[(0.5, 150.0); 500], 8.0);
        assert!((line.watts(0.5) - 150.0).abs() < 1e-9 && why.is_some(), "{line:?}");
        assert_eq!(super::line(&[], 8.0).0.basis, LineBasis::Default);
    }

    proptest! {
        #[test]
        fn invariant_a_fifth_of_wrong_moments_does_not_bend_the_line(
            idle in 20.0..400.0f64,
            rise in 50.0..600.0f64,
            noise in prop::collection::vec(-2.0..2.0f64, 300),
            wrong in prop::collection::vec(1.0..5000.0f64, 60),
        ) {
            let mut moments: Vec<(f64, f64)> = (0u32..)
                .zip(&noise)
                .map(|(n, noise)| (f64::from(n) / 300.0, idle + rise * f64::from(n) / 300.0 + noise))
                .collect();
            for (n, watts) in wrong.iter().enumerate() {
                moments[n * 5].1 = *watts;
            }
            let line = learn(&moments).unwrap();
            let most = 4.0 + rise * 0.05;
            prop_assert!((line.idle - idle).abs() < most, "{:?} of idle {}", line, idle);
            prop_assert!((line.full - idle - rise).abs() < most, "{:?} of {}", line, idle + rise);
        }

        #[test]
        fn invariant_every_line_is_sane_and_the_order_of_moments_does_not_matter(
            moments in prop::collection::vec((-0.5..1.5f64, -100.0..30_000.0f64), 0..200),
            cores in 0.0..256.0f64,
        ) {
            let (line, why) = super::line(&moments, cores);
            prop_assert!(line.idle >= 0.0 && line.full >= line.idle && line.full <= MOST_WATTS);
            prop_assert_eq!(line.is_learned(), why.is_none());
            let mut turned = moments;
            turned.reverse();
            prop_assert_eq!(super::line(&turned, cores), (line, why));
        }
    }
}
