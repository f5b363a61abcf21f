//! `/v1/hosts/{host}/maintenance`: empties a host and keeps it empty.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_lifecycle::{MigrationEvent, MigrationState};
use drover_model::{GuestId, HostId, MigrationMode, MigrationSettings, OperationId, Timestamp};
use drover_planner::Plan;
use drover_rules::Initiative;
use drover_rules::constraint::Asleep;

use super::Api;
use super::around::{Looked, Silence, plan_around};
use super::auth::Caller;
use super::check::warnings;
use super::preview::SEARCHES;
use super::reply::{Failed, bad, missing};
use super::settings::settings;
use super::show::find_host;
use crate::drain::{self, Certificate, certificate, in_words};
use crate::events::{Draft, Severity};
use crate::launch::{LaunchError, Order, launch};
use crate::moment::{plan_id, rfc3339, seed};
use crate::picture::{Picture, look};
use crate::placement::asleep_of;
use crate::reconcile::drain::order;
use crate::records::{Hanging, MaintenancePhase, MaintenanceRecord, Tables, Txn};

/// Blocked guests that a refusal names; the dry run names all.
const MOST_NAMED: usize = 20;
/// A dry run asks hosts for so long: forty guests take a few seconds.
const LOOKS_AHEAD: Duration = Duration::from_secs(20);
/// A drain begins after so long at the latest: its moves are looked at again when their turn comes.
const LOOKS_FIRST: Duration = Duration::from_secs(5);

pub(super) async fn enter(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<v1::DrainRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::DrainResponse>), Failed> {
    let Json(request) = body?;
    let settings = settings(&request.options)?;
    if settings.mode != MigrationMode::Live {
        let hint = "what is shut off stays; `drover guest migrate GUEST --mode cold` moves it";
        return Err(bad("a drain moves guests live", hint));
    }
    let (host, before) = {
        let tables = api.records.read();
        let host = find_host(&tables, &name).ok_or_else(|| missing("host", &name))?;
        is_awake(&tables, host)?;
        (host, begun(&tables, host))
    };
    let looked = search(&api, host, &request, &settings).await?;
    let shown = shown_certificate(&api.records.read(), host, &looked);
    if request.dry_run {
        let answer = v1::DrainResponse { certificate: shown, maintenance: None };
        return Ok((StatusCode::OK, Json(answer)));
    }
    if !shown.feasible && !request.partial {
        return Err(refused(&shown));
    }
    let record = MaintenanceRecord {
        host,
        phase: MaintenancePhase::Draining,
        who: caller.name.clone(),
        initiative: Initiative::Request,
        begun: api.clock.now(),
        drained: None,
        to_labels: request.to_labels,
        settings,
        guests: shown.guests,
        hanging: hanging(&looked.planned),
    };
    begin(&api, &record, before, looked).await?;
    let text = format!(
        "{} asked to empty {}: {} guest(s), {} cannot leave",
        caller.name,
        shown.host,
        shown.guests,
        shown.blocked.len()
    );
    let draft = Draft::new("audit.drain", Severity::Info, text);
    api.events.record(draft.host(shown.host.clone())).await;
    let maintenance = self::shown(&api, &api.records.read(), host);
    Ok((StatusCode::ACCEPTED, Json(v1::DrainResponse { certificate: shown, maintenance })))
}

/// When the host began to be emptied, whoever wanted it.
fn begun(tables: &Tables, host: HostId) -> Option<Timestamp> {
    tables.maintenance.get(host).map(|record| record.begun)
}

/// The search takes a while. Meanwhile the host may have been parked, drained by somebody
/// else, taken into use again or removed, and none of that may be undone unseen.
fn as_looked_at(tables: &Tables, host: HostId, before: Option<Timestamp>) -> Result<(), Failed> {
    is_awake(tables, host)?;
    if tables.hosts.get(host).is_some() && begun(tables, host) == before {
        return Ok(());
    }
    let detail = format!("{} was changed while moves were searched", tables.host_name(host));
    let problem = Problem::new(ProblemKind::Conflict, detail);
    Err(Failed(problem.hint("`drover host list` shows what it is used for; ask again")))
}

/// A host that is off has nothing to be emptied of, and is closed as it is.
fn is_awake(tables: &Tables, host: HostId) -> Result<(), Failed> {
    let Some(asleep) = asleep_of(tables, host) else { return Ok(()) };
    let hint = match asleep {
        // Whoever drains it besides keeps it out of use when its park is called back.
        Asleep::Parking | Asleep::WakeFailed => return Ok(()),
        Asleep::SwitchingOff => "nothing runs there and nothing is placed there",
        Asleep::Parked => "nothing runs there and nothing is placed there while it sleeps",
        Asleep::Waking => "drain it once it is awake",
    };
    let problem = Problem::new(ProblemKind::Conflict, asleep.reason(&tables.host_name(host)));
    Err(Failed(problem.hint(hint)))
}

