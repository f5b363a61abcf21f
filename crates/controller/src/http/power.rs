//! `/v1/hosts/{host}/power`: what a host draws, where its power is going, and how it is woken;
//! `/v1/reserve`: how much of the cluster stays awake.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use drover_api::v1;
use drover_lifecycle::power::{Lack, ParkState, Pauses, Wake, WakeSettings, WakeState};
use drover_model::{HostId, MacAddress, Metric, PowerSource, SecureOn, WakeMethod, exact_duration};
use drover_ports::{Entity, Resolution, Secret};

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, bad, missing};
use super::show::{find_host, fresh};
use super::spans::span_within;
use crate::events::{Draft, Severity};
use crate::moment::rfc3339;
use crate::power::{NEVER_PARKED_LABELS, SecretKind, is_measured, macs, methods, wake_settings};
use crate::records::{
    HostSecretRecord, PowerOutcome, PowerPhase, PowerRecord, PowerSettings, ReserveName,
    ReserveRecord, Sealed, Tables, Txn, WattsFrom,
};

/// Cards and networks of one host: more than any has.
const MOST_ADDRESSES: usize = 8;
/// As with `powerstat`: a mean over a minute.
const MEAN_OVER: Duration = Duration::from_secs(60);
/// A cluster is at most as large.
const MIN_AWAKE: RangeInclusive<u32> = 1..=10_000;
/// More at once is no failure but a lost site.
const MOST_FAILURES: u8 = 8;

const EXPLAINED: &str = "docs/guide/wake-and-park.md explains every setting";

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Reply<v1::HostPower> {
    let found = find_host(&api.records.read(), &name);
    let host = found.ok_or_else(|| missing("host", &name))?;
    Ok(Json(shown(&api, host).await?))
}

pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<v1::SetHostPower>, JsonRejection>,
) -> Reply<v1::HostPower> {
    // The rejection's own words could repeat a password.
    let Json(wanted) = body.map_err(|_| {
        let hint = "GET /v1/openapi.json describes it: SetHostPower";
        bad("the body is not what is expected here", hint)
    })?;
    let host = {
        let tables = api.records.read();
        find_host(&tables, &name).ok_or_else(|| missing("host", &name))?
    };
    // Read once before anything is sealed or stored.
    change(&wanted, &mut PowerSettings::default())?;
    let secure_on = match wanted.secure_on.as_ref().map(|password| password.0.as_str()) {
        None => None,
        Some("") => Some(None),
        Some(text) => Some(Some(sealed(&api, host, text)?)),
    };
    let now = api.clock.now();
    api.records
        .update(|tables| {
            let mut txn = Txn::none();
            if tables.hosts.get(host).is_none() {
                return (txn, Err(missing("host", &name)));
            }
            let known = tables.power.get(host);
            let mut record = known.cloned().unwrap_or_else(|| PowerRecord::new(host, now));
            let before = record.settings.clone();
            let changed = change(&wanted, &mut record.settings)
                .and_then(|()| has_what_it_names(&wanted, &record.settings));
            if wakes_otherwise(&before, &record.settings) || secure_on.is_some() {
                record.ways_change(now);
            }
            if changed.is_ok() {
                txn.change(known, record);
                if let Some(secure_on) = secure_on {
                    keep(tables, &mut txn, host, secure_on);
                }
            }
            (txn, changed)
        })
        .await??;
    let host_name = api.records.read().host_name(host);
    let text = format!("{} changed how {host_name} is woken and parked", caller.name);
    api.events.record(Draft::new("audit.power", Severity::Info, text).host(host_name)).await;
    Ok(Json(shown(&api, host).await?))
}

pub(super) async fn reserve(State(api): State<Arc<Api>>) -> Json<v1::Reserve> {
    let tables = api.records.read();
    Json(reserve_shown(tables.reserve.get(ReserveName::Cluster).copied().unwrap_or_default()))
}

