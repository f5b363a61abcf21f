//! From watts over time to energy, day by day; and what hosts that were off have saved.
//!
//! Nothing is invented: time of which nobody knows the watts is a gap, and is told. A sample
//! stands for the time to its neighbours (the trapezoid rule), and a bucket's mean, which is
//! that rule over evenly spaced samples, for the time that its samples cover.
//!
//! Saved is what a host would have drawn at rest while it was parked, less what it drew all
//! the same: a BMC and a power supply on standby.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::Timestamp;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: f64 = 3_600_000.0;

/// A mean of watts over a bucket of history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// When it begins.
    pub at: Timestamp,
    /// Mean watts.
    pub mean: f64,
    /// How many samples.
    pub count: u32,
}

/// A stretch of time; the end does not belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Begin.
    pub from: Timestamp,
    /// End.
    pub to: Timestamp,
}

/// Energy of some time, and how much of the time it speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Energy {
    /// Watt hours drawn, as far as they were measured.
    pub watt_hours: f64,
    /// Milliseconds in which it was measured, not parked.
    pub measured_ms: f64,
    /// Milliseconds in which it was parked.
    pub parked_ms: f64,
    /// Milliseconds of which nothing is known.
    pub gap_ms: f64,
    /// Watt hours that were drawn while it was parked.
    pub standby_watt_hours: f64,
}

impl Energy {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.watt_hours += other.watt_hours;
        self.measured_ms += other.measured_ms;
        self.parked_ms += other.parked_ms;
        self.gap_ms += other.gap_ms;
        self.standby_watt_hours += other.standby_watt_hours;
    }

    /// Watt hours that parking has saved, for a host that draws so much at rest. Never less
    /// than nothing: what is drawn on standby is drawn at rest as well.
    pub fn saved_watt_hours(&self, idle_watts: f64) -> f64 {
        (idle_watts * self.parked_ms / HOUR_MS - self.standby_watt_hours).max(0.0)
    }
}

/// The day that a moment is in, UTC, counted from 1970-01-01.
pub fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MS)
}

/// Energy of one host by day, UTC, over `span`.
///
/// Buckets are in order, all of one `length`, which divides a day. How often samples come is
/// taken from the buckets themselves, since not every source measures as often as the agents
/// do; `interval` is what is expected where there are too few buckets to tell.
pub fn by_day(
    buckets: &[Bucket],
    length: Duration,
    interval: Duration,
    parked: &[Span],
    span: Span,
) -> BTreeMap<i64, Energy> {
    let length_ms = real(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)).max(1.0);
    let usual = usual_count(buckets, length_ms, interval);
    let mut days = empty_days(parked, span);
    for bucket in buckets.iter().filter(|bucket| bucket.mean.is_finite() && bucket.count > 0) {
        let whole = Span { from: bucket.at, to: bucket.at.plus(length) };
        let Some(inside) = overlap(whole, span) else { continue };
        let Some(day) = days.get_mut(&day_of(bucket.at)) else { continue };
        let inside_ms = length_of(inside);
        let covered_ms = (f64::from(bucket.count) / usual * length_ms).min(inside_ms);
        let parked_ms = parked_within(parked, inside);
        // Samples of a host that was parked in part are those of its waking part first.
        let awake_ms = covered_ms.min((inside_ms - parked_ms).max(0.0));
        day.watt_hours += bucket.mean * covered_ms / HOUR_MS;
        day.standby_watt_hours += bucket.mean * (covered_ms - awake_ms) / HOUR_MS;
        day.measured_ms += awake_ms;
    }
    for day in days.values_mut() {
        day.gap_ms = (day.gap_ms - day.measured_ms - day.parked_ms).max(0.0);
    }
    days
}

/// Energy of two samples that follow each other, watt hours; none where so much time lies
/// between them that nobody knows what was drawn meanwhile.
pub fn between(a: (Timestamp, f64), b: (Timestamp, f64), longest_gap: Duration) -> Option<f64> {
    let apart = b.0.since(a.0);
    let known = b.0 > a.0 && apart <= longest_gap && a.1.is_finite() && b.1.is_finite();
    known.then(|| f64::midpoint(a.1, b.1) * apart.as_secs_f64() / 3600.0)
}

