//! `/v1/hosts/{host}/power-curve`

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use drover_api::v1;
use drover_model::{LineBasis, Metric};
use drover_ports::Resolution;
use drover_rules::power_line::bins;

use super::Api;
use super::reply::{Failed, Reply, bad, missing};
use super::show::find_host;
use crate::moment::rfc3339;
use crate::power_line::{METRICS, look};
use crate::view::is_estimate;

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    query: Result<Query<v1::PowerCurveQuery>, QueryRejection>,
) -> Reply<v1::PowerCurve> {
    let metric = metric(query?.0.metric.as_deref())?;
    let (host, estimate) = {
        let tables = api.records.read();
        let found = find_host(&tables, &name).and_then(|id| tables.hosts.get(id));
        let host = found.ok_or_else(|| missing("host", &name))?.host.clone();
        let estimate = is_estimate(&tables, host.id, metric);
        (host, estimate)
    };
    let (now, cores) = (api.clock.now(), host.capabilities.cores.0);
    let known = look(api.history.as_ref(), host.id, cores, metric, now).await?;
    let percent = |part: f64| part * 100.0;
    let (least, most, error) = match known.line.basis {
        LineBasis::Learned { least_use, most_use, error, .. } => {
            (Some(percent(least_use)), Some(percent(most_use)), Some(error))
        }
        LineBasis::Scaled | LineBasis::Default => (None, None, None),
    };
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let measured = bins(&known.moments).into_iter().map(|bin| v1::PowerPoint {
        use_percent: percent(bin.used),
        watts: bin.watts,
        moments: count(bin.moments),
    });
    Ok(Json(v1::PowerCurve {
        host: host.name,
        metric: metric.to_string(),
        idle_watts: known.line.idle,
        full_watts: known.line.full,
        watts_per_core: known.line.per_core(cores),
        basis: known.line.basis.as_str().to_owned(),
        why_not_learned: known.why.map(|why| why.to_string()),
        moments: count(known.moments.len()),
        least_use_percent: least,
        most_use_percent: most,
        error_watts: error,
        resolution: if known.resolution == Resolution::Full { "1m" } else { "5m" }.to_owned(),
        estimate,
        measured: measured.collect(),
        at: rfc3339(now),
    }))
}

fn metric(asked: Option<&str>) -> Result<Metric, Failed> {
    let text = asked.unwrap_or(Metric::PowerWatts.name());
    METRICS.into_iter().find(|metric| metric.name() == text).ok_or_else(|| {
        bad(format!("`{text}` has no power curve"), "ask for power.watts or power.package_watts")
    })
}
