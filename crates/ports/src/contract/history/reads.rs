//! Appending, windows, series at full rate.

use std::time::Duration;

use drover_model::{GuestId, HostId, Timestamp};

use super::{
    CPU, DAY, GUEST, HOST, HOUR, MEM, START, Subject, agree, at, recomputed, sample, series,
};
use crate::contract::Kept;
use crate::contract::report::promise_eq;
use crate::{Entity, MAX_SERIES_POINTS, Resolution, Retention, SamplePoint};

pub(super) async fn a_window_holds_what_was_appended_by_entity_and_time(history: Subject) -> Kept {
    // A host and a guest may have the same UUID.
    let entities = [
        Entity::Guest(GuestId::from_u128(2)),
        Entity::Host(HostId::from_u128(2)),
        Entity::Guest(GuestId::from_u128(1)),
        Entity::Host(HostId::from_u128(3 << 100)),
    ];
    let mut points = Vec::new();
    for second in [3, 1, 2] {
        for entity in entities {
            let values = vec![(CPU, 1.5), (MEM, f64::from(1_u32 << 20) * 4096.0)];
            points.push(SamplePoint { entity, at: at(second), values });
        }
    }
    history.append(Vec::new()).await?;
    history.append(points.clone()).await?;
    points.sort_by_key(|point| (point.entity, point.at));
    promise_eq!(history.window(START, at(10)).await?, points, "the window");
    history.compact(START.plus(HOUR), Retention::default()).await?;
    promise_eq!(history.window(START, at(10)).await?, points, "the window after compaction");
    Ok(())
}

pub(super) async fn a_window_includes_both_its_ends(history: Subject) -> Kept {
    history.append((0..10).map(|second| sample(HOST, at(second), 1.0)).collect()).await?;
    for compacted in [false, true] {
        let window = history.window(at(3), at(5)).await?;
        let found: Vec<Timestamp> = window.iter().map(|point| point.at).collect();
        let when = format!("moments in the window, compacted: {compacted}");
        promise_eq!(found, [at(3), at(4), at(5)], when);
        let part = history.series(HOST, CPU, at(3), at(5), Resolution::Full).await?;
        promise_eq!(part.len(), 3, "points of the series");
        promise_eq!(history.window(at(5), at(3)).await?, vec![], "a window that ends too soon");
        promise_eq!(history.window(at(10), at(20)).await?, vec![], "a window of nothing");
        history.compact(START.plus(HOUR), Retention::default()).await?;
    }
    Ok(())
}

pub(super) async fn samples_are_kept_in_their_canonical_form(history: Subject) -> Kept {
    let values = vec![(MEM, 2.0), (CPU, f64::NAN), (MEM, 3.0), (CPU, 1.0), (CPU, f64::INFINITY)];
    let points = vec![
        SamplePoint { entity: HOST, at: at(1), values },
        SamplePoint { entity: HOST, at: at(2), values: vec![(CPU, -0.0), (MEM, f64::MAX)] },
        SamplePoint { entity: HOST, at: at(3), values: vec![(MEM, f64::NAN)] },
        SamplePoint { entity: HOST, at: at(4), values: Vec::new() },
        SamplePoint { entity: HOST, at: at(5), values: vec![(MEM, f64::MIN_POSITIVE)] },
    ];
    let wanted: Vec<SamplePoint> = points.iter().cloned().map(SamplePoint::canonical).collect();
    history.append(points).await?;
    promise_eq!(history.window(START, at(9)).await?, wanted, "the window");
    history.compact(START.plus(HOUR), Retention::default()).await?;
    promise_eq!(history.window(START, at(9)).await?, wanted, "the window after compaction");
    Ok(())
}

pub(super) async fn a_second_sample_of_the_same_moment_replaces_the_first(
    history: Subject,
) -> Kept {
    history.append((0..5).map(|second| sample(HOST, at(second), 1.0)).collect()).await?;
    let values = vec![(MEM, 7.0)];
    history.append(vec![SamplePoint { entity: HOST, at: at(1), values: values.clone() }]).await?;
    history.append(vec![sample(HOST, at(2), 5.0), sample(HOST, at(2), 6.0)]).await?;
    history.compact(START.plus(HOUR), Retention::default()).await?;
    history.append(vec![sample(HOST, at(3), 9.0)]).await?;
    let samples = [(at(0), 1.0), (at(2), 6.0), (at(3), 9.0), (at(4), 1.0)];
    for when in ["before", "after"] {
        let window = history.window(START, at(9)).await?;
        promise_eq!(window.len(), 5, "samples");
        promise_eq!(window[1].values, values, "the sample that was replaced first");
        for resolution in [Resolution::Full, Resolution::FiveMinutes, Resolution::Hour] {
            let found = series(&history, HOST, resolution).await?;
            let what = format!("{resolution:?} {when} the second compaction");
            agree(&found, &recomputed(&samples, resolution), &what)?;
        }
        history.compact(START.plus(HOUR), Retention::default()).await?;
    }
    Ok(())
}