/// How long the host was parked within a span, milliseconds. (An empty sum would be -0.)
fn parked_within(parked: &[Span], span: Span) -> f64 {
    parked
        .iter()
        .filter_map(|one| overlap(*one, span))
        .map(length_of)
        .fold(0.0, |all, one| all + one)
}

/// Each day of the span with the time that is to be accounted for, as a gap, and what of it
/// the host was parked.
fn empty_days(parked: &[Span], span: Span) -> BTreeMap<i64, Energy> {
    let mut days = BTreeMap::new();
    let mut from = span.from;
    while from < span.to {
        let day = day_of(from);
        let end = Timestamp::from_millis((day + 1) * DAY_MS).min(span.to);
        let of_day = Span { from, to: end };
        let parked_ms = parked_within(parked, of_day);
        days.insert(day, Energy { gap_ms: length_of(of_day), parked_ms, ..Energy::default() });
        from = end;
    }
    days
}

/// Samples of a bucket that is measured throughout: three quarters of the buckets have no
/// more.
fn usual_count(buckets: &[Bucket], length_ms: f64, interval: Duration) -> f64 {
    const FEW: usize = 3;
    let mut counts: Vec<u32> = buckets.iter().map(|bucket| bucket.count).collect();
    counts.sort_unstable();
    let usual = counts.get(counts.len() * 3 / 4).copied().unwrap_or(1);
    let expected = length_ms / (interval.as_secs_f64() * 1000.0).max(1.0);
    if counts.len() < FEW { expected.max(1.0) } else { f64::from(usual.max(1)) }
}

fn overlap(a: Span, b: Span) -> Option<Span> {
    let (from, to) = (a.from.max(b.from), a.to.min(b.to));
    (from < to).then_some(Span { from, to })
}

fn length_of(span: Span) -> f64 {
    real(span.to.as_millis() - span.from.as_millis())
}

