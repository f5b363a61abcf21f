//! From two readings to watts. Pure.
//!
//! An interval of which not everything is known has no value: an invented one could fire a
//! rule. A source that fails is not stood in for within a sample, since two sources side by
//! side in one series would look like a change of the load.

use std::time::Duration;

use super::{Counter, Counters, Draw, PowerSnapshot, from_micro};

/// No part draws more, watts: six times the largest package there is (500 W). What seems to
/// is a counter that began anew and so looks as if it had gone once around: 262 kJ in a
/// sample of up to 80 s.
const MAX_PART_WATTS: f64 = 3_000.0;

/// Watts of the host since the reading before: the counters' exact mean, the mean of the two
/// ends where only moments are told, or the curve's at a CPU use of `busy`, a fraction.
pub fn watts(previous: &PowerSnapshot, current: &PowerSnapshot, busy: Option<f64>) -> Option<f64> {
    let (source, now) = current.used.as_ref()?;
    let before = previous.used.as_ref().filter(|(before, _)| before == source);
    match (before.map(|(_, draw)| draw), now) {
        (Some(Draw::Energy(before)), Draw::Energy(now)) => {
            mean(before, now, current.steady.saturating_sub(previous.steady))
        }
        (Some(Draw::Watts(before)), Draw::Watts(now)) => Some(f64::midpoint(*before, *now)),
        (_, Draw::Watts(now)) => Some(*now),
        (_, Draw::Curve(curve)) => Some(curve.watts(busy?)),
        (_, Draw::Energy(_)) => None,
    }
}

/// Watts of the CPU packages since the reading before.
pub fn package_watts(previous: &PowerSnapshot, current: &PowerSnapshot) -> Option<f64> {
    let elapsed = current.steady.saturating_sub(previous.steady);
    mean(&previous.packages, &current.packages, elapsed)
}

/// Energy of all parts over the time; none where a part is new, has gone, or began anew.
fn mean(before: &Counters, now: &Counters, elapsed: Duration) -> Option<f64> {
    if now.is_empty() || !before.keys().eq(now.keys()) || elapsed.is_zero() {
        return None;
    }
    let parts = before.values().zip(now.values());
    parts.map(|(before, now)| part(*before, *now, elapsed.as_secs_f64())).sum()
}

fn part(before: Counter, now: Counter, seconds: f64) -> Option<f64> {
    let used = match now.energy_uj.checked_sub(before.energy_uj) {
        Some(used) => used,
        // Once around: the counter's largest value is followed by 0.
        None => now.range_uj.checked_sub(before.energy_uj)? + now.energy_uj,
    };
    Some(from_micro(used) / seconds).filter(|watts| *watts <= MAX_PART_WATTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_model::{PowerCurve, PowerSource};

    const RANGE: u64 = 262_143_328_850;

    fn counters(list: &[(&str, u64)]) -> Counters {
        let counter = |energy_uj| Counter { energy_uj, range_uj: RANGE };
        list.iter().map(|(name, energy)| ((*name).to_owned(), counter(*energy))).collect()
    }

    fn at(seconds: u64, used: Option<(PowerSource, Draw)>) -> PowerSnapshot {
        PowerSnapshot { steady: Duration::from_secs(seconds), used, ..PowerSnapshot::default() }
    }

    fn rapl(seconds: u64, list: &[(&str, u64)]) -> PowerSnapshot {
        at(seconds, Some((PowerSource::Rapl, Draw::Energy(counters(list)))))
    }

    #[test]
    fn energy_over_time_is_watts() {
        let joule = 1_000_000;
        for (what, before, now, expected) in [
            ("one part", vec![("p", 0)], vec![("p", 500 * joule)], Some(100.0)),
            (
                "two sockets and memory",
                vec![("p0", 0), ("p0/dram", 7), ("p1", 9)],
                vec![("p0", 250 * joule), ("p0/dram", 50 * joule + 7), ("p1", 250 * joule + 9)],
                Some(110.0),
            ),
            ("nothing", vec![("p", 5)], vec![("p", 5)], Some(0.0)),
            (
                "once around",
                vec![("p", RANGE - 100 * joule)],
                vec![("p", 400 * joule)],
                Some(100.0),
            ),
            ("began anew", vec![("p", 1000 * joule)], vec![("p", 0)], None),
            ("a step back", vec![("p", 1000 * joule)], vec![("p", 999 * joule)], None),
            ("a leap", vec![("p", 0)], vec![("p", 16_000 * joule)], None),
            ("a part is new", vec![("p0", 0)], vec![("p0", 1), ("p1", 1)], None),
            ("a part has gone", vec![("p0", 0), ("p1", 0)], vec![("p0", 1)], None),
        ] {
            assert_eq!(watts(&rapl(0, &before), &rapl(5, &now), None), expected, "{what}");
        }
        let same = rapl(0, &[("p", 0)]);
        assert_eq!(watts(&same, &rapl(0, &[("p", 5)]), None), None, "no time has passed");
    }

    #[test]
    fn a_counter_without_a_range_never_goes_around() {
        let counter = |energy_uj| {
            let counters = [("p".to_owned(), Counter { energy_uj, range_uj: 0 })].into();
            Some((PowerSource::Psys, Draw::Energy(counters)))
        };
        assert_eq!(watts(&at(0, counter(9)), &at(1, counter(3)), None), None);
    }

    #[test]
    fn what_tells_moments_gives_the_mean_of_both_ends() {
        let told = |watts| Some((PowerSource::Hwmon, Draw::Watts(watts)));
        assert_eq!(watts(&at(0, told(100.0)), &at(5, told(120.0)), None), Some(110.0));
        assert_eq!(watts(&at(0, None), &at(5, told(120.0)), None), Some(120.0));
    }

    #[test]
    fn sources_are_not_mixed() {
        let moment = at(0, Some((PowerSource::Battery, Draw::Watts(20.0))));
        assert_eq!(watts(&moment, &rapl(5, &[("p", 5)]), None), None);
        let other = at(5, Some((PowerSource::Hwmon, Draw::Watts(60.0))));
        assert_eq!(watts(&moment, &other, None), Some(60.0));
        assert_eq!(watts(&moment, &at(5, None), Some(0.5)), None);
    }

    #[test]
    fn the_model_follows_the_cpu() {
        let curve = PowerCurve(std::array::from_fn(|tenth| 100.0 + 10.0 * tenth as f64));
        let model = at(5, Some((PowerSource::Model, Draw::Curve(curve))));
        assert_eq!(watts(&model, &model, Some(0.5)), Some(150.0));
        assert_eq!(watts(&model, &model, None), None);
    }

    #[test]
    fn packages_are_told_beside_whatever_is_used() {
        let with = |seconds, energy| PowerSnapshot {
            packages: counters(&[("p", energy)]),
            ..at(seconds, Some((PowerSource::Hwmon, Draw::Watts(300.0))))
        };
        assert_eq!(package_watts(&with(0, 0), &with(2, 80_000_000)), Some(40.0));
        assert_eq!(package_watts(&at(0, None), &at(2, None)), None);
    }
}