pub(super) async fn set_reserve(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<v1::Reserve>, JsonRejection>,
) -> Reply<v1::Reserve> {
    let Json(wanted) = body?;
    let defaults = ReserveRecord::default();
    let record = ReserveRecord {
        min_awake: wanted.min_awake.unwrap_or(defaults.min_awake),
        survive_failures: wanted.survive_failures.unwrap_or(defaults.survive_failures),
    };
    if !MIN_AWAKE.contains(&record.min_awake) {
        return Err(bad("min_awake must be 1 to 10,000", EXPLAINED));
    }
    if record.survive_failures > MOST_FAILURES {
        return Err(bad(format!("survive_failures must be 0 to {MOST_FAILURES}"), EXPLAINED));
    }
    api.records
        .update(|_| {
            let mut txn = Txn::none();
            txn.replace(record);
            (txn, ())
        })
        .await?;
    let text = format!(
        "{} set the reserve: {} host(s) stay awake, {} failure(s) are survived",
        caller.name, record.min_awake, record.survive_failures
    );
    api.events.record(Draft::new("audit.reserve", Severity::Info, text)).await;
    Ok(Json(reserve_shown(record)))
}

const fn reserve_shown(record: ReserveRecord) -> v1::Reserve {
    v1::Reserve {
        min_awake: Some(record.min_awake),
        survive_failures: Some(record.survive_failures),
    }
}

/// Takes over what is said; every value is checked.
fn change(wanted: &v1::SetHostPower, settings: &mut PowerSettings) -> Result<(), Failed> {
    if let Some(words) = &wanted.methods {
        settings.methods = each(words, MOST_ADDRESSES, "methods", |word| match word {
            "bmc" => Some(WakeMethod::Bmc),
            "wake_on_lan" | "wol" => Some(WakeMethod::WakeOnLan),
            _ => None,
        })?;
    }
    if let Some(words) = &wanted.macs {
        settings.macs =
            each(words, MOST_ADDRESSES, "macs", |word| MacAddress::from_str(word).ok())?;
    }
    if let Some(words) = &wanted.broadcasts {
        settings.broadcasts = each(words, MOST_ADDRESSES, "broadcasts", |word| {
            word.parse::<Ipv4Addr>().ok().filter(|to| !to.is_loopback() && !to.is_unspecified())
        })?;
    }
    match wanted.port {
        None => {}
        Some(0) => settings.port = None,
        Some(port @ (7 | 9)) => settings.port = Some(port),
        Some(_) => return Err(bad("port must be 7 or 9", "0 means 9")),
    }
    match wanted.tries {
        None => {}
        Some(0) => settings.tries = None,
        Some(tries) if WakeSettings::MOST_TRIES.contains(&tries) => settings.tries = Some(tries),
        Some(_) => return Err(bad("tries must be 1 to 100", "0 means 12")),
    }
    if let Some(text) = &wanted.pause {
        settings.pause = wished("pause", text, &WakeSettings::PAUSES)?;
    }
    if let Some(text) = &wanted.deadline {
        settings.deadline = wished("deadline", text, &WakeSettings::DEADLINES)?;
    }
    match wanted.doubling_pauses {
        None => {}
        Some(true) => settings.pauses = Pauses::Doubling,
        Some(false) => settings.pauses = Pauses::Even,
    }
    settings.keep_awake = wanted.keep_awake.unwrap_or(settings.keep_awake);
    match wanted.watts.as_deref() {
        None => {}
        Some("agent") => settings.watts = WattsFrom::Agent,
        Some("bmc") => settings.watts = WattsFrom::Bmc,
        Some(other) => {
            return Err(bad(format!("nobody measures by `{other}`"), "watts is agent or bmc"));
        }
    }
    Ok(())
}

/// A BMC that is named as a means has to be known.
fn has_what_it_names(wanted: &v1::SetHostPower, settings: &PowerSettings) -> Result<(), Failed> {
    let measures = wanted.watts.is_some() && settings.watts == WattsFrom::Bmc;
    let wakes = wanted.methods.is_some() && settings.methods.contains(&WakeMethod::Bmc);
    if settings.bmc.is_none() && (measures || wakes) {
        return Err(bad("no BMC of this host is known", "`drover host bmc set` names it first"));
    }
    Ok(())
}

fn wakes_otherwise(before: &PowerSettings, after: &PowerSettings) -> bool {
    let ways =
        |of: &PowerSettings| (of.methods.clone(), of.macs.clone(), of.broadcasts.clone(), of.port);
    ways(before) != ways(after)
}