/// Those that are known not to get away from the start.
fn hanging(found: &Certificate) -> Vec<Hanging> {
    let hangs = |(guest, reasons): (&GuestId, &Vec<String>)| Hanging {
        guest: *guest,
        why: in_words(reasons),
        failures: 0,
    };
    found.blocked.iter().map(hangs).collect()
}

async fn search(
    api: &Api,
    host: HostId,
    request: &v1::DrainRequest,
    settings: &MigrationSettings,
) -> Result<Looked<Certificate>, Failed> {
    let now = api.clock.now();
    let picture = look(&api.records, api.history.as_ref(), now, api.sample_interval).await?;
    let picture = picture.wanted_by(Initiative::Request);
    let labels = request.to_labels.clone();
    let none = drain::targets(&picture.placement.labels, &labels).is_empty();
    if !labels.is_empty() && none {
        let hint = "`drover host list` shows the labels; `drover host label` sets them";
        return Err(bad("no host has these labels", hint));
    }
    let plan = |picture| planned(picture, host, labels.clone());
    let patience = if request.dry_run { LOOKS_AHEAD } else { LOOKS_FIRST };
    plan_around(api, picture, settings, (patience, Silence::Waits), plan, |found| &found.plan).await
}

async fn planned(
    picture: Picture,
    host: HostId,
    labels: BTreeMap<String, String>,
) -> Result<Certificate, Failed> {
    let _turn = SEARCHES.acquire().await.map_err(anyhow::Error::from)?;
    let search = move || certificate(&picture, host, &labels, seed());
    Ok(tokio::task::spawn_blocking(search).await.map_err(anyhow::Error::from)??)
}

/// Stores that the host is to be empty, and begins with what the certificate says. Should
/// something have come in between, the reconciler plans anew in a moment.
async fn begin(
    api: &Api,
    record: &MaintenanceRecord,
    before: Option<Timestamp>,
    looked: Looked<Certificate>,
) -> Result<(), Failed> {
    let Looked { planned: found, cleared, .. } = looked;
    let stored = record.clone();
    api.records
        .update(|tables| {
            let mut txn = Txn::none();
            let still = as_looked_at(tables, record.host, before);
            if still.is_ok() {
                txn.change(tables.maintenance.get(record.host), stored);
            }
            (txn, still)
        })
        .await??;
    let first: Vec<_> = found.plan.batches.first().cloned().into_iter().collect();
    if first.is_empty() {
        return Ok(());
    }
    let order = order(&api.records.read(), record, Plan { batches: first }, found);
    let order = Order { cleared, ..order };
    match launch(&api.records, &api.engine, order, plan_id(), record.begun, false).await {
        Ok(_) | Err(LaunchError::Overtaken(_)) => Ok(()),
        Err(LaunchError::Record(error)) => Err(error.into()),
    }
}