#[expect(clippy::cast_precision_loss, reason = "spans of years stay far below 2^53 ms")]
const fn real(millis: i64) -> f64 {
    millis as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIVE: Duration = Duration::from_secs(300);
    const EVERY: Duration = Duration::from_secs(5);
    /// 2026-11-21 is day 20,778.
    const DAY: i64 = 20_778;

    fn at(hours: f64) -> Timestamp {
        #[allow(clippy::cast_possible_truncation)]
        let millis = (hours * HOUR_MS) as i64;
        Timestamp::from_millis(DAY * DAY_MS + millis)
    }

    fn span(from: f64, to: f64) -> Span {
        Span { from: at(from), to: at(to) }
    }

    /// Buckets of five minutes over these hours.
    fn buckets(from: f64, to: f64, mean: f64, count: u32) -> Vec<Bucket> {
        let (mut next, mut all) = (at(from), Vec::new());
        while next < at(to) {
            all.push(Bucket { at: next, mean, count });
            next = next.plus(FIVE);
        }
        all
    }

    fn hours(ms: f64) -> f64 {
        (ms / HOUR_MS * 1000.0).round() / 1000.0
    }

    /// Watt hours, hours measured, parked and unknown, by day.
    fn check(buckets: &[Bucket], parked: &[Span], over: Span, expected: &[(f64, f64, f64, f64)]) {
        let days = by_day(buckets, FIVE, EVERY, parked, over);
        let found: Vec<(f64, f64, f64, f64)> = days
            .values()
            .map(|day| {
                let watt_hours = (day.watt_hours * 10.0).round() / 10.0;
                (watt_hours, hours(day.measured_ms), hours(day.parked_ms), hours(day.gap_ms))
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_steady_host_is_its_watts_times_the_hours() {
        check(&buckets(0.0, 24.0, 100.0, 60), &[], span(0.0, 24.0), &[(2400.0, 24.0, 0.0, 0.0)]);
        let two = [(1200.0, 12.0, 0.0, 0.0), (600.0, 6.0, 0.0, 0.0)];
        check(&buckets(12.0, 30.0, 100.0, 60), &[], span(12.0, 30.0), &two);
    }

    #[test]
    fn a_gap_is_told_and_not_filled() {
        let mut known = buckets(0.0, 8.0, 100.0, 60);
        known.extend(buckets(10.0, 24.0, 100.0, 60));
        check(&known, &[], span(0.0, 24.0), &[(2200.0, 22.0, 0.0, 2.0)]);
        check(&[], &[], span(0.0, 24.0), &[(0.0, 0.0, 0.0, 24.0)]);
        // Half of the samples of one hour are missing.
        let mut half = buckets(0.0, 23.0, 100.0, 60);
        half.extend(buckets(23.0, 24.0, 100.0, 30));
        check(&half, &[], span(0.0, 24.0), &[(2350.0, 23.5, 0.0, 0.5)]);
    }

    #[test]
    fn a_source_that_measures_once_a_minute_is_no_gap() {
        check(&buckets(0.0, 24.0, 100.0, 5), &[], span(0.0, 24.0), &[(2400.0, 24.0, 0.0, 0.0)]);
    }

    #[test]
    fn a_host_that_has_just_come_is_not_given_more_than_it_has() {
        let first = [Bucket { at: at(0.0), mean: 120.0, count: 12 }];
        let (days, minute) = (by_day(&first, FIVE, EVERY, &[], span(0.0, 1.0)), 60_000.0);
        assert_eq!((days[&DAY].measured_ms, days[&DAY].watt_hours), (minute, 2.0));
    }

    #[test]
    fn parked_hours_are_no_gap_and_save_what_rest_would_have_drawn() {
        let mut known = buckets(0.0, 8.0, 100.0, 60);
        known.extend(buckets(20.0, 24.0, 100.0, 60));
        let parked = [span(8.0, 20.0)];
        check(&known, &parked, span(0.0, 24.0), &[(1200.0, 12.0, 12.0, 0.0)]);
        let days = by_day(&known, FIVE, EVERY, &parked, span(0.0, 24.0));
        assert!((days[&DAY].saved_watt_hours(60.0) - 720.0).abs() < 1e-6);
        // Its BMC draws 5 W meanwhile, and says so once a minute.
        known.extend(buckets(8.0, 20.0, 5.0, 60));
        known.sort_by_key(|bucket| bucket.at);
        check(&known, &parked, span(0.0, 24.0), &[(1260.0, 12.0, 12.0, 0.0)]);
        let days = by_day(&known, FIVE, EVERY, &parked, span(0.0, 24.0));
        assert!((days[&DAY].saved_watt_hours(60.0) - 660.0).abs() < 1e-6);
        assert_eq!(days[&DAY].saved_watt_hours(1.0), 0.0);
    }

    #[test]
    fn samples_are_joined_by_the_trapezoid_rule_unless_too_far_apart() {
        let half_an_hour = Duration::from_secs(1800);
        assert_eq!(between((at(0.0), 100.0), (at(0.5), 200.0), half_an_hour), Some(75.0));
        assert_eq!(between((at(0.0), 100.0), (at(0.6), 200.0), half_an_hour), None);
        assert_eq!(between((at(0.5), 100.0), (at(0.0), 200.0), half_an_hour), None);
        assert_eq!(between((at(0.0), f64::NAN), (at(0.1), 200.0), half_an_hour), None);
    }

    proptest! {
        #[test]
        fn invariant_all_time_is_accounted_for_once(
            counts in prop::collection::vec(0u32..=60, 1..600),
            first in 0i64..40,
            cuts in prop::collection::vec(0i64..700, 0..6),
            from in 0i64..300,
            more in 1i64..500,
        ) {
            let moment = |n: i64| at(0.0).plus(FIVE * u32::try_from(n).unwrap());
            let known: Vec<Bucket> = counts
                .iter()
                .zip(first..)
                .filter(|(count, _)| **count > 0)
                .map(|(count, n)| Bucket { at: moment(n), mean: 100.0, count: *count })
                .collect();
            let mut cuts = cuts;
            cuts.sort_unstable();
            let parked: Vec<Span> = cuts
                .chunks_exact(2)
                .map(|pair| Span { from: moment(pair[0]), to: moment(pair[1]) })
                .collect();
            let over = Span { from: moment(from), to: moment(from + more) };
            let mut all = Energy::default();
            by_day(&known, FIVE, EVERY, &parked, over).values().for_each(|day| all.add(day));
            let whole = all.measured_ms + all.parked_ms + all.gap_ms;
            prop_assert!((whole - length_of(over)).abs() < 1.0, "{:?} of {}", all, length_of(over));
            prop_assert!(all.watt_hours <= length_of(over) / HOUR_MS * 100.0 + 1e-6);
            prop_assert!(all.standby_watt_hours <= all.watt_hours + 1e-9);
            prop_assert!(all.gap_ms >= 0.0 && all.measured_ms >= 0.0);
        }
    }
}
