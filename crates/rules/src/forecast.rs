//! What a load will be in the coming period, from its history.
//!
//! A load that follows the clock is forecast by the same time of earlier days, or of the
//! same weekday where there are weeks enough; what is left unexplained adds a margin. A
//! pattern counts only where it explains the past better than the last value does, so that
//! a flat or erratic load is not given one.

use std::time::Duration;

use drover_model::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
/// Slots that a day or a week is cut into: a quarter of an hour each.
const SLOT_MS: i64 = HOUR_MS / 4;
/// A pattern is looked for when at least so many periods of it are known.
const PERIODS: i64 = 2;
/// A pattern must leave at most this part of the error that the last value leaves.
const CONVINCING: f64 = 0.7;
/// Samples below which only the last value is known.
const FEW: usize = 8;

/// What repeats in a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Nothing that can be told.
    None,
    /// Each day is like the others.
    Daily,
    /// Each day is like the same day of other weeks.
    Weekly,
}

/// A forecast of one load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Expected mean of the coming period.
    pub mean: f64,
    /// Value that the load stays below for 95 % of it, if the past is a guide.
    pub p95: f64,
    /// What it rests on.
    pub pattern: Pattern,
}

/// Forecasts the `ahead` after `now` from samples, oldest first. None without any.
pub fn forecast(samples: &[(Timestamp, f64)], now: Timestamp, ahead: Duration) -> Option<Forecast> {
    let last = recent(samples)?;
    if samples.len() < FEW {
        let most = samples.iter().map(|(_, value)| *value).fold(last, f64::max);
        return Some(Forecast { mean: last, p95: most, pattern: Pattern::None });
    }
    match pattern(samples) {
        Some((pattern, seasonal)) => seasonal.forecast(pattern, now, ahead),
        None => {
            let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
            let p95 = quantile(&values, 0.95).max(last);
            Some(Forecast { mean: last, p95, pattern: Pattern::None })
        }
    }
}

/// Forecasts each quarter of an hour from the one that `now` lies in until `ahead` after it, with
/// its begin. Empty where the load has no pattern: then every quarter would be alike.
pub fn course(
    samples: &[(Timestamp, f64)],
    now: Timestamp,
    ahead: Duration,
) -> Vec<(Timestamp, Forecast)> {
    if samples.len() < FEW {
        return Vec::new();
    }
    let Some((pattern, seasonal)) = pattern(samples) else { return Vec::new() };
    let first = now.as_millis().div_euclid(SLOT_MS) * SLOT_MS;
    let end = now.plus(ahead).as_millis();
    (0..)
        .map(|step| Timestamp::from_millis(first + step * SLOT_MS))
        .take_while(|at| at.as_millis() < end)
        .filter_map(|at| Some((at, seasonal.forecast(pattern, at, COURSE_STEP)?)))
        .collect()
}

/// Length of the quarters of [`course`].
pub const COURSE_STEP: Duration = Duration::from_millis(SLOT_MS.unsigned_abs());

/// The pattern that explains the samples, if one does.
fn pattern(samples: &[(Timestamp, f64)]) -> Option<(Pattern, Seasonal)> {
    let naive = error(samples.windows(2).map(|pair| pair[1].1 - pair[0].1));
    let span = samples.last()?.0.as_millis() - samples.first()?.0.as_millis();
    [(Pattern::Weekly, WEEK_MS), (Pattern::Daily, DAY_MS)]
        .into_iter()
        .filter(|(_, period)| span >= PERIODS * period)
        .map(|(pattern, period)| (pattern, Seasonal::of(samples, period)))
        .find(|(_, seasonal)| seasonal.error <= CONVINCING * deviation(samples).max(naive))
}

/// Mean of the newest samples, each weighing 0.85 of the next newer one.
fn recent(samples: &[(Timestamp, f64)]) -> Option<f64> {
    const DECAY: f64 = 0.85;
    let (mut sum, mut total, mut weight) = (0.0, 0.0, 1.0);
    for (_, value) in samples.iter().rev().take(64) {
        sum += weight * value;
        total += weight;
        weight *= DECAY;
    }
    (total > 0.0).then(|| sum / total)
}

/// The median of each slot of a period over all its repetitions.
struct Seasonal {
    period: i64,
    medians: Vec<Option<f64>>,
    /// What past values exceeded theirs by in a twentieth of the time.
    spread: f64,
    error: f64,
}

impl Seasonal {
    fn of(samples: &[(Timestamp, f64)], period: i64) -> Self {
        let count = usize::try_from(period / SLOT_MS).unwrap_or(1);
        let mut slots: Vec<Vec<f64>> = vec![Vec::new(); count];
        for (at, value) in samples {
            slots[slot(at.as_millis(), period)].push(*value);
        }
        let medians: Vec<Option<f64>> = slots
            .iter()
            .map(|values| (!values.is_empty()).then(|| quantile(values, 0.5)))
            .collect();
        // Each sample is judged by the others of its slot: a slot of one explains nothing.
        let mean = samples.iter().map(|(_, value)| value).sum::<f64>() / real(samples.len());
        let mut residuals: Vec<f64> = Vec::with_capacity(samples.len());
        for (at, value) in samples {
            let of = &slots[slot(at.as_millis(), period)];
            let others = if of.len() < 2 {
                mean
            } else {
                (of.iter().sum::<f64>() - value) / real(of.len() - 1)
            };
            residuals.push(value - others);
        }
        let error = error(residuals.iter().copied());
        let spread = quantile(&residuals, 0.95).max(0.0);
        Self { period, medians, spread, error }
    }

