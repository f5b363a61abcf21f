//! `PATCH /v1/hosts/{host}/labels`

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use drover_api::{Problem, ProblemKind, v1};
use drover_model::HostId;
use drover_rules::{Labels, PlacementRule, Scope};

use super::Api;
use super::auth::Caller;
use super::placement::{HOST_SCOPE, is_name};
use super::reply::{Failed, Reply, bad, missing};
use super::show::find_host;
use crate::events::{Draft, Severity};
use crate::placement::{contradiction, labels, limits, standing};
use crate::records::{LabelsRecord, Tables, Txn};

const WRITTEN: &str = "write `rack=r1` to set a label and `rack-` to take it away";

pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<v1::UpdateLabels>, JsonRejection>,
) -> Reply<v1::HostLabels> {
    let Json(change) = body?;
    let record = api
        .records
        .update(|tables| {
            let changed = changed(tables, &name, &change);
            let mut txn = Txn::none();
            match &changed {
                Ok(record) if record.labels.is_empty() => {
                    txn.delete_labels_if(tables, record.host);
                }
                Ok(record) => txn.change(tables.labels.get(record.host), record.clone()),
                Err(_) => {}
            }
            (txn, changed)
        })
        .await??;
    let host = api.records.read().host_name(record.host);
    let shown: Vec<String> =
        record.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
    let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(" ") };
    let text = format!("{} changed the labels of {host}: now {shown}", caller.name);
    api.events.record(Draft::new("audit.labels", Severity::Info, text).host(host.clone())).await;
    Ok(Json(v1::HostLabels { host, labels: record.labels }))
}

fn changed(tables: &Tables, name: &str, change: &v1::UpdateLabels) -> Result<LabelsRecord, Failed> {
    let host = find_host(tables, name).ok_or_else(|| missing("host", name))?;
    let mut labels = tables.labels.get(host).map(|of| of.labels.clone()).unwrap_or_default();
    for (label, value) in &change.labels {
        if !is_name(label) || !value.as_deref().is_none_or(is_name) {
            let detail = format!(
                "`{label}={}`: labels and values are 1 to 63 letters, digits, `-`, `_` or `.`",
                value.as_deref().unwrap_or_default()
            );
            return Err(bad(detail, WRITTEN));
        }
        if label == HOST_SCOPE {
            let detail = format!("`{HOST_SCOPE}` is what placement rules call single hosts");
            return Err(bad(detail, "choose another word"));
        }
        match value {
            Some(value) => drop(labels.insert(label.clone(), value.clone())),
            None => drop(labels.remove(label)),
        }
    }
    if labels.len() > limits::MAX_LABELS {
        let detail = format!("a host has at most {} labels", limits::MAX_LABELS);
        return Err(Failed(Problem::new(ProblemKind::LimitReached, detail).hint(WRITTEN)));
    }
    consistent(tables, host, &labels)?;
    Ok(LabelsRecord { host, labels })
}

/// No change of a label may make a rule impossible, or take away its meaning.
fn consistent(
    tables: &Tables,
    host: HostId,
    after: &std::collections::BTreeMap<String, String>,
) -> Result<(), Failed> {
    let mut all = labels(tables);
    for hosts in all.values_mut() {
        hosts.remove(&host);
    }
    for (label, value) in after {
        all.entry(label.clone()).or_default().insert(host, value.clone());
    }
    let rules = standing(tables).rules;
    let lost = |rule: &&PlacementRule| {
        scope_of(rule).is_some_and(|label| all.get(label).is_none_or(|hosts| hosts.is_empty()))
    };
    if let Some(rule) = rules.iter().find(lost) {
        let label = scope_of(rule).unwrap_or_default();
        let detail = format!("no host would have `{label}`, which `{}` needs", rule.name);
        let problem = Problem::new(ProblemKind::Conflict, detail);
        return Err(Failed(problem.hint("`drover placement delete` the rule first")));
    }
    let hosts: Vec<HostId> = tables.hosts.iter().map(|record| record.host.id).collect();
    let found =
        |labels: &Labels| contradiction(&rules, labels, &hosts, |guest| tables.guest_name(guest));
    let before = found(&labels(tables));
    match found(&all).filter(|why| before.as_ref() != Some(why)) {
        None => Ok(()),
        Some(why) => Err(Failed(
            Problem::new(ProblemKind::Refused, format!("with these labels {why}"))
                .hint("`drover placement list` shows the rules"),
        )),
    }
}

fn scope_of(rule: &PlacementRule) -> Option<&str> {
    use drover_rules::PlacementKind as K;
    match &rule.kind {
        K::Apart { scope: Scope::Label(label), .. }
        | K::Together { scope: Scope::Label(label), .. }
        | K::Spread { scope: Scope::Label(label), .. } => Some(label),
        _ => None,
    }
}
