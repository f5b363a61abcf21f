//! What goes, and when.

use std::time::Duration;

use drover_model::Timestamp;

use super::{CPU, DAY, HOST, HOUR, MEM, START, Subject, agree, at, recomputed, sample, series};
use crate::contract::Kept;
use crate::contract::report::{promise, promise_eq};
use crate::{MAX_OVERDUE, Resolution, Retention, SamplePoint};

const RETENTION: Retention = Retention {
    full: DAY,
    five_minutes: DAY.saturating_mul(5),
    hour: DAY.saturating_mul(12),
    max_bytes: 4 << 30,
};

/// A sample every ten minutes for 20 days, compacted every six hours.
async fn twenty_days(history: &Subject) -> Result<Vec<(Timestamp, f64)>, crate::HistoryError> {
    let samples: Vec<(Timestamp, f64)> =
        (0..2880_u32).map(|number| (at(u64::from(number) * 600), f64::from(number))).collect();
    for part in samples.chunks(36) {
        history.append(part.iter().map(|(at, value)| sample(HOST, *at, *value)).collect()).await?;
        history.compact(part[part.len() - 1].0, RETENTION).await?;
    }
    Ok(samples)
}

pub(super) async fn each_resolution_goes_at_its_age(history: Subject) -> Kept {
    let samples = twenty_days(&history).await?;
    let now = samples[samples.len() - 1].0.plus(HOUR);
    history.compact(now, RETENTION).await?;
    let spans = [
        (Resolution::Full, RETENTION.full),
        (Resolution::FiveMinutes, RETENTION.five_minutes),
        (Resolution::Hour, RETENTION.hour),
    ];
    for (resolution, span) in spans {
        let found = series(&history, HOST, resolution).await?;
        let Some(oldest) = found.first() else {
            return Err(crate::contract::Unkept(format!("{resolution:?}: nothing is left")));
        };
        let (must, may) = (now.minus(span), now.minus(span).minus(MAX_OVERDUE));
        promise!(oldest.at <= must.plus(HOUR), "{resolution:?}: {:?} went too soon", must);
        promise!(oldest.at >= may, "{resolution:?}: {:?} is still there", oldest.at);
        let mut wanted = recomputed(&samples, resolution);
        wanted.retain(|bucket| bucket.at >= oldest.at);
        agree(&found, &wanted, &format!("{resolution:?}, what is left"))?;
    }
    let window = history.window(START, now.minus(RETENTION.full).minus(MAX_OVERDUE)).await?;
    promise_eq!(window.len(), 0, "old samples in the window");
    Ok(())
}

pub(super) async fn buckets_outlive_their_samples(history: Subject) -> Kept {
    let samples: Vec<(Timestamp, f64)> =
        (0..600_u32).map(|number| (at(u64::from(number) * 10), f64::from(number))).collect();
    history.append(samples.iter().map(|(at, value)| sample(HOST, *at, *value)).collect()).await?;
    history.compact(START.plus(HOUR * 2), Retention::default()).await?;
    for days in [4, 10] {
        history.compact(START.plus(DAY * days), Retention::default()).await?;
        let full = series(&history, HOST, Resolution::Full).await?;
        promise_eq!(full.len(), 0, format!("samples after {days} days"));
        for resolution in [Resolution::FiveMinutes, Resolution::Hour] {
            let found = series(&history, HOST, resolution).await?;
            let what = format!("{resolution:?} after {days} days");
            agree(&found, &recomputed(&samples, resolution), &what)?;
        }
    }
    history.compact(START.plus(DAY * 40), Retention::default()).await?;
    let five = series(&history, HOST, Resolution::FiveMinutes).await?;
    promise_eq!(five.len(), 0, "buckets of five minutes after 40 days");
    promise_eq!(series(&history, HOST, Resolution::Hour).await?.len(), 2, "hours after 40 days");
    history.compact(START.plus(DAY * 400), Retention::default()).await?;
    promise_eq!(series(&history, HOST, Resolution::Hour).await?.len(), 0, "hours after 400 days");
    Ok(())
}

pub(super) async fn the_oldest_full_samples_go_beyond_the_size(history: Subject) -> Kept {
    const HOURS: u64 = 10;
    // Noise: no encoding makes half a megabyte of it fit into a quarter.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f64::from_bits((state >> 12) | 1_f64.to_bits())
    };
    for hour in 0..HOURS {
        let points = (0..3600).map(|second| SamplePoint {
            entity: HOST,
            at: at(hour * 3600 + second),
            values: vec![(CPU, noise()), (MEM, noise())],
        });
        history.append(points.collect()).await?;
    }
    let now = START.plus(HOUR * 10);
    let before = series(&history, HOST, Resolution::Hour).await?;
    let bounded = Retention { max_bytes: 256 << 10, ..Retention::default() };
    for _ in 0..3 {
        history.compact(now, bounded).await?;
    }
    let found = history.window(START, now).await?;
    promise!(!found.is_empty(), "nothing is left");
    promise!(found[0].at > at(5 * 3600), "{:?} is still there", found[0].at);
    let last_hour = now.minus(HOUR);
    promise!(found[0].at <= last_hour, "{:?} and before is gone", found[0].at);
    let newest = found.iter().filter(|point| point.at >= last_hour).count();
    promise_eq!(newest, 3600, "samples of the last hour");
    promise_eq!(found.last().map(|point| point.at), Some(at(HOURS * 3600 - 1)), "the newest");
    agree(&series(&history, HOST, Resolution::Hour).await?, &before, "hours")?;
    let gentle = Retention { max_bytes: 1 << 40, ..Retention::default() };
    history.compact(now.plus(Duration::from_secs(1)), gentle).await?;
    promise_eq!(history.window(START, now).await?.len(), found.len(), "samples with room");
    Ok(())
}
