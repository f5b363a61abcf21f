//! `/v1/rules`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{GuestId, HostId, RuleId, Timestamp, exact_duration};
use drover_rules::{Aggregate, Condition, HostFiring, Rule, limits};

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, bad, chain, missing};
use super::show::{find_guest, find_host};
use super::spans::span;
use crate::events::{Draft, Severity};
use crate::moment::{plan_id, rfc3339, rule_id};
use crate::reconcile::rule_wake::Next;
use crate::reconcile::rules::{Evaluation, evaluate, next_wake, plan_for};
use crate::records::{Cause, PlanRecord, PlanState, Tables, Txn};

/// The word for the clear value that follows from the threshold.
const DEFAULT: &str = "default";
/// How conditions and their values are written.
const CONDITION: &str = "write for example `cpu.usage_active > 60` (percent), `mem.available < 4GiB` or `power.watts > 250`";

pub(super) async fn list(State(api): State<Arc<Api>>) -> Reply<v1::List<v1::Rule>> {
    let mut rules: Vec<Rule> = api.records.read().rules.iter().cloned().collect();
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    let mut items = Vec::new();
    for rule in rules {
        items.push(shown(&api, rule).await?);
    }
    Ok(Json(v1::List { items }))
}

pub(super) async fn show(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Reply<v1::Rule> {
    let rule = find(&api.records.read(), &name)?;
    Ok(Json(shown(&api, rule).await?))
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<v1::CreateRule>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::Rule>), Failed> {
    let Json(request) = body?;
    let now = api.clock.now();
    let rule = api
        .records
        .update(|tables| {
            let made = read_spec(tables, &request.name, &request.spec, rule_id(), now)
                .and_then(|rule| acceptable(tables, rule));
            let mut txn = Txn::none();
            if let Ok(rule) = &made {
                txn.add(rule.clone());
            }
            (txn, made)
        })
        .await??;
    audit(&api, &caller, "created", &rule).await;
    Ok((StatusCode::CREATED, Json(shown(&api, rule).await?)))
}

pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<v1::UpdateRule>, JsonRejection>,
) -> Reply<v1::Rule> {
    let Json(change) = body?;
    let rule = api
        .records
        .update(|tables| {
            let mut txn = Txn::none();
            let changed = find(tables, &name).and_then(|rule| changed(tables, &rule, &change));
            if let Ok(rule) = &changed {
                txn.change(tables.rules.get(rule.id), rule.clone());
                // What was counted under the old condition does not count under the new.
                txn.delete_firing_if(tables, rule.id);
            }
            (txn, changed)
        })
        .await??;
    let verb = match change.enabled {
        Some(true) => "enabled",
        Some(false) => "disabled",
        None => "changed",
    };
    audit(&api, &caller, verb, &rule).await;
    Ok(Json(shown(&api, rule).await?))
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failed> {
    let rule = api
        .records
        .update(|tables| {
            let mut txn = Txn::none();
            let found = find(tables, &name);
            if let Ok(rule) = &found {
                txn.delete_rule(rule.id);
                txn.delete_firing_if(tables, rule.id);
            }
            (txn, found)
        })
        .await??;
    audit(&api, &caller, "deleted", &rule).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn test(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Reply<v1::RuleTest> {
    let rule = find(&api.records.read(), &name)?;
    let now = api.clock.now();
    let evaluation =
        evaluate(&api.records, api.history.as_ref(), &rule, now, api.sample_interval).await?;
    let hot: Vec<HostId> = evaluation
        .hosts
        .iter()
        .map(|(host, _, _)| *host)
        .filter(|host| {
            evaluation
                .view
                .host_value(*host, rule.condition.metric)
                .is_some_and(|value| rule.condition.holds(value))
        })
        .collect();
    let tables = api.records.read();
    let would_fire = !hot.is_empty();
    let plan = would_fire.then(|| {
        let (plan, report) = plan_for(&tables, &rule, &evaluation.view, hot.clone());
        let record = PlanRecord {
            settings: drover_model::MigrationSettings::default(),
            id: plan_id(),
            at: now,
            cause: Cause::Rule { id: rule.id, name: rule.name.clone() },
            state: PlanState::Proposed,
            plan,
            report,
            operations: vec![],
            measure: None,
        };
        super::show::plan(&tables, &record)
    });
    let hosts = rule_hosts(&rule, &evaluation);
    let stuck = plan.as_ref().is_some_and(|plan| plan.batches.is_empty());
    let wake = (rule.wake && stuck).then(|| {
        match next_wake(&tables, &rule, &evaluation, &hot, &BTreeMap::new()) {
            Next::Wait(why) => format!("it would wait: {why}"),
            Next::Wake(host, why) => format!("it would wake {}: {why}", tables.host_name(host)),
            Next::Nobody(why) => format!("it would wake nobody: {why}"),
        }
    });
    Ok(Json(v1::RuleTest { hosts, would_fire, plan, wake }))
}

fn find(tables: &Tables, name: &str) -> Result<Rule, Failed> {
    let id: Option<RuleId> = name.parse().ok();
    tables
        .rules
        .iter()
        .find(|rule| rule.name == name || Some(rule.id) == id)
        .cloned()
        .ok_or_else(|| missing("rule", name))
}

fn read_spec(
    tables: &Tables,
    name: &str,
    spec: &v1::RuleSpec,
    id: RuleId,
    created: Timestamp,
) -> Result<Rule, Failed> {
    let condition: Condition =
        spec.condition.parse().map_err(|error| bad(chain(&error), CONDITION))?;
    let clear = match spec.clear.as_deref().filter(|text| *text != DEFAULT) {
        Some(text) => condition
            .parse_value(text)
            .map_err(|error| bad(format!("clear: {}", chain(&error)), CONDITION))?,
        None => condition.default_clear(),
    };
    Ok(Rule {
        id,
        name: name.to_owned(),
        enabled: true,
        condition,
        clear,
        period: span("period", &spec.period)?,
        aggregate: aggregate(spec.aggregate),
        evaluations: spec.evaluations,
        source_hosts: hosts(tables, &spec.source_hosts)?,
        target_hosts: hosts(tables, &spec.target_hosts)?,
        guests: guests(tables, &spec.guests)?,
        max_moves: spec.max_moves,
        cooldown: span("cooldown", &spec.cooldown)?,
        dry_run: spec.dry_run,
        wake: spec.wake,
        created,
    })
}

fn changed(tables: &Tables, rule: &Rule, change: &v1::UpdateRule) -> Result<Rule, Failed> {
    let mut spec = spec(tables, rule);
    // A clear value that followed from the old condition follows the new one, and so does
    // one of another metric.
    let new: Option<Condition> = change.condition.as_ref().and_then(|text| text.parse().ok());
    let metric_changes = new.is_some_and(|new| new.metric != rule.condition.metric);
    let followed = (rule.clear - rule.condition.default_clear()).abs() < 1e-9;
    if change.condition.is_some() && (followed || metric_changes) {
        spec.clear = None;
    }
    macro_rules! take {
        ($($field:ident),+) => { $(if let Some(value) = change.$field.clone() { spec.$field = value; })+ };
    }
    take!(condition, period, aggregate, evaluations, source_hosts, target_hosts, guests);
    take!(max_moves, cooldown, dry_run, wake);
    match change.clear.as_deref() {
        Some(DEFAULT) => spec.clear = None,
        Some(_) => spec.clear.clone_from(&change.clear),
        None => {}
    }
    let mut after = read_spec(tables, &rule.name, &spec, rule.id, rule.created)?;
    after.enabled = change.enabled.unwrap_or(rule.enabled);
    acceptable(tables, after)
}

fn acceptable(tables: &Tables, rule: Rule) -> Result<Rule, Failed> {
    let wrong: Vec<String> = rule.check().iter().map(ToString::to_string).collect();
    if !wrong.is_empty() {
        return Err(bad(wrong.join("; "), "docs/guide/first-rule.md explains every setting"));
    }
    if tables.rules.iter().any(|other| other.name == rule.name && other.id != rule.id) {
        return Err(Failed(
            Problem::new(ProblemKind::Conflict, format!("there is a rule `{}` already", rule.name))
                .hint("`drover rule update` changes it"),
        ));
    }
    if tables.rules.len() >= limits::MAX_RULES && tables.rules.get(rule.id).is_none() {
        return Err(Failed(
            Problem::new(
                ProblemKind::LimitReached,
                format!("there may be at most {} rules", limits::MAX_RULES),
            )
            .hint("`drover rule delete` makes room"),
        ));
    }
    Ok(rule)
}

fn hosts(tables: &Tables, names: &[String]) -> Result<Vec<HostId>, Failed> {
    names.iter().map(|name| find_host(tables, name).ok_or_else(|| missing("host", name))).collect()
}

fn guests(tables: &Tables, names: &[String]) -> Result<Vec<GuestId>, Failed> {
    names
        .iter()
        .map(|name| find_guest(tables, name).ok_or_else(|| missing("guest", name)))
        .collect()
}

const fn aggregate(wire: v1::Aggregate) -> Aggregate {
    match wire {
        v1::Aggregate::Mean => Aggregate::Mean,
        v1::Aggregate::Max => Aggregate::Max,
        v1::Aggregate::Min => Aggregate::Min,
        v1::Aggregate::P95 => Aggregate::P95,
    }
}

fn spec(tables: &Tables, rule: &Rule) -> v1::RuleSpec {
    let sign = match rule.condition.comparison {
        drover_rules::Comparison::Above => '>',
        drover_rules::Comparison::Below => '<',
    };
    v1::RuleSpec {
        condition: format!(
            "{} {sign} {}",
            rule.condition.metric,
            rule.condition.value_text(rule.condition.threshold)
        ),
        period: exact_duration(rule.period),
        aggregate: match rule.aggregate {
            Aggregate::Mean => v1::Aggregate::Mean,
            Aggregate::Max => v1::Aggregate::Max,
            Aggregate::Min => v1::Aggregate::Min,
            Aggregate::P95 => v1::Aggregate::P95,
        },
        evaluations: rule.evaluations,
        source_hosts: rule.source_hosts.iter().map(|id| tables.host_name(*id)).collect(),
        target_hosts: rule.target_hosts.iter().map(|id| tables.host_name(*id)).collect(),
        guests: rule.guests.iter().map(|id| tables.guest_name(*id)).collect(),
        max_moves: rule.max_moves,
        cooldown: exact_duration(rule.cooldown),
        clear: Some(rule.condition.value_text(rule.clear)),
        dry_run: rule.dry_run,
        wake: rule.wake,
    }
}

async fn shown(api: &Api, rule: Rule) -> Result<v1::Rule, Failed> {
    let now = api.clock.now();
    let evaluation =
        evaluate(&api.records, api.history.as_ref(), &rule, now, api.sample_interval).await?;
    let tables = api.records.read();
    let hosts = if rule.enabled { rule_hosts(&rule, &evaluation) } else { Vec::new() };
    Ok(v1::Rule {
        id: rule.id.to_string(),
        name: rule.name.clone(),
        enabled: rule.enabled,
        clear_value: rule.clear,
        spec: spec(&tables, &rule),
        hosts,
        created: rfc3339(rule.created),
    })
}

fn rule_hosts(rule: &Rule, evaluation: &Evaluation) -> Vec<v1::RuleHost> {
    let metric = rule.condition.metric;
    let mut hosts: Vec<v1::RuleHost> = evaluation
        .hosts
        .iter()
        .map(|(id, state, _)| {
            let value = evaluation.view.host_value(*id, metric);
            let estimate = value.is_some() && evaluation.view.is_estimate(*id, metric);
            let shown = match (value, state) {
                (Some(value), _) if estimate => format!("{} by estimate", metric.show(value)),
                (Some(value), _) => metric.show(value),
                (None, HostFiring::Unknown { reason, .. }) => reason.to_string(),
                (None, _) => "no value".to_owned(),
            };
            v1::RuleHost {
                host: evaluation.view.host_name(*id),
                state: state.as_str().to_owned(),
                value,
                shown,
                since: state.since().map(rfc3339),
                estimate,
            }
        })
        .collect();
    hosts.sort_by(|a, b| a.host.cmp(&b.host));
    hosts
}

async fn audit(api: &Api, caller: &Caller, verb: &str, rule: &Rule) {
    let text = format!("{} {verb} rule {} ({})", caller.name, rule.name, rule.condition);
    let draft = Draft::new("audit.rule", Severity::Info, text).rule(rule.name.clone());
    api.events.record(draft).await;
}
