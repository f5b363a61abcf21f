//! `/v1/limits`

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use drover_api::v1;
use drover_lifecycle::MigrationState;
use drover_model::MigrationLimits;

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, bad};
use crate::events::{Draft, Severity};
use crate::queue::limits;
use crate::records::{LimitsRecord, OperationRecord, Tables, Txn};

const EXPLAINED: &str = "docs/guide/drain.md explains every limit";

pub(super) async fn show(State(api): State<Arc<Api>>) -> Json<v1::LimitsInForce> {
    Json(shown(&api.records.read()))
}

pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<v1::Limits>, JsonRejection>,
) -> Reply<v1::LimitsInForce> {
    let Json(wanted) = body?;
    let limits = read(&wanted)?;
    api.records
        .update(|_| {
            let mut txn = Txn::none();
            txn.replace(LimitsRecord { limits });
            (txn, ())
        })
        .await?;
    let shown = shown(&api.records.read());
    let text = format!(
        "{} set the limits of migrations: {} out of a host, {} into a host, {} between two \
         hosts, {} in the cluster",
        caller.name, shown.out_per_host, shown.in_per_host, shown.per_link, shown.per_cluster
    );
    api.events.record(Draft::new("audit.limits", Severity::Info, text)).await;
    // Whoever waited for a limit that is higher now need not wait for the next turn.
    api.engine.begin_admitted().await;
    Ok(Json(shown))
}

fn read(wanted: &v1::Limits) -> Result<MigrationLimits, Failed> {
    let within = |name: &str, value: Option<u32>, most: u32| {
        let range: RangeInclusive<u32> = 1..=most;
        match value {
            Some(number) if !range.contains(&number) => {
                Err(bad(format!("{name} must be 1 to {most}"), EXPLAINED))
            }
            other => Ok(other),
        }
    };
    let per_host = MigrationLimits::MOST_PER_HOST;
    let defaults = MigrationLimits::default();
    let out = within("out_per_host", wanted.out_per_host, per_host)?;
    let into = within("in_per_host", wanted.in_per_host, per_host)?;
    let link = within("per_link", wanted.per_link, per_host)?;
    let most = MigrationLimits::MOST_PER_CLUSTER;
    Ok(MigrationLimits {
        out_per_host: out.unwrap_or(defaults.out_per_host),
        in_per_host: into.unwrap_or(defaults.in_per_host),
        per_link: link.unwrap_or(defaults.per_link),
        per_cluster: within("per_cluster", wanted.per_cluster, most)?,
    })
}

fn shown(tables: &Tables) -> v1::LimitsInForce {
    let limits = limits(tables);
    let queued = |of: &&OperationRecord| matches!(of.migration.state, MigrationState::Admitted);
    let unfinished = tables.operations.iter().filter(|of| !of.migration.state.is_finished());
    let (queued, under_way): (Vec<_>, Vec<_>) = unfinished.partition(queued);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    v1::LimitsInForce {
        out_per_host: limits.out_per_host,
        in_per_host: limits.in_per_host,
        per_link: limits.per_link,
        per_cluster: limits.in_cluster(tables.hosts.len()),
        per_cluster_by_size: limits.per_cluster.is_none(),
        under_way: count(under_way.len()),
        queued: count(queued.len()),
    }
}
