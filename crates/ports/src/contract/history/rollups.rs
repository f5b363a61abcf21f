//! Buckets against recomputation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_model::{HostId, Timestamp};

use super::{
    CPU, GUEST, HOST, HOUR, START, Subject, agree, at, joined, recomputed, sample, series,
};
use crate::contract::Kept;
use crate::contract::report::promise_eq;
use crate::{Entity, HistoryError, Resolution, Retention};

const ROLLED: [Resolution; 2] = [Resolution::FiveMinutes, Resolution::Hour];

/// Three and a half hours of samples, unevenly spaced, with a gap.
fn uneven() -> Vec<(Timestamp, f64)> {
    (0..2000_u32)
        .filter(|number| !(700..900).contains(number))
        .map(|number| {
            let moment = START.plus(Duration::from_millis(u64::from(number * 6300 + number % 89)));
            (moment, f64::from(number * number % 1013) / 7.0 - 50.0)
        })
        .collect()
}

async fn append(history: &Subject, samples: &[(Timestamp, f64)]) -> Result<(), HistoryError> {
    history.append(samples.iter().map(|(at, value)| sample(HOST, *at, *value)).collect()).await
}

pub(super) async fn buckets_are_right_before_and_after_compaction(history: Subject) -> Kept {
    let samples = uneven();
    append(&history, &samples).await?;
    for hours in 0..6 {
        for resolution in ROLLED {
            let found = series(&history, HOST, resolution).await?;
            let what = format!("{resolution:?}, compacted at hour {hours}");
            agree(&found, &recomputed(&samples, resolution), &what)?;
        }
        let now = START.plus(HOUR * hours + Duration::from_secs(1234));
        history.compact(now, Retention::default()).await?;
    }
    Ok(())
}

pub(super) async fn a_coarse_series_answers_whole_buckets(history: Subject) -> Kept {
    let samples = uneven();
    append(&history, &samples).await?;
    // Begins and ends in the middle of a bucket of five minutes, and of an hour.
    let (from, to) = (at(3600 + 450), at(3 * 3600 + 450));
    for _ in 0..2 {
        for resolution in ROLLED {
            let found = history.series(HOST, CPU, from, to, resolution).await?;
            let mut wanted = recomputed(&samples, resolution);
            wanted.retain(|bucket| bucket.at >= resolution.start_of(from) && bucket.at <= to);
            agree(&found, &wanted, &format!("{resolution:?}"))?;
        }
        history.compact(START.plus(HOUR * 6), Retention::default()).await?;
    }
    Ok(())
}

pub(super) async fn late_samples_count_in_their_buckets(history: Subject) -> Kept {
    let samples = uneven();
    let (late, early): (Vec<_>, Vec<_>) =
        samples.iter().enumerate().partition(|(number, _)| number % 5 == 0);
    let of = |part: Vec<(usize, &(Timestamp, f64))>| -> Vec<(Timestamp, f64)> {
        part.into_iter().map(|(_, sample)| *sample).collect()
    };
    append(&history, &of(early)).await?;
    history.compact(START.plus(HOUR * 5), Retention::default()).await?;
    append(&history, &of(late)).await?;
    for when in ["before", "after"] {
        for resolution in [Resolution::Full, Resolution::FiveMinutes, Resolution::Hour] {
            let found = series(&history, HOST, resolution).await?;
            let what = format!("{resolution:?}, {when} late samples are compacted");
            agree(&found, &recomputed(&samples, resolution), &what)?;
        }
        history.compact(START.plus(HOUR * 5), Retention::default()).await?;
    }
    Ok(())
}

pub(super) async fn compaction_may_be_repeated_and_overlap(history: Subject) -> Kept {
    let samples = uneven();
    let mut tasks = Vec::new();
    for (number, part) in samples.chunks(300).enumerate() {
        append(&history, part).await?;
        let history = Arc::clone(&history);
        tasks.push(tokio::spawn(async move {
            let now = START.plus(HOUR * (6 - u32::try_from(number % 6).unwrap_or(0)));
            history.compact(now, Retention::default()).await
        }));
    }
    for task in tasks {
        joined(task).await?;
    }
    for _ in 0..3 {
        for resolution in [Resolution::Full, Resolution::FiveMinutes, Resolution::Hour] {
            let found = series(&history, HOST, resolution).await?;
            agree(&found, &recomputed(&samples, resolution), &format!("{resolution:?}"))?;
        }
        promise_eq!(history.window(START, at(20_000)).await?.len(), samples.len(), "samples");
        history.compact(START.plus(HOUR * 6), Retention::default()).await?;
    }
    Ok(())
}

/// One step of a story about a history, for property tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// A sample of one of three entities, so many milliseconds after the start.
    Sample(u8, u32, f64),
    /// A compaction so many milliseconds after the start.
    Compact(u32),
}

/// Carries out the steps, then compares every series with its recomputation. Steps must
/// not reach further than the full rate is kept by default.
pub async fn rollups_agree_with_recomputation(history: Subject, steps: &[Step]) -> Kept {
    let entities = [HOST, GUEST, Entity::Host(HostId::from_u128(u128::MAX))];
    let after = |millis: u32| START.plus(Duration::from_millis(u64::from(millis)));
    let mut kept: BTreeMap<Entity, BTreeMap<Timestamp, f64>> = BTreeMap::new();
    for step in steps {
        match *step {
            Step::Sample(entity, millis, value) => {
                let entity = entities[usize::from(entity) % entities.len()];
                history.append(vec![sample(entity, after(millis), value)]).await?;
                kept.entry(entity).or_default().insert(after(millis), value);
            }
            Step::Compact(millis) => history.compact(after(millis), Retention::default()).await?,
        }
    }
    for entity in entities {
        let samples: Vec<(Timestamp, f64)> =
            kept.get(&entity).into_iter().flatten().map(|(at, value)| (*at, *value)).collect();
        for resolution in [Resolution::Full, Resolution::FiveMinutes, Resolution::Hour] {
            let found = series(&history, entity, resolution).await?;
            let what = format!("{resolution:?} of {entity:?}");
            agree(&found, &recomputed(&samples, resolution), &what)?;
        }
    }
    Ok(())
}
