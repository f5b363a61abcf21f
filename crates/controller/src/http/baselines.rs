//! `/v1/baselines`

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use drover_agent_api::v1::DefineCpu;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{CpuPlatform, Host, HostId, NamedCpu};
use drover_rules::baseline::changes;

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, bad, missing};
use super::show::find_guest;
use crate::baseline::{common_cpu, hosts_of, offers};
use crate::events::{Draft, Severity};
use crate::live::{Answer, AskError, Question};
use crate::moment::{baseline_id, rfc3339};
use crate::preflight::encode;
use crate::records::{BaselineRecord, Tables, Txn};

/// Most guests of one request: each takes its host's agent a moment.
const MAX_GUESTS: usize = 1000;

pub(super) async fn list(State(api): State<Arc<Api>>) -> Reply<v1::List<v1::Baseline>> {
    let records: Vec<BaselineRecord> = api.records.read().baselines.iter().cloned().collect();
    let mut items = Vec::new();
    for record in records {
        let hosts = hosts_of(&api.records.read(), &record.group).unwrap_or_default();
        items.push(shown(&api, &record, &hosts).await);
    }
    items.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(Json(v1::List { items }))
}

pub(super) async fn compute(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(group): Path<String>,
    body: Result<Json<v1::ComputeBaseline>, JsonRejection>,
) -> Reply<v1::Baseline> {
    let Json(request) = body?;
    let hosts = group_hosts(&api.records.read(), &group)?;
    let platform = platform(&hosts, &request)?;
    let offers = offers(&api.live, &hosts, &platform).await;
    let mut cpus = Vec::new();
    let mut silent = Vec::new();
    for host in &hosts {
        match offers.get(&host.id) {
            Some(Ok(offer)) => match &offer.host_model {
                Some(cpu) => cpus.push(cpu.clone()),
                None => silent.push(format!("{} names no CPU for guests", host.name)),
            },
            Some(Err(why)) => silent.push(format!("{}: {why}", host.name)),
            None => {}
        }
    }
    if !silent.is_empty() {
        return Err(refused(&silent, "every host of the group has to answer (`drover host list`)"));
    }
    let cpu = common_cpu(&api.live, &hosts, &platform, &cpus).await.map_err(|reasons| {
        refused(&reasons, "hosts that have nothing in common need groups of their own: label them")
    })?;
    let fingerprints = offers
        .into_iter()
        .filter_map(|(host, offer)| Some((host, offer.ok()?.fingerprint)))
        .collect();
    let now = api.clock.now();
    let record = api
        .records
        .update(|tables| {
            let before = tables.baselines.iter().find(|record| record.group == group);
            let same = before.is_some_and(|b| b.cpu == cpu && b.platform == platform);
            let generation = before.map_or(0, |before| before.generation) + u32::from(!same);
            let record = BaselineRecord {
                id: before.map_or_else(baseline_id, |before| before.id),
                group: group.clone(),
                generation,
                platform,
                cpu,
                hosts: fingerprints,
                computed: now,
            };
            let mut txn = Txn::none();
            txn.change(before, record.clone());
            (txn, record)
        })
        .await?;
    let text = format!(
        "{} computed the CPU baseline of {group}: {} with {} features, generation {}",
        caller.name,
        record.cpu.model,
        given(&record.cpu).len(),
        record.generation
    );
    api.events.record(Draft::new("audit.baseline", Severity::Info, text)).await;
    Ok(Json(shown(&api, &record, &hosts).await))
}

pub(super) async fn apply(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(group): Path<String>,
    body: Result<Json<v1::ApplyBaseline>, JsonRejection>,
) -> Reply<v1::List<v1::AppliedCpu>> {
    let Json(request) = body?;
    if request.guests.is_empty() || request.guests.len() > MAX_GUESTS {
        return Err(bad(format!("name 1 to {MAX_GUESTS} guests"), "`drover guest list`"));
    }
    let record = find(&api.records.read(), &group)?;
    // All are found before any is written.
    let targets: Vec<Target> = {
        let tables = api.records.read();
        let target = |name: &String| target(&tables, &record, name);
        request.guests.iter().map(target).collect::<Result<_, Failed>>()?
    };
    let mut items = Vec::new();
    for target in targets {
        let told = write(&api, &target, &record.cpu).await;
        if told.is_ok() {
            let text = format!(
                "{} gave {} the CPU baseline of {group}, generation {}",
                caller.name, target.name, record.generation
            );
            let draft = Draft::new("audit.baseline", Severity::Info, text);
            api.events.record(draft.guest(target.name.clone())).await;
        }
        let (counts, why) = match told {
            Ok(true) => ("at-next-start", None),
            Ok(false) => ("at-start", None),
            Err(why) => ("failed", Some(why)),
        };
        items.push(v1::AppliedCpu { guest: target.name, counts: counts.to_owned(), why });
    }
    Ok(Json(v1::List { items }))
}

/// A guest whose definition is to be written.
struct Target {
    name: String,
    host: HostId,
    question: Result<(drover_model::GuestId, u64), String>,
}

