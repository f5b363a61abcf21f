//! `/metrics` in the Prometheus text format.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use drover_model::{HostState, Metric, MetricUnit};
use drover_ports::Entity;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Api;
use super::power;
use super::reply::Failed;
use super::show::fresh;
use crate::records::{PlanState, Tables};

/// A gauge of real numbers by name.
type Real = Family<Of, Gauge<f64, AtomicU64>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfInState {
    name: String,
    state: String,
}

pub(super) async fn scrape(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, Failed> {
    let mut text = String::new();
    encode(&mut text, &registry(&api))
        .map_err(|error| anyhow::anyhow!("metrics cannot be written: {error}"))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text))
}

fn registry(api: &Api) -> Registry {
    let mut registry = Registry::with_prefix("drover");
    let tables = api.records.read();
    let operations = Family::<InState, Gauge>::default();
    for operation in tables.operations.iter() {
        let state = operation.migration.state.as_str().to_owned();
        operations.get_or_create(&InState { state }).inc();
    }
    registry.register("operations", "Operations that are kept, by state", operations);
    let plans = Gauge::<i64>::default();
    plans.set(tables.plans.iter().filter(|p| p.state == PlanState::Running).count() as i64);
    registry.register("plans_running", "Plans that are being carried out", plans);
    let up = Family::<Of, Gauge>::default();
    for record in tables.hosts.iter() {
        let online = record.host.state == HostState::Online;
        up.get_or_create(&Of { name: record.host.name.clone() }).set(i64::from(online));
    }
    registry.register("host_online", "1 while agent and libvirtd answer", up);
    let help = "1 for the state that the host's power is in, 0 for the others";
    registry.register("host_power_state", help, power_states(api, &tables));
    let firing = Family::<Of, Gauge>::default();
    for rule in tables.rules.iter() {
        let count = tables.firings.get(rule.id).map_or(0, |record| {
            record
                .hosts
                .values()
                .filter(|state| matches!(state, drover_rules::HostFiring::Firing { .. }))
                .count()
        });
        firing.get_or_create(&Of { name: rule.name.clone() }).set(count as i64);
    }
    registry.register("rule_firing_hosts", "Hosts on which a rule fires", firing);
    let energy = Family::<Of, Counter<f64, AtomicU64>>::default();
    for record in tables.hosts.iter() {
        if let Some(kwh) = api.live.energy_kwh(record.host.id) {
            energy.get_or_create(&Of { name: record.host.name.clone() }).inc_by(kwh);
        }
    }
    let help = "Energy since this controller started, as far as it was measured, in kWh";
    registry.register("host_energy_kwh", help, energy);
    let hosts = tables.hosts.iter().map(|r| ("host", r.host.name.clone(), Entity::Host(r.host.id)));
    let guests = tables
        .guests
        .iter()
        .filter(|r| !r.absent)
        .map(|r| ("guest", r.guest.name.clone(), Entity::Guest(r.guest.id)));
    samples(api, &mut registry, hosts.chain(guests));
    registry
}

fn power_states(api: &Api, tables: &Tables) -> Family<OfInState, Gauge> {
    let states = Family::<OfInState, Gauge>::default();
    for host in tables.hosts.iter().map(|record| &record.host) {
        let is = power::word(tables.power.get(host.id), api.live.is_connected(host.id));
        for state in power::WORDS {
            let labels = OfInState { name: host.name.clone(), state: state.to_owned() };
            states.get_or_create(&labels).set(i64::from(state == is));
        }
    }
    states
}

/// The newest sample of each host and guest, one metric family each.
fn samples(
    api: &Api,
    registry: &mut Registry,
    entities: impl Iterator<Item = (&'static str, String, Entity)>,
) {
    let mut families: BTreeMap<(&'static str, Metric), Real> = BTreeMap::new();
    for (kind, name, entity) in entities {
        for (metric, value) in fresh(api, entity).map(|l| l.values).unwrap_or_default() {
            let family = families.entry((kind, metric)).or_default();
            family.get_or_create(&Of { name: name.clone() }).set(value);
        }
    }
    for ((kind, metric), family) in families {
        let name = metric.name().trim_start_matches("guest.").replace('.', "_");
        let unit = match metric.unit() {
            MetricUnit::Percent => Unit::Other("percent".to_owned()),
            MetricUnit::Bytes => Unit::Bytes,
            MetricUnit::BytesPerSecond => Unit::Other("bytes_per_second".to_owned()),
            MetricUnit::Cores => Unit::Other("cores".to_owned()),
            MetricUnit::Watts => Unit::Other("watts".to_owned()),
        };
        let help = format!("Newest {metric}");
        // The unit is appended: what already ends in it would say it twice.
        let name = name.trim_end_matches(unit.as_str()).trim_end_matches('_');
        registry.register_with_unit(format!("{kind}_{name}"), help, unit, family);
    }
}
