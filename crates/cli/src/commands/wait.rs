//! Waiting for an operation: a bar on a terminal, lines elsewhere.

use std::time::Duration;

use drover_api::v1::Operation;
use drover_api::{Problem, ProblemKind};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Context, Done, problem};
use crate::output::{self, Format};
use crate::show;

/// The operation is read so often.
const POLL: Duration = Duration::from_millis(200);

/// Times that a completed operation is read again for its statistics.
const STATISTICS_TRIES: u32 = 10;

/// Follows an operation to its end; fails if the operation does.
pub(crate) async fn follow(context: &Context, id: &str) -> Done {
    let quiet = matches!(context.format, Format::Json | Format::Yaml);
    let bar = (!quiet && output::is_fancy()).then(bar);
    let mut last = String::new();
    let mut statistics_tries = STATISTICS_TRIES;
    let finished = loop {
        let read = tokio::select! {
            read = context.client.operation(id) => read,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("the operation goes on; `drover operation watch {id}` follows it");
                return Ok(());
            }
        };
        let operation = read.map_err(problem)?;
        if let Some(bar) = &bar {
            draw(bar, &operation);
        } else if !quiet && operation.state != last {
            println!("{} {}", operation.guest, line(&operation));
        }
        last.clone_from(&operation.state);
        // The statistics come a moment after the guest runs on the target.
        let complete = operation.state != "completed" || operation.outcome.is_some();
        if operation.finished && (complete || statistics_tries == 0) {
            break operation;
        }
        if operation.finished {
            statistics_tries -= 1;
        }
        tokio::time::sleep(POLL).await;
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    output::print(context.format, &finished, |_| show::operation(&finished))?;
    if finished.state == "completed" {
        return Ok(());
    }
    let why = finished.failure.unwrap_or_else(|| finished.state.clone());
    Err(Problem::new(ProblemKind::Refused, format!("{} was not moved: {why}", finished.guest))
        .hint(format!("`drover event list --operation {}` tells its story", finished.id)))
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
