//! `/v1/hosts/{host}/wake`, `…/park` and `…/check-wake`: begins; the reconciler carries it out.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::HostId;

use super::Api;
use super::auth::Caller;
use super::power::shown;
use super::reply::{Failed, missing};
use super::show::find_host;
use crate::events::{Draft, Severity};
use crate::power::{
    ParkError, ParkPurpose, ParkReason, ParkRefusal, ParkWish, WakeError, request_wake,
};
use crate::records::Cause;

type Accepted<T> = Result<(StatusCode, Json<T>), Failed>;

pub(super) async fn wake(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Accepted<v1::HostPower> {
    let host = host(&api, &name)?;
    let cause = Cause::Request { who: caller.name.clone() };
    request_wake(&api.records, host, cause, api.clock.now()).await.map_err(not_woken)?;
    audit(&api, &caller, host, "audit.wake", "asked to wake").await;
    Ok((StatusCode::ACCEPTED, Json(shown(&api, host).await?)))
}

pub(super) async fn park(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<v1::ParkRequest>, JsonRejection>,
) -> Accepted<v1::ParkResponse> {
    let Json(request) = body?;
    let host = host(&api, &name)?;
    let wish = ParkWish {
        purpose: ParkPurpose::Sleep,
        untested: request.untested,
        cause: Cause::Request { who: caller.name.clone() },
    };
    let name = api.records.read().host_name(host);
    if request.dry_run {
        let refusals = api.power.park_refusals(host, &wish).await;
        let refusals = refusals.map_err(|error| not_parked(&name, error))?;
        let refusals = refusals.iter().map(|one| refusal(&name, one)).collect();
        let answer = v1::ParkResponse { refusals, power: shown(&api, host).await? };
        return Ok((StatusCode::OK, Json(answer)));
    }
    let parked = api.power.request_park(host, wish).await;
    parked.map_err(|error| not_parked(&name, error))?;
    audit(&api, &caller, host, "audit.park", "asked to park").await;
    let answer = v1::ParkResponse { refusals: Vec::new(), power: shown(&api, host).await? };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

pub(super) async fn check_wake(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Accepted<v1::HostPower> {
    let host = host(&api, &name)?;
    let wish = ParkWish {
        purpose: ParkPurpose::Test,
        untested: true,
        cause: Cause::Request { who: caller.name.clone() },
    };
    let name = api.records.read().host_name(host);
    let parked = api.power.request_park(host, wish).await;
    parked.map_err(|error| not_parked(&name, error))?;
    audit(&api, &caller, host, "audit.park", "asked to test parking and waking").await;
    Ok((StatusCode::ACCEPTED, Json(shown(&api, host).await?)))
}

fn host(api: &Api, name: &str) -> Result<HostId, Failed> {
    find_host(&api.records.read(), name).ok_or_else(|| missing("host", name))
}

async fn audit(api: &Api, caller: &Caller, host: HostId, kind: &str, what: &str) {
    let name = api.records.read().host_name(host);
    let text = format!("{} {what} {name}", caller.name);
    api.events.record(Draft::new(kind, Severity::Info, text).host(name)).await;
}

fn refusal(host: &str, one: &ParkRefusal) -> v1::ParkRefusal {
    v1::ParkRefusal {
        reason: one.reason.as_str().to_owned(),
        text: one.text.clone(),
        cure: one.reason.cure(host),
    }
}

fn not_woken(error: WakeError) -> Failed {
    let kind = match error {
        WakeError::NoHost => ProblemKind::NotFound,
        WakeError::NoMethod(_) => ProblemKind::Refused,
        WakeError::Parking { .. } => ProblemKind::Conflict,
        WakeError::Record(error) => return error.into(),
    };
    Failed(Problem::new(kind, error.to_string()).hint(error.hint()))
}

fn not_parked(host: &str, error: ParkError) -> Failed {
    match error {
        ParkError::NoHost => Failed(Problem::new(ProblemKind::NotFound, "there is no such host")),
        ParkError::Refused(refusals) => {
            let texts: Vec<&str> = refusals.iter().map(|one| one.text.as_str()).collect();
            let mut cures: Vec<String> = refusals.iter().map(|one| one.reason.cure(host)).collect();
            cures.dedup();
            let busy = refusals.iter().any(|one| one.reason == ParkReason::UnderWay);
            let kind = if busy { ProblemKind::Conflict } else { ProblemKind::Refused };
            let hint = format!("nothing was begun; {}", cures.join("; "));
            Failed(Problem::new(kind, texts.join("; ")).hint(hint))
        }
        ParkError::Look(error) => error.into(),
        ParkError::Record(error) => error.into(),
    }
}
