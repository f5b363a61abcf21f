//! `/v1/power/report`: what hosts have drawn, day by day.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use drover_api::v1;
use drover_model::{HostId, LineBasis, Metric, Timestamp};
use drover_ports::{Entity, Resolution, Retention};
use drover_rules::energy::{Bucket, Energy, Span, by_day, day_of};

use super::Api;
use super::reply::{Failed, Reply, bad, missing};
use super::show::find_host;
use crate::moment::{date, rfc3339};
use crate::power_line::look;
use crate::records::Tables;
use crate::view::{is_estimate, lines};

/// Days that are told where nobody says how many.
const DAYS: u32 = 30;
/// Days that five-minute buckets are read for; beyond, hours are, as history keeps them.
const FINE_DAYS: u32 = 31;
/// As far back as history goes.
const MOST_DAYS: u32 = 366;
/// Days by host beyond which they are left out: 5 MB of JSON.
const MOST_HOST_DAYS: usize = 20_000;
/// Dearest electricity there is, g/kWh: a plant that burns lignite stays below.
const MOST_CO2: f64 = 2000.0;
const DAY_MS: i64 = 86_400_000;

/// A host of the report.
struct Asked {
    id: HostId,
    name: String,
    estimate: bool,
    cores: f64,
    idle: Option<f64>,
    parked: Vec<Span>,
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    query: Result<Query<v1::PowerReportQuery>, QueryRejection>,
) -> Reply<v1::PowerReport> {
    let query = query?.0;
    let days = query.days.unwrap_or(DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(bad("days must be 1 to 366", "history is kept for a year"));
    }
    let sane = |grams: f64| (0.0..=MOST_CO2).contains(&grams);
    if query.co2.is_some_and(|grams| !sane(grams)) {
        return Err(bad("co2 must be 0 to 2000 g/kWh", "the supplier's label says how much"));
    }
    let to = api.clock.now();
    let first = (day_of(to) + 1 - i64::from(days)) * DAY_MS;
    let span = Span { from: Timestamp::from_millis(first), to };
    let fine = days <= FINE_DAYS;
    let resolution = if fine { Resolution::FiveMinutes } else { Resolution::Hour };
    let asked = asked(&api.records.read(), query.host.as_deref(), to)?;
    let in_detail = asked.len().saturating_mul(days as usize) <= MOST_HOST_DAYS;
    let mut report = Report { co2: query.co2, ..Report::default() };
    for host in asked {
        let by_day = energy_of(&api, &host, span, resolution).await?;
        let rest = at_rest(&api, &host, &by_day).await?;
        report.add(&host, rest, &by_day, in_detail);
    }
    Ok(Json(report.told(span, resolution)))
}

/// The hosts, with all that records know of them.
fn asked(tables: &Tables, only: Option<&str>, now: Timestamp) -> Result<Vec<Asked>, Failed> {
    let only = match only {
        Some(name) => Some(find_host(tables, name).ok_or_else(|| missing("host", name))?),
        None => None,
    };
    let parked = |host| {
        let spans = tables.parked.get(host).map_or(&[][..], |record| &record.spans);
        let span = |(from, to): &(Timestamp, Option<Timestamp>)| Span {
            from: *from,
            to: to.unwrap_or(now),
        };
        spans.iter().map(span).collect()
    };
    let wanted = |id: HostId| only.is_none_or(|only| only == id);
    let mut asked: Vec<Asked> = tables
        .hosts
        .iter()
        .filter(|record| wanted(record.host.id))
        .map(|record| {
            let id = record.host.id;
            Asked {
                id,
                name: record.host.name.clone(),
                estimate: is_estimate(tables, id, Metric::PowerWatts),
                cores: record.host.capabilities.cores.0,
                idle: lines(tables, id).get(&Metric::PowerWatts).map(|line| line.idle),
                parked: parked(id),
            }
        })
        .collect();
    asked.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(asked)
}

async fn energy_of(
    api: &Api,
    host: &Asked,
    span: Span,
    resolution: Resolution,
) -> Result<BTreeMap<i64, Energy>, Failed> {
    let entity = Entity::Host(host.id);
    let points =
        api.history.series(entity, Metric::PowerWatts, span.from, span.to, resolution).await?;
    let buckets: Vec<Bucket> = points
        .iter()
        .map(|point| Bucket { at: point.at, mean: point.mean, count: point.count })
        .collect();
    let span = since_known(&buckets, &host.parked, span);
    Ok(by_day(&buckets, resolution.bucket(), api.sample_interval, &host.parked, span))
}

/// A host's account begins with what is known first: it was not there before, and that is no gap.
fn since_known(buckets: &[Bucket], parked: &[Span], span: Span) -> Span {
    let measured = buckets.iter().map(|bucket| bucket.at);
    let first = measured.chain(parked.iter().map(|one| one.from)).min();
    Span { from: first.map_or(span.from, |first| first.max(span.from)), ..span }
}

