//! `drover host drain`

use std::time::Instant;

use clap::Args;
use drover_api::v1::{DrainRequest, HostDetail, HostMaintenance};
use drover_api::{Problem, ProblemKind};

use super::migrate_args::LiveArgs;
use super::wait::{INTERRUPTED, LINE_EVERY, POLL, patiently};
use super::{Context, Done, problem};
use crate::{output, show};

/// See [`super::host::Command::Drain`].
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Name or id.
    host: String,
    /// Guests go to hosts with this label only; may be repeated, then with all of them.
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    to_labels: Vec<(String, String)>,
    /// Also when some guests cannot leave: the others do.
    #[arg(long)]
    partial: bool,
    #[command(flatten)]
    options: LiveArgs,
    /// Only say whether the host can be emptied, and how.
    #[arg(long)]
    dry_run: bool,
    /// Return at once; `drover host show` tells how far it is.
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn run(context: &Context, drain: Drain) -> Done {
    let request = DrainRequest {
        to_labels: drain.to_labels.into_iter().collect(),
        partial: drain.partial,
        options: drain.options.options(),
        dry_run: drain.dry_run,
    };
    let answer = context.client.drain_host(&drain.host, &request).await.map_err(problem)?;
    let certificate = &answer.certificate;
    if answer.maintenance.is_none() {
        output::print(context.format, &answer, |_| show::drain::certificate(certificate))?;
        if certificate.feasible {
            return Ok(());
        }
        let named: Vec<&str> = certificate.blocked.iter().map(|one| one.guest.as_str()).collect();
        let detail = format!("{} cannot leave {}", named.join(", "), certificate.host);
        return Err(Problem::new(ProblemKind::Refused, detail)
            .hint("--partial moves the others; the reasons tell what stands in the way"));
    }
    if drain.no_wait {
        return output::print(context.format, &answer, |_| {
            answer.maintenance.as_ref().map_or_else(String::new, show::drain::told)
        });
    }
    if context.format.is_for_people() {
        output::out(&format!(
            "{} guest(s) of {} leave with {} move(s), {} to send, about {}",
            certificate.guests,
            certificate.host,
            certificate.moves,
            output::bytes(certificate.bytes),
            show::drain::seconds(certificate.seconds),
        ));
    }
    follow(context, &certificate.host).await
}

/// Follows a drain to its end, or to where it hangs.
async fn follow(context: &Context, host: &str) -> Done {
    let ended = tokio::select! {
        ended = finish(context, host) => ended?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("the drain goes on; `drover host show {host}` tells how far it is, \
                       `drover host undrain {host}` ends it");
            std::process::exit(INTERRUPTED);
        }
    };
    let Some(drain) = &ended.drain else {
        let detail = format!("the drain of {host} was ended by somebody");
        return Err(
            Problem::new(ProblemKind::Failed, detail).hint("`drover event list` tells by whom")
        );
    };
    output::print(context.format, drain, |_| show::drain::told(drain))?;
    if drain.state == "drained" {
        return Ok(());
    }
    let named: Vec<&str> = drain.hanging.iter().map(|one| one.guest.as_str()).collect();
    let detail = format!("{host} is not drained: {} do(es) not get away", named.join(", "));
    let hint = format!(
        "it stays closed to other guests; `drover host drain {host}` tries again once the cause is \
         gone, `drover host undrain {host}` uses it again"
    );
    Err(Problem::new(ProblemKind::Failed, detail).hint(hint))
}

async fn finish(context: &Context, host: &str) -> Result<HostDetail, Problem> {
    let mut last = String::new();
    let mut told = Instant::now();
    loop {
        let detail = patiently(async || context.client.host(host).await).await?;
        let Some(drain) = &detail.drain else { return Ok(detail) };
        let line = show::drain::progress(drain);
        let counts = line.split(';').next().unwrap_or_default().to_owned();
        if context.format.is_for_people() && (counts != last || told.elapsed() >= LINE_EVERY) {
            output::out(&line);
            last = counts;
            told = Instant::now();
        }
        if drain.state == "drained" || hangs(drain) {
            return Ok(detail);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether nothing goes on any more: all that are left hang.
fn hangs(drain: &HostMaintenance) -> bool {
    let hanging = u32::try_from(drain.hanging.len()).unwrap_or(u32::MAX);
    drain.left > 0 && drain.under_way + drain.queued == 0 && hanging >= drain.left
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((label, value)) if !label.is_empty() => Ok((label.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not LABEL=VALUE")),
    }
}
