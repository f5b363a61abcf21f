//! `drover sim run`: a trace from files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use drover_api::Problem;
use drover_model::{Timestamp, parse_duration};
use drover_sim::read::files::{self, Traced};
use drover_sim::read::{cluster_file, made_cluster};
use drover_sim::{Cluster, Failure, Model, Settings, Trace, by_chance, fitting_interval};
use rand_pcg::Pcg64;

use super::{Common, bad, cannot_run, compare, finish, rule_file, unread};
use crate::commands::Done;
use crate::output::Format;

/// A host that dies is down for so long unless `--repair` says otherwise.
const REPAIR: &str = "30m";
/// The stream of chance that failures come from.
const FAILURES: u128 = 3;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// CSV file (`time_s,guest,cpu_cores[,memory_mib]`), or a PlanetLab folder: one file
    /// for each guest, one CPU percentage a line, 300 s apart.
    #[arg(long, value_name = "DIR|FILE")]
    trace: PathBuf,
    /// TOML file with hosts and guests; without it guests of 2 vCPUs and 2 GiB on hosts of
    /// 16 cores and 64 GiB.
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// How long it goes on [default: as long as the trace].
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// A host dies so long after the start, e.g. h3@1h; repeatable.
    #[arg(long = "fail", value_name = "HOST@TIME")]
    fail: Vec<String>,
    /// Mean time between failures of each host, by chance, such as 30d.
    #[arg(long, value_parser = parse_duration)]
    mtbf: Option<Duration>,
    /// A host that died is back after so long; its guests start with it.
    #[arg(long, value_parser = parse_duration, default_value = REPAIR)]
    repair: Duration,
    /// Standard deviation of CPU samples, a part of their value: 0.05 is 5 %.
    #[arg(long, default_value_t = 0.0)]
    noise: f64,
    /// CPU that a guest loses while it moves, percent.
    #[arg(long, default_value_t = 10.0)]
    move_loss: f64,
    /// Bytes sent for each byte of a moving guest's memory.
    #[arg(long, default_value_t = 1.3)]
    dirty_factor: f64,
}

pub(super) fn run(format: Format, run: &Run) -> Done {
    let (cluster, trace) = load(run)?;
    let rules = rule_file::rules(&run.common.rules, &cluster)?;
    let duration = run.duration.unwrap_or_else(|| trace.span());
    let settings = Settings {
        failures: failures(run, &cluster, duration)?,
        judges: rules.clone(),
        rules,
        replay: Vec::new(),
        model: Model {
            noise: run.noise,
            move_cpu_loss: run.move_loss / 100.0,
            dirty_factor: run.dirty_factor,
            ..Model::default()
        },
        start: Timestamp::EPOCH,
        duration,
        interval: run.common.interval.unwrap_or_else(|| fitting_interval(duration)),
        seed: run.common.seed,
        cluster,
        trace,
    };
    let html = run.common.html.as_deref();
    let mut assumptions = assumptions(run);
    assumptions.extend(beyond_size(&settings.cluster, &settings.trace));
    if settings.rules.is_empty() {
        let report = drover_sim::run(settings).map_err(|error| cannot_run(&error))?;
        return finish(format, html, &report, &[("nobody moves", &report)], &assumptions);
    }
    let still = settings.still();
    let both = compare(settings, still, "nobody moves", assumptions)?;
    let runs = [(both.before_is.as_str(), &both.before), (both.after_is.as_str(), &both.after)];
    finish(format, html, &both, &runs, &both.assumptions)
}

fn load(run: &Run) -> Result<(Cluster, Trace), Problem> {
    let traced = files::trace(&run.trace).map_err(unread)?;
    let names: Vec<String> = match &traced {
        Traced::Percent(percentages) => percentages.guests().cloned().collect(),
        Traced::Cores(trace) => trace.guests().cloned().collect(),
    };
    let mut cluster = match &run.cluster {
        Some(path) => {
            let name = path.display().to_string();
            let file = cluster_file(&name, &files::text(path).map_err(unread)?).map_err(unread)?;
            file.cluster(&name, names.iter()).map_err(unread)?
        }
        None => made_cluster(names.iter())
            .map_err(|error| bad(error.to_string()).hint("describe the hosts with --cluster"))?,
    };
    if let Some(power) = run.common.power {
        cluster = cluster.with_default_power(power);
    }
    let trace = match traced {
        Traced::Cores(trace) => trace,
        Traced::Percent(percentages) => {
            let vcpus: BTreeMap<String, u32> = cluster.vcpus();
            percentages
                .trace(&vcpus)
                .map_err(|error| bad(error.to_string()).hint("take a part of the folder"))?
        }
    };
    Ok((cluster, trace))
}

fn failures(run: &Run, cluster: &Cluster, duration: Duration) -> Result<Vec<Failure>, Problem> {
    let mut all = Vec::new();
    for text in &run.fail {
        let (name, after) = text.rsplit_once('@').unwrap_or((text, ""));
        let at = parse_duration(after).map_err(|error| {
            bad(format!("`{text}` is no failure: {error}")).hint("write for example --fail h3@1h")
        })?;
        let host = cluster.host_named(name).ok_or_else(|| {
            let known: Vec<&str> =
                cluster.hosts().iter().take(8).map(|host| host.name.as_str()).collect();
            bad(format!("`{text}`: there is no host `{name}`"))
                .hint(format!("the cluster has {} …", known.join(", ")))
        })?;
        all.push(Failure { host: host.id, at, down: run.repair });
    }
    if let Some(between) = run.mtbf {
        let mut chance = Pcg64::new(run.common.seed.into(), FAILURES);
        all.extend(by_chance(cluster, between, run.repair, duration, &mut chance));
    }
    Ok(all)
}

fn assumptions(run: &Run) -> Vec<String> {
    let mut all = vec![
        "every guest may run on every host as far as CPU model, disks and networks go".to_owned(),
        format!(
            "a move sends {} times the guest's memory over links that the moves of a host \
             share; meanwhile the guest loses {} % of its CPU",
            run.dirty_factor, run.move_loss
        ),
    ];
    if run.cluster.is_none() {
        all.push(
            "the cluster is made up: guests of 2 vCPUs and 2 GiB on hosts of 16 cores and 64 GiB"
                .to_owned(),
        );
    }
    if !run.fail.is_empty() || run.mtbf.is_some() {
        all.push("guests of a host that died start with it again, and nowhere else".to_owned());
    }
    all
}

/// What the trace and the cluster's sizes contradict each other in: it changes what the
/// figures say.
fn beyond_size(cluster: &Cluster, trace: &Trace) -> Vec<String> {
    let mut all = Vec::new();
    let asks_for_more = |guest: &&drover_sim::GuestSpec| {
        let most = f64::from(guest.vcpus);
        trace.steps(&guest.name).iter().any(|step| step.cores > most)
    };
    let cut = cluster.guests().iter().filter(asks_for_more).count();
    if cut > 0 {
        all.push(format!(
            "{cut} of {} guests ask for more cores than their vCPUs at times: what is beyond \
             is cut off and counts nowhere (give them more vCPUs with --cluster)",
            cluster.guests().len()
        ));
    }
    for host in cluster.hosts() {
        let on_it = cluster.guests().iter().filter(|guest| guest.host == host.id);
        let promised: u64 = on_it.map(|guest| guest.memory.bytes().0).sum();
        if promised > host.memory.0 {
            all.push(format!(
                "{} begins with guests of {} on {}: no guest can move to it",
                host.name,
                drover_model::Bytes(promised),
                host.memory
            ));
        }
    }
    all
}