pub(super) async fn repeats_are_harmless(history: Subject) -> Kept {
    let samples: Vec<(Timestamp, f64)> = (0..200_u32)
        .map(|number| (at(u64::from(number) * 7), f64::from(number * 37 % 101)))
        .collect();
    for _ in 0..2 {
        for _ in 0..2 {
            let points = samples.iter().map(|(at, value)| sample(GUEST, *at, *value));
            history.append(points.collect()).await?;
        }
        for resolution in [Resolution::Full, Resolution::FiveMinutes, Resolution::Hour] {
            let found = series(&history, GUEST, resolution).await?;
            agree(&found, &recomputed(&samples, resolution), &format!("{resolution:?}"))?;
        }
        promise_eq!(history.window(START, at(5000)).await?.len(), samples.len(), "samples");
        history.compact(START.plus(HOUR), Retention::default()).await?;
    }
    Ok(())
}

pub(super) async fn order_does_not_matter(history: Subject) -> Kept {
    // 1009 is a prime, so every second comes once, here and there in time.
    let moments = (0..1009_u64).map(|number| (number * 400) % 1009);
    let samples: Vec<(Timestamp, f64)> =
        moments.map(|second| (at(second), f64::from(u32::try_from(second).unwrap_or(0)))).collect();
    for part in samples.chunks(100) {
        history.append(part.iter().map(|(at, value)| sample(HOST, *at, *value)).collect()).await?;
        history.compact(START.plus(HOUR), Retention::default()).await?;
    }
    for resolution in [Resolution::Full, Resolution::FiveMinutes, Resolution::Hour] {
        let found = series(&history, HOST, resolution).await?;
        agree(&found, &recomputed(&samples, resolution), &format!("{resolution:?}"))?;
    }
    Ok(())
}

pub(super) async fn a_full_series_is_one_metric_of_one_entity(history: Subject) -> Kept {
    let other = Entity::Host(HostId::from_u128(8));
    for second in 0..20_u32 {
        let moment = at(u64::from(second));
        // The CPU is not in every sample.
        let mut values = vec![(MEM, f64::from(second))];
        if second % 3 == 0 {
            values.push((CPU, f64::from(second) / 3.0));
        }
        let points = [HOST, other].map(|entity| {
            let values = values
                .iter()
                .map(|(metric, value)| (*metric, if entity == HOST { *value } else { -1.0 }));
            SamplePoint { entity, at: moment, values: values.collect() }
        });
        history.append(points.to_vec()).await?;
    }
    let samples: Vec<(Timestamp, f64)> =
        (0..7_u32).map(|third| (at(u64::from(third) * 3), f64::from(third))).collect();
    for _ in 0..2 {
        let found = series(&history, HOST, Resolution::Full).await?;
        promise_eq!(found, recomputed(&samples, Resolution::Full), "the series");
        promise_eq!(series(&history, GUEST, Resolution::Full).await?, vec![], "of nobody");
        history.compact(START.plus(HOUR), Retention::default()).await?;
    }
    Ok(())
}

pub(super) async fn a_series_keeps_the_newest_of_too_many_points(history: Subject) -> Kept {
    let surplus = 100;
    let count = MAX_SERIES_POINTS + surplus;
    let moments: Vec<Timestamp> = (0..count as u64).map(at).collect();
    for part in moments.chunks(5000) {
        history.append(part.iter().map(|moment| sample(HOST, *moment, 1.0)).collect()).await?;
    }
    for _ in 0..2 {
        let found = series(&history, HOST, Resolution::Full).await?;
        promise_eq!(found.len(), MAX_SERIES_POINTS, "points");
        promise_eq!(found[0].at, moments[surplus], "the oldest point");
        promise_eq!(found.last().map(|point| point.at), moments.last().copied(), "the newest");
        history.compact(START.plus(HOUR * 3), Retention::default()).await?;
    }
    Ok(())
}

pub(super) async fn any_span_may_be_asked_for(history: Subject) -> Kept {
    let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    history.append(vec![sample(HOST, at(1), 1.0)]).await?;
    history.compact(first, Retention::default()).await?;
    for _ in 0..2 {
        promise_eq!(history.window(first, last).await?.len(), 1, "samples of all time");
        for resolution in [Resolution::Full, Resolution::FiveMinutes, Resolution::Hour] {
            let found = history.series(HOST, CPU, first, last, resolution).await?;
            promise_eq!(found.len(), 1, format!("{resolution:?} points of all time"));
            let none = history.series(HOST, CPU, last, first, resolution).await?;
            promise_eq!(none, vec![], format!("{resolution:?} points of no time"));
        }
        history.compact(START.plus(HOUR), Retention::default()).await?;
    }
    let forever = Retention {
        full: Duration::MAX,
        five_minutes: Duration::MAX,
        hour: Duration::MAX,
        max_bytes: u64::MAX,
    };
    history.compact(START.plus(DAY), forever).await?;
    promise_eq!(history.window(first, last).await?.len(), 1, "samples that are kept forever");
    Ok(())
}
