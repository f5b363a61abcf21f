//! All pages of droverd's history.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_api::client::Client;
use drover_api::{Problem, v1};

use super::bad;
use crate::commands::problem;

/// Pages of one export: 100 million points.
const MAX_PAGES: usize = 500;
/// All pages.
#[derive(Debug, Default)]
pub(super) struct Export {
    /// Begin, milliseconds since 1970 UTC.
    pub(super) from_ms: i64,
    /// End.
    pub(super) to_ms: i64,
    pub(super) resolution: String,
    /// Hosts and guests by id.
    pub(super) entities: BTreeMap<String, v1::EntityHistory>,
    /// The oldest first.
    pub(super) moves: Vec<v1::RecordedMove>,
}

impl Export {
    pub(super) async fn fetch(client: &Client, since: &str) -> Result<Self, Problem> {
        let mut query = v1::HistoryQuery { since: Some(since.to_owned()), ..Default::default() };
        let mut export = Self::default();
        for page in 0..MAX_PAGES {
            let read = client.history(&query).await.map_err(problem)?;
            if page == 0 {
                (export.from_ms, export.to_ms) = (read.from_ms, read.to_ms);
                export.resolution.clone_from(&read.resolution);
                export.moves = read.moves;
            }
            export.entities.extend(read.items.into_iter().map(|item| (item.id.clone(), item)));
            let Some(next) = read.next else { return Ok(export) };
            // The span and the resolution stay those of the first page.
            query = v1::HistoryQuery {
                since: None,
                resolution: Some(export.resolution.clone()),
                after: Some(next),
                from_ms: Some(export.from_ms),
                to_ms: Some(export.to_ms),
            };
        }
        Err(bad(format!("the history has more than {MAX_PAGES} pages"))
            .hint("choose a shorter --since"))
    }

    /// Between two values: of full-rate history what the agents' samples are apart.
    pub(super) fn bucket(&self) -> Duration {
        match self.resolution.as_str() {
            "5m" => Duration::from_secs(300),
            "1h" => Duration::from_secs(3600),
            _ => {
                let series = self.entities.values().flat_map(|entity| &entity.series);
                let mut apart: Vec<i64> = series
                    .flat_map(|series| series.at_ms.windows(2).map(|pair| pair[1] - pair[0]))
                    .collect();
                if apart.is_empty() {
                    return Duration::from_secs(5);
                }
                let middle = apart.len() / 2;
                let median = *apart.select_nth_unstable(middle).1;
                Duration::from_millis(median.try_into().unwrap_or(5000))
            }
        }
    }
}

/// When it begins.
pub(super) fn first_ms(entity: &v1::EntityHistory) -> Option<i64> {
    entity.series.iter().filter_map(|series| series.at_ms.first().copied()).min()
}

/// A metric's values.
pub(super) fn values<'a>(
    entity: &'a v1::EntityHistory,
    metric: &str,
) -> impl Iterator<Item = (i64, f64)> + use<'a> {
    let series = entity.series.iter().find(|series| series.metric == metric);
    series
        .into_iter()
        .flat_map(|series| series.at_ms.iter().copied().zip(series.mean.iter().copied()))
}
