//! Rules from files, in the shape that the API has.

use std::path::{Path, PathBuf};

use drover_api::{Problem, v1};
use drover_model::{GuestId, HostId, MetricUnit, RuleId, Timestamp, parse_duration};
use drover_rules::{Aggregate, Condition, Rule};
use drover_sim::Cluster;
use drover_sim::read::files;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{bad, unread};

/// What `drover rule show` prints, and what `POST /v1/rules` takes: what a rule says of
/// hosts just now is passed over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    name: String,
    spec: v1::RuleSpec,
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    #[serde(default, rename = "enabled")]
    _enabled: IgnoredAny,
    #[serde(default, rename = "clear_value")]
    _clear_value: IgnoredAny,
    #[serde(default, rename = "hosts")]
    _hosts: IgnoredAny,
    #[serde(default, rename = "created")]
    _created: IgnoredAny,
}

const FORM: &str = "a rule file has `name` and `spec` with a `condition`, as `drover rule show \
                    NAME -o yaml` prints them";

/// Reads every file; rules act in this order.
pub(super) fn rules(paths: &[PathBuf], cluster: &Cluster) -> Result<Vec<Rule>, Problem> {
    let mut rules: Vec<Rule> = Vec::new();
    for (number, path) in (1..).zip(paths) {
        let file = parse(path)?;
        let rule = rule(&file, RuleId::from_u128(number), cluster)
            .map_err(|problem| located(problem, path))?;
        if rules.iter().any(|other| other.name == rule.name) {
            let text = format!("{}: there is a rule `{}` already", path.display(), rule.name);
            return Err(bad(text).hint("give each rule a name of its own"));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn parse(path: &Path) -> Result<RuleFile, Problem> {
    let text = files::text(path).map_err(unread)?;
    let json = path.extension().is_some_and(|extension| extension == "json");
    let read = if json {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())
    };
    read.map_err(|error| bad(format!("{}: {error}", path.display())).hint(FORM))
}

fn located(problem: Problem, path: &Path) -> Problem {
    Problem { detail: format!("{}: {}", path.display(), problem.detail), ..problem }
}

fn rule(file: &RuleFile, id: RuleId, cluster: &Cluster) -> Result<Rule, Problem> {
    let spec = &file.spec;
    let of_condition = |error: &dyn std::error::Error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        bad(format!("{error}{cause}"))
            .hint("write for example `cpu.usage_active > 60` or `mem.available < 4GiB`")
    };
    let condition: Condition = spec.condition.parse().map_err(|error| of_condition(&error))?;
    if condition.metric.unit() == MetricUnit::Watts {
        return Err(bad(format!("{} is not modelled here", condition.metric))
            .hint("the simulator knows cpu.usage_active and mem.available"));
    }
    let clear = match spec.clear.as_deref().filter(|text| *text != "default") {
        Some(text) => condition.parse_value(text).map_err(|error| of_condition(&error))?,
        None => condition.default_clear(),
    };
    let span = |what: &str, text: &str| {
        parse_duration(text).map_err(|error| {
            bad(format!("the {what} `{text}` is unreadable: {error}"))
                .hint("write for example 30s, 2m or 1h30m")
        })
    };
    let rule = Rule {
        id,
        name: file.name.clone(),
        enabled: true,
        condition,
        clear,
        period: span("period", &spec.period)?,
        aggregate: match spec.aggregate {
            v1::Aggregate::Mean => Aggregate::Mean,
            v1::Aggregate::Max => Aggregate::Max,
            v1::Aggregate::Min => Aggregate::Min,
            v1::Aggregate::P95 => Aggregate::P95,
        },
        evaluations: spec.evaluations,
        source_hosts: hosts(&spec.source_hosts, cluster)?,
        target_hosts: hosts(&spec.target_hosts, cluster)?,
        guests: guests(&spec.guests, cluster)?,
        max_moves: spec.max_moves,
        cooldown: span("cooldown", &spec.cooldown)?,
        dry_run: false,
        wake: false,
        created: Timestamp::EPOCH,
    };
    let wrong: Vec<String> = rule.check().iter().map(ToString::to_string).collect();
    if wrong.is_empty() {
        return Ok(rule);
    }
    Err(bad(wrong.join("; ")).hint("docs/guide/first-rule.md explains every setting"))
}

fn hosts(names: &[String], cluster: &Cluster) -> Result<Vec<HostId>, Problem> {
    let find = |name: &String| cluster.host_named(name).map(|host| host.id);
    names.iter().map(|name| find(name).ok_or_else(|| unknown("host", name))).collect()
}

fn guests(names: &[String], cluster: &Cluster) -> Result<Vec<GuestId>, Problem> {
    let find = |name: &String| cluster.guest_named(name).map(|guest| guest.id);
    names.iter().map(|name| find(name).ok_or_else(|| unknown("guest", name))).collect()
}

fn unknown(kind: &str, name: &str) -> Problem {
    bad(format!("the rule names {kind} `{name}`, which the cluster does not have"))
        .hint("correct the name, or take it out of the rule's file")
}