/// Reads a list without repeats.
fn each<T: Ord + Clone>(
    words: &[String],
    most: usize,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Failed> {
    if words.len() > most {
        return Err(bad(format!("{name} has at most {most} entries"), EXPLAINED));
    }
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for word in words {
        let hint = match name {
            "methods" => "there are bmc and wake_on_lan",
            "macs" => "write six pairs of hex digits, as in 52:54:00:12:34:56",
            _ => "write a directed broadcast address, as in 10.1.0.255",
        };
        let one = read(word).ok_or_else(|| bad(format!("{name}: `{word}` is none"), hint))?;
        if seen.insert(one.clone()) {
            all.push(one);
        }
    }
    Ok(all)
}

/// Nothing ends the setting.
fn wished(
    what: &str,
    text: &str,
    allowed: &RangeInclusive<Duration>,
) -> Result<Option<Duration>, Failed> {
    if text.is_empty() { Ok(None) } else { span_within(what, text, allowed).map(Some) }
}

fn sealed(api: &Api, host: HostId, text: &str) -> Result<Sealed, Failed> {
    if SecureOn::parse(text).is_none() {
        let hint = "write six pairs of hex digits, or four numbers as in 10.0.0.1";
        return Err(bad("secure_on is not 4 or 6 bytes", hint));
    }
    Ok(api.power.bmcs.vault().seal(SecretKind::SecureOn, host, &Secret::new(text))?)
}

fn keep(tables: &Tables, txn: &mut Txn, host: HostId, secure_on: Option<Sealed>) {
    let known = tables.host_secrets.get(host);
    let none = HostSecretRecord { host, bmc_password: None, secure_on: None };
    let after = HostSecretRecord { secure_on, ..known.cloned().unwrap_or(none) };
    if after.secure_on.is_none() && after.bmc_password.is_none() {
        txn.delete_secrets_if(tables, host);
    } else {
        txn.change(known, after);
    }
}

/// The word for where a host's power is going; none where it is what its agent says.
pub(super) fn state(tables: &Tables, host: HostId) -> Option<&'static str> {
    let record = tables.power.get(host)?;
    match &record.phase {
        PowerPhase::Settled => None,
        PowerPhase::Parking(park) if park.state == ParkState::Draining => None,
        phase => Some(phase.as_str()),
    }
}

/// Every word for a host's power.
pub(super) const WORDS: [&str; 6] = ["on", "unknown", "parking", "parked", "waking", "wake-failed"];

/// The word for a host's power. One whose park is called back is on its way to be used, as one
/// that is woken.
pub(super) fn word(record: Option<&PowerRecord>, connected: bool) -> &'static str {
    match record.map(|record| (&record.phase, &record.called_back)) {
        None | Some((PowerPhase::Settled, _)) if connected => "on",
        None | Some((PowerPhase::Settled, _)) => "unknown",
        Some((PowerPhase::Parking(_), Some(_))) => "waking",
        Some((phase, _)) => phase.as_str(),
    }
}

/// A host's power as users see it.
pub(super) async fn shown(api: &Api, host: HostId) -> Result<v1::HostPower, Failed> {
    let mean = mean(api, host).await?;
    let tables = api.records.read();
    let record = tables.power.get(host).cloned();
    let record = record.unwrap_or_else(|| PowerRecord::new(host, api.clock.now()));
    let moving = record.phase != PowerPhase::Settled;
    let connected = api.live.is_connected(host);
    let (watts, source, no_watts) = watts(api, &tables, host);
    let seconds = |span: Duration| span.as_secs_f64();
    Ok(v1::HostPower {
        host: tables.host_name(host),
        state: word(Some(&record), connected).to_owned(),
        since: moving.then(|| rfc3339(record.since)),
        doing: doing(&record),
        cause: record.cause.as_ref().filter(|_| moving).map(ToString::to_string),
        watts,
        watts_1m: mean,
        source: source.map(|source| source.as_str().to_owned()),
        accuracy: source.map(|source| source.accuracy().to_owned()),
        no_watts,
        learned_wake_seconds: record.wake_times.mean().map(seconds),
        wake_tested: record.is_tested(),
        last_wake: record.last_wake.as_ref().map(outcome),
        last_park: record.last_park.as_ref().map(outcome),
        last_test: record.last_test.as_ref().map(outcome),
        bmc: super::bmc::shown(&tables, host),
        settings: settings(&tables, &record),
    })
}

