//! CPU baselines: asks the hosts of a group and puts their answers together by
//! [`drover_rules::baseline`].

use std::collections::BTreeMap;

use drover_agent_api::v1::{BaselineCpu, DescribeCpu};
use drover_model::{
    CpuFit, CpuOffer, CpuPlatform, GuestId, GuestInspection, Host, HostId, NamedCpu,
};
use drover_rules::baseline::candidates;
use futures::StreamExt as _;

use crate::live::{Answer, AskError, Live, Question};
use crate::preflight::{cpu_fit, decode, encode, inspect, platform_of};
use crate::records::Tables;

/// Questions that are under way at the same time: each goes to another host, or to one that
/// answers up to 128 at once.
const QUESTIONS_AT_ONCE: usize = 32;

/// The group of every host.
pub const ALL: &str = "all";

/// The hosts of a group by name: all, or those with a label's value. None when the group is
/// written otherwise.
pub fn hosts_of(tables: &Tables, group: &str) -> Option<Vec<Host>> {
    let mut hosts: Vec<Host> = match group.split_once('=') {
        None if group == ALL => tables.hosts.iter().map(|record| record.host.clone()).collect(),
        None => return None,
        Some((label, value)) => tables
            .hosts
            .iter()
            .filter(|record| {
                let labels = tables.labels.get(record.host.id);
                labels.and_then(|of| of.labels.get(label)).is_some_and(|is| is == value)
            })
            .map(|record| record.host.clone())
            .collect(),
    };
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    Some(hosts)
}

/// What each host offers now, or why it does not say.
pub async fn offers(
    live: &Live,
    hosts: &[Host],
    platform: &CpuPlatform,
) -> BTreeMap<HostId, Result<CpuOffer, String>> {
    let each = hosts.iter().cloned().map(|host| async move {
        let asked = DescribeCpu { platform_json: encode(platform) };
        let offer = match live.ask(host.id, Question::DescribeCpu(asked)).await {
            Ok(Answer::CpuOfferJson(json)) => decode(&json),
            other => Err(why(other)),
        };
        (host.id, offer)
    });
    futures::stream::iter(each).buffered(QUESTIONS_AT_ONCE).collect().await
}

/// The CPU that every one of these hosts has, by the word of each; an error tells, host by
/// host, why there is none.
pub async fn common_cpu(
    live: &Live,
    hosts: &[Host],
    platform: &CpuPlatform,
    cpus: &[NamedCpu],
) -> Result<NamedCpu, Vec<String>> {
    let each = hosts.iter().cloned().map(|host| async move {
        let (platform_json, cpus_json) = (encode(platform), encode(&cpus));
        let asked = BaselineCpu { platform_json, cpus_json };
        let told = match live.ask(host.id, Question::BaselineCpu(asked)).await {
            Ok(Answer::BaselineJson(json)) => decode(&json),
            other => Err(why(other)),
        };
        told.map_err(|why: String| format!("{}: {why}", host.name))
    });
    let told: Vec<Result<NamedCpu, String>> =
        futures::stream::iter(each).buffered(QUESTIONS_AT_ONCE).collect().await;
    let (good, bad): (Vec<_>, Vec<_>) = told.into_iter().partition(Result::is_ok);
    if !bad.is_empty() {
        return Err(bad.into_iter().filter_map(Result::err).collect());
    }
    let good: Vec<NamedCpu> = good.into_iter().filter_map(Result::ok).collect();
    let mut refusals = Vec::new();
    for candidate in candidates(&good) {
        let said = refused_by(live, hosts, platform, &candidate).await;
        if said.is_empty() {
            return Ok(candidate);
        }
        refusals.extend(said.into_iter().map(|said| format!("{}: {said}", candidate.model)));
    }
    Err(refusals)
}

async fn refused_by(
    live: &Live,
    hosts: &[Host],
    platform: &CpuPlatform,
    cpu: &NamedCpu,
) -> Vec<String> {
    let each = hosts.iter().cloned().map(|host| async move {
        match cpu_fit(live, host.id, platform.clone(), cpu.xml()).await {
            Ok(CpuFit::Fits) => None,
            Ok(other) => Some(format!("{}: {}", host.name, shown(&other))),
            Err(why) => Some(format!("{}: {why}", host.name)),
        }
    });
    let all: Vec<Option<String>> =
        futures::stream::iter(each).buffered(QUESTIONS_AT_ONCE).collect().await;
    all.into_iter().flatten().collect()
}

/// The active guests of these hosts with their live CPUs, or why a host does not tell.
pub async fn live_cpus(
    live: &Live,
    guests: Vec<(GuestId, HostId)>,
) -> Vec<(GuestId, HostId, Result<GuestInspection, String>)> {
    let each = guests
        .into_iter()
        .map(|(guest, host)| async move { (guest, host, inspect(live, host, guest).await) });
    futures::stream::iter(each).buffered(QUESTIONS_AT_ONCE).collect().await
}

/// What hosts say of guests' CPUs; each CPU is asked of each host once, however many guests
/// have it.
pub async fn fits(
    live: &Live,
    wanted: &[(GuestId, GuestInspection, Vec<HostId>)],
) -> BTreeMap<(GuestId, HostId), CpuFit> {
    let mut questions: BTreeMap<(CpuPlatform, String, HostId), Vec<GuestId>> = BTreeMap::new();
    for (guest, found, hosts) in wanted {
        let Some(cpu) = &found.cpu_xml else { continue };
        for host in hosts {
            let key = (platform_of(&found.guest), cpu.clone(), *host);
            questions.entry(key).or_default().push(*guest);
        }
    }
    let each = questions.into_iter().map(|((platform, cpu, host), guests)| async move {
        let fit = cpu_fit(live, host, platform, cpu).await;
        (host, guests, fit.unwrap_or_else(|why| CpuFit::Unknown { why }))
    });
    let answers: Vec<(HostId, Vec<GuestId>, CpuFit)> =
        futures::stream::iter(each).buffered(QUESTIONS_AT_ONCE).collect().await;
    let mut fits = BTreeMap::new();
    for (host, guests, fit) in answers {
        fits.extend(guests.into_iter().map(|guest| ((guest, host), fit.clone())));
    }
    fits
}

/// An answer for people.
pub fn shown(fit: &CpuFit) -> String {
    match fit {
        CpuFit::Fits => "fits".to_owned(),
        CpuFit::Lacks { features, said } if features.is_empty() => said.clone(),
        CpuFit::Lacks { features, .. } => format!("lacks {}", features.join(", ")),
        CpuFit::Unknown { why } => format!("does not tell: {why}"),
    }
}

fn why(answer: Result<Answer, AskError>) -> String {
    match answer {
        Ok(_) => AskError::Unexpected.to_string(),
        Err(error) => error.to_string(),
    }
}
