//! Joining hosts: `/v1/ca` and `/v1/agents/enroll`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::HostId;

use super::Api;
use super::reply::{Failed, bad};
use crate::events::{Draft, Severity};
use crate::records::{AgentRecord, Txn};
use crate::tokens::find_join;

/// Most addresses of one host's certificate.
/// Who writes such a request.
const JOIN: &str = "`drover-agent join` sends what is needed";
const MAX_ADDRESSES: usize = 32;

pub(super) async fn ca(State(api): State<Arc<Api>>) -> Json<v1::CaCertificate> {
    Json(v1::CaCertificate { ca_pem: api.authority.certificate_pem().to_owned() })
}

pub(super) async fn enroll(
    State(api): State<Arc<Api>>,
    body: Result<Json<v1::EnrollRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::EnrollResponse>), Failed> {
    let Json(request) = body?;
    let host: HostId = request.host_id.parse().map_err(|_| bad("host_id must be a UUID", JOIN))?;
    if request.host_name.is_empty() || request.host_name.len() > 253 {
        return Err(bad("host_name must have 1 to 253 characters", JOIN));
    }
    if request.addresses.len() > MAX_ADDRESSES {
        return Err(bad(format!("at most {MAX_ADDRESSES} addresses"), JOIN));
    }
    let (certificate_pem, sha256) = api
        .authority
        .agent(&request.csr_pem, host, &request.addresses)
        .map_err(|error| bad(format!("{error:#}"), JOIN))?;
    let now = api.clock.now();
    let agent = AgentRecord { host, name: request.host_name.clone(), sha256 };
    api.records
        .update(|tables| {
            let mut txn = Txn::none();
            let Some(join) = find_join(tables, &request.token, now) else {
                return (txn, Err(not_a_token()));
            };
            if let Some(other) =
                tables.agents.iter().find(|a| a.name == agent.name && a.host != host)
            {
                return (txn, Err(name_taken(&other.name)));
            }
            // The token is spent in the same commit that admits the host.
            txn.delete_join(join.id);
            txn.replace(agent);
            (txn, Ok(()))
        })
        .await??;
    let text = format!("host {} was given a certificate", request.host_name);
    let draft = Draft::new("host.enrolled", Severity::Info, text);
    api.events.record(draft.host(request.host_name)).await;
    let answer = v1::EnrollResponse {
        certificate_pem,
        ca_pem: api.authority.certificate_pem().to_owned(),
        agent_url: api.agent_url.clone(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

fn not_a_token() -> Failed {
    Failed(
        Problem::new(ProblemKind::Unauthenticated, "the join token is unknown, used or expired")
            .hint("make a new one with `drover host token`"),
    )
}

fn name_taken(name: &str) -> Failed {
    Failed(
        Problem::new(ProblemKind::Conflict, format!("another host is called `{name}` already"))
            .hint("choose another name with `drover-agent join --name`; if it is the same machine, its libvirt host UUID has changed"),
    )
}
