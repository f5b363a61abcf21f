//! Waiting for an operation: a bar on a terminal, lines elsewhere.

use std::time::{Duration, Instant};

use drover_api::client::ClientError;
use drover_api::v1::Operation;
use drover_api::{Problem, ProblemKind};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Context, Done, problem};
use crate::output;
use crate::show;

/// The operation is read so often.
const POLL: Duration = Duration::from_millis(200);

/// Times that a completed operation is read again for its statistics.
const STATISTICS_TRIES: u32 = 10;

/// Times that it is read again for the blackout, which the target measures until half a
/// second after the guest is back.
const BLACKOUT_TRIES: u32 = 15;

/// Times that a call is tried again while the controller does not answer.
const PATIENCE: u32 = 30;
/// How long between two tries.
const AGAIN: Duration = Duration::from_secs(1);
/// Off a terminal, progress is told so often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Calls until the controller answers: it may be about to restart.
pub(super) async fn patiently<T>(
    call: impl AsyncFn() -> Result<T, ClientError>,
) -> Result<T, Problem> {
    let mut tries = 0;
    loop {
        match call().await {
            Err(ClientError::Unreachable { .. }) if tries < PATIENCE => {
                if tries == 0 {
                    eprintln!("the controller does not answer; trying again");
                }
                tries += 1;
                tokio::time::sleep(AGAIN).await;
            }
            other => return other.map_err(problem),
        }
    }
}

/// Follows an operation to its end; fails if the operation does.
pub(crate) async fn follow(context: &Context, id: &str) -> Done {
    let bar = (context.format.is_for_people() && output::is_fancy()).then(bar);
    let finished = tokio::select! {
        finished = finish(context, id, bar.as_ref()) => finished?,
        _ = tokio::signal::ctrl_c() => {
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            eprintln!("the operation goes on; `drover operation watch {id}` follows it");
            std::process::exit(INTERRUPTED);
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    output::print(context.format, &finished, |_| show::operation(&finished))?;
    if finished.state == "completed" {
        return Ok(());
    }
    let why = finished.failure.unwrap_or_else(|| finished.state.clone());
    Err(Problem::new(ProblemKind::Failed, format!("{} was not moved: {why}", finished.guest))
        .hint(format!("`drover event list --operation {}` tells its story", finished.id)))
}

async fn finish(
    context: &Context,
    id: &str,
    bar: Option<&ProgressBar>,
) -> Result<Operation, Problem> {
    let mut last = String::new();
    let mut told = Instant::now();
    let mut statistics_tries = STATISTICS_TRIES;
    let mut blackout_tries = BLACKOUT_TRIES;
    loop {
        let operation = patiently(async || context.client.operation(id).await).await?;
        if let Some(bar) = bar {
            draw(bar, &operation);
        } else if context.format.is_for_people()
            && (operation.state != last || told.elapsed() >= LINE_EVERY)
        {
            output::out(&format!("{} {}", operation.guest, line(&operation)));
            told = Instant::now();
        }
        last.clone_from(&operation.state);
        // The statistics come a moment after the guest runs on the target.
        if operation.finished {
            let left = match &operation.outcome {
                None if operation.state == "completed" => &mut statistics_tries,
                Some(outcome) if operation.probed && outcome.blackout_ms.is_none() => {
                    &mut blackout_tries
                }
                _ => return Ok(operation),
            };
            if *left == 0 {
                return Ok(operation);
            }
            *left -= 1;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(100);
    let style = ProgressStyle::with_template("{msg:40!} [{bar:30}] {percent} %")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar
}

fn draw(bar: &ProgressBar, operation: &Operation) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
    if let Some(progress) = &operation.progress {
        bar.set_position(progress.percent.clamp(0.0, 100.0) as u64);
    }
    let message =
        format!("{} {} → {} {}", operation.guest, operation.from, operation.to, operation.state);
    bar.set_message(message);
}

fn line(operation: &Operation) -> String {
    let progress = operation.progress.as_ref().map(show::progress);
    format!(
        "{} → {}: {}{}",
        operation.from,
        operation.to,
        operation.state,
        progress.map(|text| format!(" ({text})")).unwrap_or_default()
    )
}
