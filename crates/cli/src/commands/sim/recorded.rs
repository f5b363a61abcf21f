//! From droverd's history to a cluster, a trace and the moves that were made.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_api::client::Client;
use drover_api::{Problem, v1};
use drover_model::{Bytes, GuestId, HostId, Mib, Timestamp};
use drover_sim::{Cluster, DEFAULT_LINK, GuestSpec, HostSpec, PowerCurve, Replayed, Step, Trace};

use super::bad;
use super::export::{Export, first_ms, values};
use crate::commands::problem;

/// So many buckets without a sample, and a minute at least: the guest was off.
const GAP: u32 = 3;
/// An agent that restarts is quiet for less.
const LEAST_GAP: Duration = Duration::from_secs(60);
/// A host that measured this much was full: what its guests wanted beyond is not known.
const FULL_PERCENT: f64 = 98.0;

/// What was recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) cluster: Cluster,
    pub(super) trace: Trace,
    pub(super) moves: Vec<Replayed>,
    pub(super) start: Timestamp,
    pub(super) duration: Duration,
    /// Between two values of the history.
    pub(super) bucket: Duration,
    pub(super) assumptions: Vec<String>,
}

pub(super) async fn fetch(
    client: &Client,
    since: &str,
    power: PowerCurve,
) -> Result<Recorded, Problem> {
    let hosts = client.hosts().await.map_err(problem)?;
    let guests = client.guests().await.map_err(problem)?;
    let export = Export::fetch(client, since).await?;
    put_together(&hosts, &guests, &export, power)
}

fn put_together(
    hosts: &[v1::Host],
    guests: &[v1::Guest],
    export: &Export,
    power: PowerCurve,
) -> Result<Recorded, Problem> {
    let mut silent = Vec::new();
    let mut specs = Vec::new();
    // What is known begins with the first sample: droverd may be younger than the span.
    let first = export.entities.values().filter_map(first_ms).min().ok_or_else(nothing)?.max(0);
    for host in hosts {
        match export.entities.get(&host.id).filter(|entity| first_ms(entity).is_some()) {
            Some(entity) => specs.push(host_spec(host, entity, guests, export, power)?),
            None => silent.push(host.name.clone()),
        }
    }
    let homes = homes_at_start(guests, &specs, &export.moves);
    let mut trace = Trace::new();
    let mut guest_specs = Vec::new();
    let bucket = export.bucket();
    for guest in guests {
        let Some(entity) = export.entities.get(&guest.id).filter(|e| first_ms(e).is_some()) else {
            continue;
        };
        let Some(home) = homes.get(&guest.id) else { continue };
        let spec = GuestSpec {
            id: parsed::<GuestId>(&guest.id)?,
            name: guest.name.clone(),
            vcpus: guest.vcpus.max(1),
            memory: Mib(guest.memory_mib.max(1)),
            host: *home,
        };
        record(&mut trace, &guest.name, entity, first, bucket)
            .map_err(|error| bad(format!("guest {}: {error}", guest.name)).hint("report this"))?;
        guest_specs.push(spec);
    }
    let left_out = guests.len() - guest_specs.len();
    let assumptions = assumptions(export, &silent, left_out);
    let cluster = Cluster::new(specs, guest_specs)
        .map_err(|error| bad(error.to_string()).hint("`drover host list` shows the hosts"))?;
    let known = |moved: &Replayed| {
        cluster.hosts().iter().any(|host| host.id == moved.to)
            && cluster.guests().iter().any(|guest| guest.id == moved.guest)
    };
    let moves = export.moves.iter().filter_map(|moved| replayed(moved, export, first));
    let moves = moves.filter(known).collect();
    let millis = u64::try_from(export.to_ms - export.from_ms - first).unwrap_or(0);
    Ok(Recorded {
        moves,
        cluster,
        trace,
        start: Timestamp::from_millis(export.from_ms + first),
        duration: Duration::from_millis(millis),
        bucket,
        assumptions,
    })
}

