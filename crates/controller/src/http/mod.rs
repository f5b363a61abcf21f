//! The public API over HTTPS: one file per resource; each parses, calls and renders.

mod adjust;
mod apply;
mod around;
mod auth;
mod baselines;
mod bmc;
mod check;
mod enroll;
mod events;
mod forecast;
mod guest_history;
mod guest_policy;
mod guests;
mod history;
mod hosts;
mod labels;
mod limits;
mod maintenance;
mod metrics;
mod operations;
mod placement;
mod plans;
mod policies;
mod power;
mod power_caps;
mod power_curve;
mod power_policy;
mod power_report;
mod preview;
mod prometheus;
mod remove_host;
mod reply;
mod rules;
mod settings;
mod several;
mod show;
mod spans;
mod switch;
mod target;
mod tokens;
mod trapped;
mod watch;
mod why_not;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{delete, get, patch, post, put};
use drover_ports::{Clock, History};

use crate::ca::Authority;
use crate::engine::Engine;
use crate::events::Events;
use crate::live::Live;
use crate::power::Switchboard;
use crate::records::Records;

pub use show::operation_view;

/// What requests need.
pub struct Api {
    /// Records.
    pub records: Arc<Records>,
    /// Sessions and newest samples.
    pub live: Arc<Live>,
    /// Event log.
    pub events: Arc<Events>,
    /// Operations.
    pub engine: Engine,
    /// Metric history.
    pub history: Arc<dyn History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Switches hosts on and off.
    pub power: Switchboard,
    /// Certificates.
    pub authority: Arc<Authority>,
    /// Of healthy agents.
    pub sample_interval: Duration,
    /// The URL of this API.
    pub api_url: String,
    /// The URL that agents dial.
    pub agent_url: String,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Largest request body: rules and requests are small.
const MAX_BODY_BYTES: usize = 256 << 10;

/// All routes of [`drover_api::routes::ROUTES`].
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/hosts", get(hosts::list))
        .route("/v1/hosts/tokens", post(tokens::join))
        .route("/v1/hosts/{host}", get(hosts::show).delete(remove_host::remove))
        .route("/v1/hosts/{host}/labels", patch(labels::update))
        .route("/v1/hosts/{host}/metrics/{metric}", get(metrics::host))
        .route("/v1/hosts/{host}/power-curve", get(power_curve::show))
        .route("/v1/guests", get(guests::list))
        .route("/v1/guests/{guest}", get(guests::show))
        .route("/v1/guests/{guest}/check", get(check::check))
        .route("/v1/guests/{guest}/metrics/{metric}", get(metrics::guest))
        .route("/v1/guests/{guest}/history", get(guest_history::list))
        .route(
            "/v1/guests/{guest}/policy",
            get(guest_policy::show).put(guest_policy::set).delete(guest_policy::unset),
        )
        .route("/v1/guests/{guest}/migrate", post(guests::migrate))
        .route("/v1/migrations", post(several::migrate))
        .route("/v1/hosts/{host}/maintenance", put(maintenance::enter).delete(maintenance::leave))
        .route("/v1/hosts/{host}/power", get(power::show).patch(power::update))
        .route("/v1/hosts/{host}/bmc", get(bmc::show).put(bmc::set).delete(bmc::remove))
        .route("/v1/hosts/{host}/wake", post(switch::wake))
        .route("/v1/hosts/{host}/park", post(switch::park))
        .route("/v1/hosts/{host}/check-wake", post(switch::check_wake))
        .route("/v1/reserve", get(power::reserve).put(power::set_reserve))
        .route("/v1/limits", get(limits::show).put(limits::set))
        .route("/v1/history", get(history::page))
        .route("/v1/rules", get(rules::list).post(rules::create))
        .route("/v1/rules/{rule}", get(rules::show).patch(rules::update).delete(rules::remove))
        .route("/v1/rules/{rule}/test", post(rules::test))
        .route("/v1/placement-rules", get(placement::list).post(placement::create))
        .route("/v1/placement-rules/{name}", delete(placement::remove))
        .route("/v1/power/report", get(power_report::show))
        .route("/v1/policies", get(policies::show))
        .route("/v1/policies/balance", put(policies::set).delete(policies::unset))
        .route("/v1/policies/power-caps/{name}", put(power_caps::set).delete(power_caps::unset))
        .route("/v1/policies/power", put(power_policy::set).delete(power_policy::unset))
        .route("/v1/policies/power/decision", get(power_policy::decision))
        .route("/v1/baselines", get(baselines::list))
        .route("/v1/baselines/{group}", put(baselines::compute))
        .route("/v1/baselines/{group}/apply", post(baselines::apply))
        .route("/v1/baselines/{group}/trapped", get(trapped::trapped))
        .route("/v1/operations", get(operations::list))
        .route("/v1/operations/{operation}", get(operations::show).patch(adjust::adjust))
        .route("/v1/operations/{operation}/cancel", post(operations::cancel))
        .route("/v1/plans", get(plans::list))
        .route("/v1/plans/preview", post(preview::preview))
        .route("/v1/plans/{plan}", get(plans::show))
        .route("/v1/plans/{plan}/apply", post(apply::apply))
        .route("/v1/plans/{plan}/why-not", post(why_not::why_not))
        .route("/v1/events", get(events::list))
        .route("/v1/watch", get(watch::follow))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{token}", delete(tokens::revoke))
        .route("/v1/ca", get(enroll::ca))
        .route("/v1/agents/enroll", post(enroll::enroll))
        .route("/v1/version", get(show::version))
        .route("/v1/openapi.json", get(show::openapi))
        .route("/metrics", get(prometheus::scrape))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(reply::no_route)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&api), auth::check))
        .with_state(api)
}
