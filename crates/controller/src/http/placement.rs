//! `/v1/placement-rules`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{GuestId, HostId, RuleId};
use drover_rules::{PlacementKind, PlacementRule, Scope, Strength};

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, bad, missing};
use super::show::{find_guest, find_host};
use crate::events::{Draft, Severity};
use crate::moment::{rfc3339, rule_id};
use crate::placement::{broken, contradiction, labels, limits, present, standing};
use crate::records::{PlacementRecord, Tables, Txn};

/// The word for single hosts as places.
pub(super) const HOST_SCOPE: &str = "host";
const EXPLAINED: &str = "docs/guide/placement.md explains every kind";

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<v1::List<v1::PlacementRule>> {
    let tables = api.records.read();
    let broken = broken(&tables, api.clock.now());
    let mut items: Vec<v1::PlacementRule> =
        tables.placement.iter().map(|record| shown(&tables, record, &broken)).collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Json(v1::List { items })
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<v1::CreatePlacementRule>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::PlacementRule>), Failed> {
    let Json(request) = body?;
    let now = api.clock.now();
    let made = api
        .records
        .update(|tables| {
            let made = read(tables, &request).and_then(|rule| acceptable(tables, rule));
            let made = made.map(|rule| PlacementRecord { id: rule_id(), rule, created: now });
            let mut txn = Txn::none();
            if let Ok(record) = &made {
                txn.add(record.clone());
            }
            (txn, made)
        })
        .await??;
    audit(&api, &caller, "created", &made.rule.name).await;
    let tables = api.records.read();
    let broken = broken(&tables, now);
    Ok((StatusCode::CREATED, Json(shown(&tables, &made, &broken))))
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failed> {
    let removed = api
        .records
        .update(|tables| {
            let id: Option<RuleId> = name.parse().ok();
            let named = |r: &&PlacementRecord| r.rule.name == name || Some(r.id) == id;
            let mut txn = Txn::none();
            let found = tables.placement.iter().find(named).map(|r| (r.id, r.rule.name.clone()));
            if let Some((id, _)) = &found {
                txn.delete_placement(*id);
            }
            (txn, found.ok_or_else(|| missing("placement rule", &name)))
        })
        .await??;
    audit(&api, &caller, "deleted", &removed.1).await;
    Ok(StatusCode::NO_CONTENT)
}

fn read(tables: &Tables, request: &v1::CreatePlacementRule) -> Result<PlacementRule, Failed> {
    let guests: Vec<GuestId> = named(&request.guests, "guest", |name| find_guest(tables, name))?;
    let hosts: Vec<HostId> = named(&request.hosts, "host", |name| find_host(tables, name))?;
    unused(request)?;
    let is_group = !by_host(request.kind);
    if guests.len() < if is_group { 2 } else { 1 } {
        let fewest = if is_group { "two different guests" } else { "one guest" };
        return Err(bad(
            format!("it needs at least {fewest}"),
            "name them with --guest, repeatedly",
        ));
    }
    if !is_group && hosts.is_empty() {
        return Err(bad("it needs at least one host", "name it with --host; repeatable"));
    }
    let scope = scope(tables, request.scope.as_deref())?;
    let most = request.most.unwrap_or(1);
    let least = request.least.unwrap_or(2);
    if most == 0 || usize::from(most) >= guests.len() && request.kind == v1::PlacementKind::Apart {
        return Err(bad("`most` must be 1 to one less than the number of guests", EXPLAINED));
    }
    let too_many = usize::from(least) > guests.len() && request.kind == v1::PlacementKind::Spread;
    if least < 2 || too_many {
        return Err(bad("`least` must be 2 to the number of guests", EXPLAINED));
    }
    let kind = match request.kind {
        v1::PlacementKind::Apart => PlacementKind::Apart { guests, scope, most },
        v1::PlacementKind::Together => PlacementKind::Together { guests, scope },
        v1::PlacementKind::Spread => PlacementKind::Spread { guests, scope, least },
        v1::PlacementKind::On => PlacementKind::On { guests, hosts },
        v1::PlacementKind::NotOn => PlacementKind::NotOn { guests, hosts },
    };
    let strength = request.prefer.map_or(Strength::Required, Strength::Preferred);
    Ok(PlacementRule { name: request.name.clone(), kind, strength })
}

/// What was given and means nothing for the kind is a mistake.
fn unused(request: &v1::CreatePlacementRule) -> Result<(), Failed> {
    use v1::PlacementKind as K;
    let kind = request.kind;
    let wrong = [
        (!request.hosts.is_empty() && !by_host(kind), "hosts are for `on` and `not-on`"),
        (request.scope.is_some() && by_host(kind), "a scope is for `apart`, `together`, `spread`"),
        (request.most.is_some() && kind != K::Apart, "`most` is for `apart`"),
        (request.least.is_some() && kind != K::Spread, "`least` is for `spread`"),
    ];
    match wrong.iter().find(|(wrong, _)| *wrong) {
        Some((_, text)) => Err(bad(*text, EXPLAINED)),
        None => Ok(()),
    }
}

const fn by_host(kind: v1::PlacementKind) -> bool {
    matches!(kind, v1::PlacementKind::On | v1::PlacementKind::NotOn)
}

/// Ids of things with these names, each once.
fn named<Id: PartialEq>(
    names: &[String],
    what: &str,
    find: impl Fn(&str) -> Option<Id>,
) -> Result<Vec<Id>, Failed> {
    let mut ids = Vec::new();
    for name in names {
        let id = find(name).ok_or_else(|| missing(what, name))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn scope(tables: &Tables, text: Option<&str>) -> Result<Scope, Failed> {
    match text {
        None | Some(HOST_SCOPE) => Ok(Scope::Host),
        Some(label) if labels(tables).contains_key(label) => Ok(Scope::Label(label.to_owned())),
        Some(label) => Err(bad(
            format!("no host has a label `{label}`"),
            "`drover host label HOST rack=r1` gives it one",
        )),
    }
}

fn acceptable(tables: &Tables, rule: PlacementRule) -> Result<PlacementRule, Failed> {
    if !is_name(&rule.name) {
        return Err(bad(
            format!("the name `{}` must be 1 to 63 letters, digits, `-`, `_` or `.`", rule.name),
            EXPLAINED,
        ));
    }
    let weight = match rule.strength {
        Strength::Preferred(weight) => weight,
        Strength::Required => 1.0,
    };
    if !(weight > 0.0 && weight <= limits::MAX_WEIGHT) {
        return Err(bad(
            format!("a weight must be more than 0 and at most {}", limits::MAX_WEIGHT),
            "0.1 is about what a level 3 balance moves a guest for",
        ));
    }
    if tables.placement.iter().any(|other| other.rule.name == rule.name) {
        let detail = format!("there is a placement rule `{}` already", rule.name);
        let problem = Problem::new(ProblemKind::Conflict, detail);
        return Err(Failed(problem.hint("`drover placement delete` takes it away")));
    }
    if tables.placement.len() >= limits::MAX_RULES || rule.guests().len() > limits::MAX_GUESTS {
        let detail = format!(
            "there may be at most {} placement rules of at most {} guests",
            limits::MAX_RULES,
            limits::MAX_GUESTS
        );
        let problem = Problem::new(ProblemKind::LimitReached, detail);
        return Err(Failed(problem.hint("`drover placement delete` makes room")));
    }
    let mut rules = standing(tables).rules;
    let hosts: Vec<HostId> = tables.hosts.iter().map(|record| record.host.id).collect();
    let labels = labels(tables);
    let found = |rules: &[PlacementRule]| {
        contradiction(rules, &labels, &hosts, |guest| tables.guest_name(guest))
    };
    // What others contradict already, since a host went away, is not this rule's fault.
    let before = found(&rules);
    rules.push(rule.clone());
    match found(&rules).filter(|why| before.as_ref() != Some(why)) {
        None => Ok(rule),
        Some(why) => Err(Failed(
            Problem::new(ProblemKind::Refused, format!("`{}` can never hold: {why}", rule.name))
                .hint("delete the other rule first, or only prefer one of them: --prefer 1"),
        )),
    }
}

/// Whether it is a name as rules have.
pub(super) fn is_name(text: &str) -> bool {
    (1..=limits::MAX_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn shown(
    tables: &Tables,
    record: &PlacementRecord,
    broken: &BTreeMap<String, String>,
) -> v1::PlacementRule {
    use v1::PlacementKind as K;
    let rule = &record.rule;
    let now = present(tables, rule);
    let why = match &now {
        Some(_) => broken.get(&rule.name).cloned(),
        None => Some("too few of its guests or hosts are there: it rests".to_owned()),
    };
    let hosts = |hosts: &[HostId]| {
        let there = hosts.iter().filter(|host| tables.hosts.get(**host).is_some());
        there.map(|host| tables.host_name(*host)).collect()
    };
    let word = |scope: &Scope| match scope {
        Scope::Host => HOST_SCOPE.to_owned(),
        Scope::Label(label) => label.clone(),
    };
    let (kind, hosts, scope, most, least) = match &rule.kind {
        PlacementKind::Apart { scope, most, .. } => {
            (K::Apart, vec![], Some(word(scope)), Some(*most), None)
        }
        PlacementKind::Together { scope, .. } => {
            (K::Together, vec![], Some(word(scope)), None, None)
        }
        PlacementKind::Spread { scope, least, .. } => {
            (K::Spread, vec![], Some(word(scope)), None, Some(*least))
        }
        PlacementKind::On { hosts: on, .. } => (K::On, hosts(on), None, None, None),
        PlacementKind::NotOn { hosts: off, .. } => (K::NotOn, hosts(off), None, None, None),
    };
    let is_there = |guest: &&GuestId| tables.guests.get(**guest).is_some_and(|r| !r.absent);
    let guests = rule.guests().iter().filter(is_there);
    v1::PlacementRule {
        id: record.id.to_string(),
        name: rule.name.clone(),
        kind,
        guests: guests.map(|guest| tables.guest_name(*guest)).collect(),
        hosts,
        scope,
        most,
        least,
        prefer: match rule.strength {
            Strength::Required => None,
            Strength::Preferred(weight) => Some(weight),
        },
        holds: !broken.contains_key(&rule.name),
        why,
        created: rfc3339(record.created),
    }
}

async fn audit(api: &Api, caller: &Caller, verb: &str, name: &str) {
    let text = format!("{} {verb} placement rule {name}", caller.name);
    api.events.record(Draft::new("audit.placement", Severity::Info, text)).await;
}