/// What a host draws at rest.
#[derive(Debug, Clone, Copy)]
struct AtRest {
    watts: f64,
    is_estimate: bool,
}

/// What a host that was parked would have drawn: as it was learned, else by the usual shape of a
/// curve through what was measured. None where it was not parked: then nobody asks.
async fn at_rest(
    api: &Api,
    host: &Asked,
    by_day: &BTreeMap<i64, Energy>,
) -> Result<Option<AtRest>, Failed> {
    if by_day.values().all(|energy| energy.parked_ms <= 0.0) {
        return Ok(None);
    }
    if let Some(watts) = host.idle {
        return Ok(Some(AtRest { watts, is_estimate: host.estimate }));
    }
    let (history, now) = (api.history.as_ref(), api.clock.now());
    let known = look(history, host.id, host.cores, Metric::PowerWatts, now).await?;
    let is_learned = matches!(known.line.basis, LineBasis::Learned { .. });
    Ok(Some(AtRest { watts: known.line.idle, is_estimate: host.estimate || !is_learned }))
}

/// Energy and what was saved; the latter is none where no host was parked.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    energy: Energy,
    saved: Option<f64>,
    saved_is_estimate: bool,
}

impl Sum {
    fn of(energy: &Energy, rest: Option<AtRest>) -> Self {
        let rest = rest.filter(|_| energy.parked_ms > 0.0);
        Self {
            energy: *energy,
            saved: rest.map(|rest| energy.saved_watt_hours(rest.watts)),
            saved_is_estimate: rest.is_some_and(|rest| rest.is_estimate),
        }
    }

    fn add(&mut self, other: &Self) {
        self.energy.add(&other.energy);
        if let Some(saved) = other.saved {
            *self.saved.get_or_insert(0.0) += saved;
        }
        self.saved_is_estimate |= other.saved_is_estimate;
    }

    fn told(&self, co2: Option<f64>) -> v1::Energy {
        const HOUR_MS: f64 = 3_600_000.0;
        let kwh = self.energy.watt_hours / 1000.0;
        let saved_kwh = self.saved.map(|watt_hours| watt_hours / 1000.0);
        let kilograms = |kwh: f64| co2.map(|grams| kwh * grams / 1000.0);
        v1::Energy {
            kwh,
            measured_hours: self.energy.measured_ms / HOUR_MS,
            parked_hours: self.energy.parked_ms / HOUR_MS,
            gap_hours: self.energy.gap_ms / HOUR_MS,
            saved_kwh,
            saved_is_estimate: self.saved_is_estimate,
            co2_kg: kilograms(kwh),
            saved_co2_kg: saved_kwh.and_then(kilograms),
        }
    }
}

#[derive(Default)]
struct Report {
    co2: Option<f64>,
    total: Sum,
    hosts: Vec<v1::HostEnergy>,
    days: BTreeMap<String, Sum>,
    months: BTreeMap<String, Sum>,
}

impl Report {
    fn add(
        &mut self,
        host: &Asked,
        rest: Option<AtRest>,
        by_day: &BTreeMap<i64, Energy>,
        in_detail: bool,
    ) {
        let mut own = Sum::default();
        let mut days = Vec::new();
        for (day, energy) in by_day {
            let date = date(Timestamp::from_millis(day * DAY_MS));
            let sum = Sum::of(energy, rest);
            let month = date.get(..7).unwrap_or(&date).to_owned();
            self.days.entry(date.clone()).or_default().add(&sum);
            self.months.entry(month).or_default().add(&sum);
            self.total.add(&sum);
            own.add(&sum);
            if in_detail {
                let energy = sum.told(self.co2);
                days.push(v1::DayEnergy { date, energy });
            }
        }
        self.hosts.push(v1::HostEnergy {
            host: host.name.clone(),
            estimate: host.estimate,
            idle_watts: host.idle,
            energy: own.told(self.co2),
            days,
        });
    }

    fn told(self, span: Span, resolution: Resolution) -> v1::PowerReport {
        let co2 = self.co2;
        let each = |sums: BTreeMap<String, Sum>| {
            let told = |(date, sum): (String, Sum)| v1::DayEnergy { date, energy: sum.told(co2) };
            sums.into_iter().map(told).collect()
        };
        v1::PowerReport {
            from: rfc3339(span.from),
            to: rfc3339(span.to),
            resolution: super::metrics::name(resolution).to_owned(),
            retention: retention(),
            co2_g_per_kwh: co2,
            total: self.total.told(co2),
            hosts: self.hosts,
            days: each(self.days),
            months: each(self.months),
        }
    }
}

fn retention() -> String {
    let kept = Retention::default();
    let days = |span: Duration| span.as_secs() / 86_400;
    format!(
        "five-minute means are kept for {} days, hourly ones for {}; what is older, or was not \
         measured, is a gap",
        days(kept.five_minutes),
        days(kept.hour)
    )
}