fn nothing() -> Problem {
    Problem::new(drover_api::ProblemKind::NotFound, "droverd has no history in this span")
        .hint("choose a longer --since, or wait until agents have sent samples")
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| bad(format!("`{text}` is no id")).hint("compare `drover version`"))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// What the host itself uses is what is left of its mean use when its present guests' is
/// taken away.
fn host_spec(
    host: &v1::Host,
    entity: &v1::EntityHistory,
    guests: &[v1::Guest],
    export: &Export,
    power: PowerCurve,
) -> Result<HostSpec, Problem> {
    let used = mean(values(entity, "cpu.usage_active").map(|(_, v)| v)) * host.cores / 100.0;
    let of_guests: f64 = guests
        .iter()
        .filter(|guest| guest.host == host.name)
        .filter_map(|guest| export.entities.get(&guest.id))
        .map(|entity| mean(values(entity, "guest.cpu_cores").map(|(_, value)| value)))
        .sum();
    // More than a tenth of a host would be a guest that has gone since.
    let overhead = (used - of_guests).clamp(0.0, host.cores / 10.0);
    Ok(HostSpec {
        id: parsed(&host.id)?,
        name: host.name.clone(),
        cores: host.cores,
        memory: Bytes(host.memory_bytes),
        overhead_cores: overhead,
        power,
        link: DEFAULT_LINK,
    })
}

/// Where each guest was at the start: where it is now, less the moves since.
fn homes_at_start(
    guests: &[v1::Guest],
    hosts: &[HostSpec],
    moves: &[v1::RecordedMove],
) -> BTreeMap<String, HostId> {
    let mut homes = BTreeMap::new();
    for guest in guests {
        let known = hosts.iter().find(|host| host.name == guest.host);
        homes.extend(known.map(|host| (guest.id.clone(), host.id)));
    }
    for moved in moves.iter().rev() {
        let from = moved.from.parse().ok();
        let known = from.filter(|id: &HostId| hosts.iter().any(|host| host.id == *id));
        if let (Some(home), Some(from)) = (homes.get_mut(&moved.guest), known) {
            *home = from;
        }
    }
    homes
}

/// Adds a guest's steps; a gap is a guest that wants nothing.
fn record(
    trace: &mut Trace,
    name: &str,
    entity: &v1::EntityHistory,
    first: i64,
    bucket: Duration,
) -> Result<(), drover_sim::StepError> {
    let memory: BTreeMap<i64, f64> = values(entity, "guest.resident").collect();
    let gap = i64::try_from((bucket * GAP).max(LEAST_GAP).as_millis()).unwrap_or(i64::MAX);
    let since = |ms: i64| Duration::from_millis(u64::try_from(ms - first).unwrap_or(0));
    let mut last: Option<i64> = None;
    for (at, cores) in values(entity, "guest.cpu_cores") {
        if let Some(before) = last.filter(|before| at - before > gap) {
            let off = Step { at: since(before + gap), cores: 0.0, memory: Some(Bytes(0)) };
            trace.push(name, off)?;
        }
        // The bucket that the span begins in begins before it.
        if last.is_none_or(|before| since(at) > since(before)) {
            let memory = memory.get(&at).map(|bytes| Bytes(bytes.max(0.0) as u64));
            trace.push(name, Step { at: since(at), cores: cores.max(0.0), memory })?;
            last = Some(at);
        }
    }
    Ok(())
}

fn replayed(moved: &v1::RecordedMove, export: &Export, first: i64) -> Option<Replayed> {
    let at = u64::try_from(moved.began_ms - export.from_ms - first).unwrap_or(0);
    Some(Replayed {
        at: Duration::from_millis(at),
        guest: moved.guest.parse().ok()?,
        to: moved.to.parse().ok()?,
        cause: moved.cause.clone(),
    })
}

fn assumptions(export: &Export, silent: &[String], left_out: usize) -> Vec<String> {
    let full: usize = export
        .entities
        .values()
        .map(|entity| {
            values(entity, "cpu.usage_active").filter(|(_, value)| *value >= FULL_PERCENT).count()
        })
        .sum();
    let minutes = full as f64 * export.bucket().as_secs_f64() / 60.0;
    let mut all = vec![
        "what a guest wants does not depend on its host: it is what it was measured to use"
            .to_owned(),
        format!(
            "what guests wanted beyond a full host was not recorded ({minutes:.0} host-minutes \
             at {FULL_PERCENT} % and more): the rule would look better than it is there"
        ),
        format!("the history's resolution is {}: shorter peaks are not seen", export.resolution),
        "every guest may run on every host as far as CPU model, disks and networks go; hosts, \
         guests and their sizes are those of today"
            .to_owned(),
        "both runs are modelled alike: links of 10 Gbit/s, watts as --power says".to_owned(),
    ];
    if export.moves.is_empty() {
        all.push("no completed move is recorded in the span: nobody moved anything".to_owned());
    }
    if !silent.is_empty() {
        all.push(format!("left out, because they have no history: host(s) {}", silent.join(", ")));
    }
    if left_out > 0 {
        all.push(format!("left out, because they have no history: {left_out} guest(s)"));
    }
    all
}

#[cfg(test)]
#[path = "recorded_tests.rs"]
mod tests;
