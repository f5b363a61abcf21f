//! `drover host wake`, `drover host check-wake` and `drover host park`

use clap::Args;
use drover_api::v1::{HostPower, ParkRequest, ParkResponse};
use drover_api::{Problem, ProblemKind};

use super::wait::{INTERRUPTED, POLL, patiently};
use super::{Context, Done, problem};
use crate::{output, show};

/// See [`super::host::Command::Wake`].
#[derive(Debug, Args)]
pub(crate) struct Wake {
    /// Name or id.
    host: String,
    /// Wait until it is of use, or has failed.
    #[arg(long)]
    wait: bool,
}

/// See [`super::host::Command::CheckWake`].
#[derive(Debug, Args)]
pub(crate) struct CheckWake {
    /// Name or id.
    host: String,
    /// Wait until it is of use again, or has failed.
    #[arg(long)]
    wait: bool,
}

/// See [`super::host::Command::Park`].
#[derive(Debug, Args)]
pub(crate) struct Park {
    /// Name or id.
    host: String,
    /// Also when it was never shown that it can be woken.
    #[arg(long)]
    untested: bool,
    /// Only say what speaks against it.
    #[arg(long)]
    dry_run: bool,
    /// Wait until it is off, or has failed.
    #[arg(long)]
    wait: bool,
}

pub(crate) async fn wake(context: &Context, wake: Wake) -> Done {
    let begun = context.client.wake_host(&wake.host).await.map_err(problem)?;
    if !wake.wait {
        return output::print(context.format, &begun, |_| show::power::line(&begun));
    }
    let ended = follow(context, &wake.host, |state| state == "waking").await?;
    output::print(context.format, &ended, |_| show::power::line(&ended))?;
    if ended.state == "on" {
        return say_what_remains(context, &ended.host).await;
    }
    let why = ended.doing.unwrap_or(ended.state);
    Err(failed(&ended.host, format!("{} is not awake: {why}", ended.host)))
}

/// What was there before its sleep: an operator's drain is not lifted by waking.
async fn say_what_remains(context: &Context, host: &str) -> Done {
    if !context.format.is_for_people() {
        return Ok(());
    }
    // The host is awake, whether or not it can be asked for more.
    if let Ok(awake) = context.client.host(host).await
        && awake.host.maintenance != "active"
    {
        output::out(&format!(
            "it is {}: no guest goes there before `drover host undrain {host}`",
            awake.host.maintenance
        ));
    }
    Ok(())
}

pub(crate) async fn check_wake(context: &Context, check: CheckWake) -> Done {
    let begun = context.client.check_wake(&check.host).await.map_err(problem)?;
    if !check.wait {
        return output::print(context.format, &begun, |_| show::power::line(&begun));
    }
    let is_going = |state: &str| matches!(state, "parking" | "parked" | "waking");
    let ended = follow(context, &check.host, is_going).await?;
    output::print(context.format, &ended, |_| show::power::tested(&ended))?;
    // One from before says nothing of this one.
    let is_new = ended.last_test != begun.last_test;
    match ended.last_test.filter(|_| is_new).map(|test| test.failure) {
        Some(None) => Ok(()),
        Some(Some(why)) => Err(failed(&ended.host, why)),
        None => Err(failed(&ended.host, "the test was ended by somebody".to_owned())),
    }
}

pub(crate) async fn park(context: &Context, park: Park) -> Done {
    let request = ParkRequest { untested: park.untested, dry_run: park.dry_run };
    let begun = context.client.park_host(&park.host, &request).await.map_err(problem)?;
    if park.dry_run {
        return dry(context, &begun);
    }
    if !park.wait {
        return output::print(context.format, &begun, |_| show::power::line(&begun.power));
    }
    let ended = follow(context, &park.host, |state| state == "parking").await?;
    output::print(context.format, &ended, |_| show::power::line(&ended))?;
    if ended.state == "parked" {
        return Ok(());
    }
    let why = ended.last_park.and_then(|outcome| outcome.failure).unwrap_or(ended.state);
    Err(failed(&ended.host, format!("{} is not parked: {why}", ended.host)))
}

fn dry(context: &Context, answer: &ParkResponse) -> Done {
    output::print(context.format, answer, |_| show::power::refusals(answer))?;
    if answer.refusals.is_empty() {
        return Ok(());
    }
    let count = answer.refusals.len();
    let detail = format!("{count} reason(s) speak against parking {}", answer.power.host);
    Err(Problem::new(ProblemKind::Refused, detail).hint("each reason has its cure beside it"))
}

/// Follows a host until it is no longer on its way.
async fn follow(
    context: &Context,
    host: &str,
    is_going: impl Fn(&str) -> bool,
) -> Result<HostPower, Problem> {
    let ended = async {
        let mut last = String::new();
        loop {
            let now = patiently(async || context.client.host_power(host).await).await?;
            if !is_going(&now.state) {
                return Ok(now);
            }
            let line = show::power::going(&now);
            if context.format.is_for_people() && line != last {
                output::out(&line);
                last = line;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        ended = ended => ended,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("it goes on; `drover host power {host} --watch` follows it");
            std::process::exit(INTERRUPTED);
        }
    }
}

fn failed(host: &str, detail: String) -> Problem {
    let hint = format!("`drover event list --host {host}` tells its story");
    Problem::new(ProblemKind::Failed, detail).hint(hint)
}