pub(super) async fn leave(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failed> {
    let (host, queued) = api
        .records
        .update(|tables| {
            let mut txn = Txn::none();
            let ended = end(tables, &mut txn, &name);
            (txn, ended)
        })
        .await??;
    for operation in &queued {
        api.engine.take(*operation, MigrationEvent::CancelRequested).await;
    }
    let text = format!(
        "{} takes {host} into use again; {} queued move(s) are not made",
        caller.name,
        queued.len()
    );
    api.events.record(Draft::new("audit.undrain", Severity::Info, text).host(host)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the maintenance; returns the host's name and the moves that have not begun. Those that
/// have go on: a guest half sent gains nothing by being sent for nothing.
fn end(tables: &Tables, txn: &mut Txn, name: &str) -> Result<(String, Vec<OperationId>), Failed> {
    let host = find_host(tables, name).ok_or_else(|| missing("host", name))?;
    let Some(record) = tables.maintenance.get(host) else {
        // A lost host whose wake failed is closed as well, and was not emptied.
        if let Some(power) = tables.power.get(host).filter(|power| power.has_failed()) {
            txn.change(power, power.clone().given_up());
            return Ok((tables.host_name(host), Vec::new()));
        }
        let problem = Problem::new(ProblemKind::Conflict, format!("{name} is in use already"));
        return Err(Failed(problem.hint("`drover host list` shows which hosts are not")));
    };
    if let Some(going) = super::power::state(tables, host).filter(|going| *going != "wake-failed") {
        let problem = Problem::new(ProblemKind::Conflict, format!("{name} is {going}"));
        let hint = match going {
            "parking" => format!(
                "it was told to switch off: `drover host wake {name}` takes it into use again \
                 once it is parked"
            ),
            _ => format!("`drover host wake {name}` takes it into use again"),
        };
        return Err(Failed(problem.hint(hint)));
    }
    // Whoever uses it as it is gives up what it had.
    if let Some(power) = tables.power.get(host).filter(|power| power.has_failed()) {
        txn.change(power, power.clone().given_up());
    }
    let queued = drain::operations(tables, record)
        .filter(|of| matches!(of.migration.state, MigrationState::Admitted));
    let queued = queued.map(|of| of.migration.operation).collect();
    txn.delete_maintenance_if(tables, host);
    Ok((tables.host_name(host), queued))
}

fn refused(certificate: &v1::DrainCertificate) -> Failed {
    let named: Vec<String> = certificate
        .blocked
        .iter()
        .take(MOST_NAMED)
        .map(|one| format!("{} ({})", one.guest, in_words(&one.reasons)))
        .collect();
    let more = certificate.blocked.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let detail = format!(
        "{} of {} guest(s) cannot leave {}: {}{more}",
        certificate.blocked.len(),
        certificate.guests,
        certificate.host,
        named.join(", ")
    );
    let hint = "nothing was begun; --partial moves the others, --dry-run shows everything";
    Failed(Problem::new(ProblemKind::Refused, detail).hint(hint))
}

fn shown_certificate(
    tables: &Tables,
    host: HostId,
    looked: &Looked<Certificate>,
) -> v1::DrainCertificate {
    let found = &looked.planned;
    let blocked: Vec<v1::BlockedGuest> = found
        .blocked
        .iter()
        .map(|(guest, reasons)| v1::BlockedGuest {
            guest: tables.guest_name(*guest),
            reasons: reasons.clone(),
            failures: 0,
        })
        .collect();
    let leaving = drain::leaving(tables, host);
    let moves = found.plan.batches.iter().map(|batch| {
        let shown = batch.iter().map(|step| v1::DrainMove {
            guest: tables.guest_name(step.step.guest),
            from: tables.host_name(step.step.from),
            to: tables.host_name(step.step.to),
            bytes: step.bytes,
        });
        shown.collect()
    });
    v1::DrainCertificate {
        host: tables.host_name(host),
        feasible: blocked.is_empty(),
        guests: count(leaving.len()),
        moves: count(found.plan.moves().count()),
        bytes: found.bytes(),
        seconds: found.seconds(),
        blocked,
        stays: names(tables, &drain::staying(tables, host)),
        batches: moves.collect(),
        unasked: count(looked.unasked),
        warnings: warnings(tables, &looked.cleared),
    }
}

/// The word for a host's maintenance.
pub(super) fn state(tables: &Tables, host: HostId) -> &'static str {
    tables.maintenance.get(host).map_or("active", |record| record.phase.as_str())
}

/// How far a host is that is to be empty.
pub(super) fn shown(api: &Api, tables: &Tables, host: HostId) -> Option<v1::HostMaintenance> {
    let record = tables.maintenance.get(host)?;
    let sent = |operation| api.live.progress(operation).map_or(0.0, |of| of.percent() / 100.0);
    let progress = drain::progress(tables, record, api.clock.now(), sent);
    let hanging = record.hanging.iter().map(|one| v1::BlockedGuest {
        guest: tables.guest_name(one.guest),
        reasons: vec![one.why.clone()],
        failures: one.failures,
    });
    Some(v1::HostMaintenance {
        state: record.phase.as_str().to_owned(),
        asked_by: record.who.clone(),
        since: rfc3339(record.begun),
        drained: record.drained.map(rfc3339),
        to_labels: record.to_labels.clone(),
        guests: record.guests,
        moved: progress.moved,
        left: progress.left,
        under_way: progress.under_way,
        queued: progress.queued,
        bytes_moved: progress.bytes_moved,
        bytes_left: progress.bytes_left,
        bytes_per_second: progress.bytes_per_second,
        estimated_end: progress.end.map(rfc3339),
        hanging: hanging.collect(),
        stays: names(tables, &drain::staying(tables, host)),
    })
}

fn names(tables: &Tables, guests: &[GuestId]) -> Vec<String> {
    let mut names: Vec<String> = guests.iter().map(|guest| tables.guest_name(*guest)).collect();
    names.sort();
    names
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