fn target(tables: &Tables, record: &BaselineRecord, name: &str) -> Result<Target, Failed> {
    let id = find_guest(tables, name).ok_or_else(|| missing("guest", name))?;
    let found = tables.guests.get(id).ok_or_else(|| missing("guest", name))?;
    let guest = &found.guest;
    let under_way = tables
        .operations
        .iter()
        .any(|op| op.migration.guest == id && !op.migration.state.is_finished());
    let question = if under_way {
        Err("a move of it is under way".to_owned())
    } else if guest.virt_type != record.platform.virt_type {
        Err(format!(
            "it is a {} guest; the baseline is for {}",
            guest.virt_type, record.platform.virt_type
        ))
    } else {
        Ok((id, tables.owners.get(id).map_or(0, |owner| owner.epoch.0)))
    };
    Ok(Target { name: guest.name.clone(), host: guest.host, question })
}

/// Whether the CPU counts only from the guest's next start.
async fn write(api: &Api, target: &Target, cpu: &NamedCpu) -> Result<bool, String> {
    let (guest, epoch) = target.question.clone()?;
    let asked = DefineCpu { guest_id: guest.to_string(), epoch, cpu_json: encode(cpu) };
    match api.live.ask(target.host, Question::DefineCpu(asked)).await {
        Ok(Answer::CpuDefined(defined)) => Ok(defined.at_next_start),
        Ok(_) => Err(AskError::Unexpected.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Finds a stored baseline.
fn find(tables: &Tables, group: &str) -> Result<BaselineRecord, Failed> {
    let found = tables.baselines.iter().find(|record| record.group == group);
    found.cloned().ok_or_else(|| missing("baseline", group))
}

/// The hosts of a group, which has some.
pub(super) fn group_hosts(tables: &Tables, group: &str) -> Result<Vec<Host>, Failed> {
    let written = "a group is `all`, or a label and its value such as rack=r1";
    let hosts = hosts_of(tables, group).ok_or_else(|| bad(format!("`{group}`"), written))?;
    if hosts.is_empty() {
        let detail = format!("no host is in the group `{group}`");
        return Err(Failed(Problem::new(ProblemKind::NotFound, detail).hint(written)));
    }
    Ok(hosts)
}

fn platform(hosts: &[Host], request: &v1::ComputeBaseline) -> Result<CpuPlatform, Failed> {
    let all_have = |kind: &str| {
        hosts.iter().all(|host| host.capabilities.virt_types.iter().any(|t| t == kind))
    };
    let virt_type = match &request.virt_type {
        Some(asked) if all_have(asked) => asked.clone(),
        Some(asked) => {
            let detail = format!("not every host of the group has the domain type `{asked}`");
            return Err(bad(detail, "`drover host show` tells what a host has"));
        }
        None => if all_have("kvm") { "kvm" } else { "qemu" }.to_owned(),
    };
    let arch = hosts.first().map(|host| host.capabilities.cpu.arch.clone()).unwrap_or_default();
    if let Some(other) = hosts.iter().find(|host| host.capabilities.cpu.arch != arch) {
        let detail = format!("{} is of another architecture than {arch}", other.name);
        return Err(bad(detail, "label hosts of one architecture and name that group"));
    }
    Ok(CpuPlatform { virt_type, arch, machine: request.machine.clone().unwrap_or_default() })
}

async fn shown(api: &Api, record: &BaselineRecord, hosts: &[Host]) -> v1::Baseline {
    let now = offers(&api.live, hosts, &record.platform).await;
    let mut items: Vec<v1::BaselineHost> = hosts
        .iter()
        .map(|host| {
            let offer = now.get(&host.id).and_then(|offer| offer.as_ref().ok());
            let changed = match (record.hosts.get(&host.id), offer) {
                (None, _) => vec!["it joined the group".to_owned()],
                (Some(before), Some(offer)) => changes(before, &offer.fingerprint),
                (Some(_), None) => Vec::new(),
            };
            v1::BaselineHost { host: host.name.clone(), changed, answered: offer.is_some() }
        })
        .collect();
    let gone = record.hosts.keys().filter(|id| !hosts.iter().any(|host| host.id == **id));
    items.extend(gone.map(|id| v1::BaselineHost {
        host: api.records.read().host_name(*id),
        changed: vec!["it left the group".to_owned()],
        answered: false,
    }));
    v1::Baseline {
        group: record.group.clone(),
        generation: record.generation,
        computed: rfc3339(record.computed),
        virt_type: record.platform.virt_type.clone(),
        model: record.cpu.model.clone(),
        features: given(&record.cpu),
        xml: record.cpu.xml(),
        outdated: items.iter().any(|host| !host.changed.is_empty()),
        hosts: items,
    }
}

fn given(cpu: &NamedCpu) -> Vec<String> {
    cpu.features.iter().filter(|(_, has)| **has).map(|(name, _)| name.clone()).collect()
}

fn refused(reasons: &[String], hint: &str) -> Failed {
    let detail = format!("there is no common CPU:\n{}", reasons.join("\n"));
    Failed(Problem::new(ProblemKind::Refused, detail).hint(hint))
}