fn settings(tables: &Tables, record: &PowerRecord) -> v1::HostPowerSettings {
    let (host, settings) = (record.host, &record.settings);
    let usable = methods(tables, host);
    let in_force = wake_settings(settings, usable.clone());
    let known = tables.hosts.get(host).map(|record| &record.host);
    let cards = known.map(|known| macs(settings, known)).unwrap_or_default();
    let secrets = tables.host_secrets.get(host);
    let labels = tables.labels.get(host);
    let labelled = NEVER_PARKED_LABELS.iter().any(|(label, _)| {
        let value = labels.and_then(|of| of.labels.get(*label));
        value.is_some_and(|value| value != "false")
    });
    v1::HostPowerSettings {
        methods: usable.iter().map(|method| method.as_str().to_owned()).collect(),
        macs: cards.iter().map(ToString::to_string).collect(),
        broadcasts: settings.broadcasts.iter().map(ToString::to_string).collect(),
        port: settings.port.unwrap_or(9),
        secure_on_set: secrets.is_some_and(|secrets| secrets.secure_on.is_some()),
        tries: in_force.tries,
        pause: exact_duration(in_force.pause),
        doubling_pauses: in_force.pauses == Pauses::Doubling,
        deadline: exact_duration(in_force.deadline),
        keep_awake: settings.keep_awake || labelled,
        watts: match settings.watts {
            WattsFrom::Agent => "agent",
            WattsFrom::Bmc => "bmc",
        }
        .to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown as seconds")]
fn outcome(outcome: &PowerOutcome) -> v1::PowerOutcome {
    v1::PowerOutcome {
        at: rfc3339(outcome.at),
        seconds: outcome.took_ms as f64 / 1000.0,
        failure: outcome.failure.clone(),
    }
}

/// What is going on, in words.
fn doing(record: &PowerRecord) -> Option<String> {
    Some(match &record.phase {
        PowerPhase::Settled => return None,
        PowerPhase::Parking(park) => match &park.state {
            ParkState::Draining if record.called_back.is_some() => {
                "its park is called back".to_owned()
            }
            ParkState::Draining => "its guests leave".to_owned(),
            ParkState::Ordering { .. } => {
                let why = park.not_now.as_ref().map(|(_, why)| format!("; not yet: {why}"));
                format!("its agent is told to switch it off{}", why.unwrap_or_default())
            }
            _ => "it shuts down; that it is off is waited for".to_owned(),
        },
        PowerPhase::Parked(proof) => proof.as_str().to_owned(),
        PowerPhase::Waking(wake) => waking(wake),
        PowerPhase::WakeFailed(cause) => cause.to_string(),
    })
}

fn waking(wake: &Wake) -> String {
    let of = wake.settings.tries;
    let trouble = wake.trouble.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
    match &wake.state {
        WakeState::Trying { number, method } => {
            format!("try {number} of {of}, by {}{trouble}", method.as_str())
        }
        WakeState::Waiting { number, .. } => {
            format!("try {number} of {of} is made, nothing is seen of it yet{trouble}")
        }
        WakeState::Starting { .. } => match &wake.lacks {
            Lack::Agent => "it is on; its agent is waited for".to_owned(),
            Lack::Hypervisor => "its agent is back; libvirtd does not answer yet".to_owned(),
            Lack::Things(what) => format!("it is up; {} missing yet", what.join(", ")),
        },
        _ if wake.asks_bmc => "its BMC is asked whether it is on".to_owned(),
        _ => "it is looked for before anything is tried".to_owned(),
    }
}

/// What it draws now, who says so, and why nobody does.
fn watts(
    api: &Api,
    tables: &Tables,
    host: HostId,
) -> (Option<f64>, Option<PowerSource>, Option<String>) {
    if is_measured(tables, host) {
        let last = api.power.watts.last(host);
        let last = last.filter(|last| last.counts(api.clock.now()));
        return match last.map(|last| last.reading) {
            Some(Ok(reading)) => (Some(reading.watts), Some(reading.source), None),
            Some(Err(error)) => (None, None, Some(error.to_string())),
            None => (None, None, Some("its BMC has not answered yet".to_owned())),
        };
    }
    let latest = fresh(api, Entity::Host(host));
    let watts = latest.and_then(|latest| latest.values.get(&Metric::PowerWatts).copied());
    let known = tables.hosts.get(host).map(|record| &record.host.capabilities);
    let source = known.and_then(|known| known.power_sources.first().copied());
    match watts {
        Some(watts) => (Some(watts), source, None),
        None => (None, None, Some("its agent measures nothing now".to_owned())),
    }
}

async fn mean(api: &Api, host: HostId) -> Result<Option<f64>, Failed> {
    let now = api.clock.now();
    let entity = Entity::Host(host);
    let history = &api.history;
    let points = history
        .series(entity, Metric::PowerWatts, now.minus(MEAN_OVER), now, Resolution::Full)
        .await?;
    let count = u32::try_from(points.len()).unwrap_or(u32::MAX);
    let sum: f64 = points.iter().map(|point| point.mean).sum();
    Ok((count > 0).then(|| sum / f64::from(count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(wanted: &v1::SetHostPower) -> String {
        change(wanted, &mut PowerSettings::default()).expect_err("it is wrong").0.detail
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let default = v1::SetHostPower::default;
        let words = |word: &str| Some(vec![word.to_owned()]);
        for (wanted, part) in [
            (v1::SetHostPower { methods: words("pdu"), ..default() }, "`pdu`"),
            (v1::SetHostPower { macs: words("52:54"), ..default() }, "`52:54`"),
            (v1::SetHostPower { broadcasts: words("127.0.0.1"), ..default() }, "127.0.0.1"),
            (v1::SetHostPower { port: Some(22), ..default() }, "7 or 9"),
            (v1::SetHostPower { tries: Some(101), ..default() }, "1 to 100"),
            (v1::SetHostPower { pause: Some("0s".to_owned()), ..default() }, "pause"),
            (v1::SetHostPower { deadline: Some("2h".to_owned()), ..default() }, "deadline"),
            (v1::SetHostPower { watts: Some("pdu".to_owned()), ..default() }, "`pdu`"),
        ] {
            let said = refused(&wanted);
            assert!(said.contains(part), "{said} / {part}");
        }
    }

    #[test]
    fn a_bmc_that_is_to_wake_or_measure_has_to_be_known() {
        for (methods, watts, why) in [
            (None, Some("bmc".to_owned()), true),
            (Some(vec!["wol".to_owned(), "bmc".to_owned()]), None, true),
            (Some(vec!["wol".to_owned()]), Some("agent".to_owned()), false),
        ] {
            let wanted = v1::SetHostPower { methods, watts, ..v1::SetHostPower::default() };
            let mut settings = PowerSettings::default();
            change(&wanted, &mut settings).map_err(|_| ()).unwrap();
            assert_eq!(has_what_it_names(&wanted, &settings).is_err(), why, "{wanted:?}");
            // What was set before, and is not named now, does not stand in the way.
            let other = v1::SetHostPower { tries: Some(3), ..v1::SetHostPower::default() };
            assert!(has_what_it_names(&other, &settings).is_ok());
        }
    }

    #[test]
    fn what_is_left_out_stays_and_empty_means_the_default() {
        let mut settings = PowerSettings::default();
        let first = v1::SetHostPower {
            methods: Some(vec!["wol".to_owned(), "bmc".to_owned(), "bmc".to_owned()]),
            tries: Some(3),
            pause: Some("2s".to_owned()),
            ..v1::SetHostPower::default()
        };
        change(&first, &mut settings).map_err(|_| ()).unwrap();
        assert_eq!(settings.methods, [WakeMethod::WakeOnLan, WakeMethod::Bmc]);
        let second = v1::SetHostPower {
            pause: Some(String::new()),
            keep_awake: Some(true),
            ..v1::SetHostPower::default()
        };
        change(&second, &mut settings).map_err(|_| ()).unwrap();
        assert_eq!((settings.tries, settings.pause, settings.keep_awake), (Some(3), None, true));
    }
}