    /// What the past says of the `ahead` after `from`; none where it knows nothing of then.
    fn forecast(&self, pattern: Pattern, from: Timestamp, ahead: Duration) -> Option<Forecast> {
        let slots = self.slots(from, ahead);
        let mean = slots.iter().sum::<f64>() / real(slots.len().max(1));
        let highest = slots.iter().copied().fold(mean, f64::max);
        let p95 = highest + self.spread;
        (!slots.is_empty()).then_some(Forecast { mean, p95, pattern })
    }

    /// What the slots of the coming time were like.
    fn slots(&self, now: Timestamp, ahead: Duration) -> Vec<f64> {
        let begin = now.as_millis();
        let length = i64::try_from(ahead.as_millis()).unwrap_or(self.period).clamp(1, self.period);
        let mut at = begin;
        let mut values = Vec::new();
        while at < begin + length {
            values.extend(self.medians[slot(at, self.period)]);
            at += SLOT_MS;
        }
        values
    }
}

fn slot(at: i64, period: i64) -> usize {
    usize::try_from(at.rem_euclid(period) / SLOT_MS).unwrap_or(0)
}

/// Root of the mean square.
fn error(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value * value;
        count += 1.0;
    }
    if count > 0.0 { (sum / count).sqrt() } else { 0.0 }
}

fn deviation(samples: &[(Timestamp, f64)]) -> f64 {
    let mean = samples.iter().map(|(_, value)| value).sum::<f64>() / real(samples.len().max(1));
    error(samples.iter().map(|(_, value)| value - mean))
}

/// Nearest rank.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank within a list"
    )]
    let rank = (real(sorted.len()) * part).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
const fn real(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_800_000_000_000 / WEEK_MS * WEEK_MS;

    fn series(days: i64, load: impl Fn(i64) -> f64) -> Vec<(Timestamp, f64)> {
        let steps = days * DAY_MS / SLOT_MS;
        (0..steps)
            .map(|n| (Timestamp::from_millis(START + n * SLOT_MS), load(n * SLOT_MS)))
            .collect()
    }

    fn hour(at: i64) -> i64 {
        at.rem_euclid(DAY_MS) / HOUR_MS
    }

    fn at(days: i64, hours: i64) -> Timestamp {
        Timestamp::from_millis(START + days * DAY_MS + hours * HOUR_MS)
    }

    const AN_HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn nothing_is_forecast_from_nothing() {
        assert_eq!(forecast(&[], at(0, 0), AN_HOUR), None);
    }

    #[test]
    fn a_morning_is_expected_before_it_comes() {
        let office = |t| if (8..18).contains(&hour(t)) { 8.0 } else { 1.0 };
        let known = forecast(&series(4, office), at(4, 8), AN_HOUR).unwrap();
        assert_eq!(known.pattern, Pattern::Daily);
        assert!((known.mean - 8.0).abs() < 1e-9 && known.p95 >= 8.0, "{known:?}");
        let night = forecast(&series(4, office), at(4, 2), AN_HOUR).unwrap();
        assert!((night.mean - 1.0).abs() < 1e-9, "{night:?}");
    }

    #[test]
    fn the_course_of_a_day_is_told_by_quarters() {
        let office = |t| if (8..18).contains(&hour(t)) { 8.0 } else { 1.0 };
        let now = at(4, 7).plus(Duration::from_secs(600));
        let known = course(&series(4, office), now, 2 * AN_HOUR);
        assert_eq!(known[0].0, at(4, 7), "the quarter that is under way");
        let begins = known.iter().find(|(_, of)| of.mean > 2.0).unwrap();
        assert_eq!((begins.0, known.len()), (at(4, 8), 9));
        assert_eq!(course(&series(4, |_| 2.0)[..FEW - 1], now, AN_HOUR), []);
    }

    #[test]
    fn weekends_are_told_from_workdays_once_two_weeks_are_known() {
        let week = |t: i64| {
            let workday = t.rem_euclid(WEEK_MS) / DAY_MS < 5;
            if workday && (8..18).contains(&hour(t)) { 8.0 } else { 1.0 }
        };
        let known = forecast(&series(21, week), at(26, 10), AN_HOUR).unwrap();
        assert_eq!(known.pattern, Pattern::Weekly);
        assert!((known.mean - 1.0).abs() < 1e-9, "day 26 is a Saturday: {known:?}");
    }

    #[test]
    fn a_load_without_a_pattern_is_given_none() {
        let mut state = 7u64;
        let noise: Vec<(Timestamp, f64)> = series(5, |_| 0.0)
            .into_iter()
            .map(|(at, _)| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (at, f64::from(u32::try_from(state >> 40).unwrap() % 100))
            })
            .collect();
        let known = forecast(&noise, at(5, 0), AN_HOUR).unwrap();
        assert_eq!(known.pattern, Pattern::None);
        assert!(known.p95 > known.mean);
    }

    #[test]
    fn a_flat_load_stays_flat() {
        let known = forecast(&series(3, |_| 2.5), at(3, 0), AN_HOUR).unwrap();
        assert!((known.mean - 2.5).abs() < 1e-9 && (known.p95 - 2.5).abs() < 1e-9);
    }
}
