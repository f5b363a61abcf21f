//! `drover top`: hosts and guests, live.

use std::time::Duration;

use clap::Args;
use drover_api::v1::{Guest, Host};
use drover_model::parse_duration;
use serde::Serialize;

use super::{Context, Done, problem};
use crate::output::{bytes, is_fancy, or_dash, percent, print, table};

/// Width of a bar, characters.
const BAR: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print it once and end.
    #[arg(long)]
    once: bool,
    /// Refresh so often, e.g. 10s.
    #[arg(long, default_value = "2s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
    if allowed.contains(&span) { Ok(span) } else { Err("it must be 1s to 1h".to_owned()) }
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Both {
    hosts: Vec<Host>,
    guests: Vec<Guest>,
}

pub(crate) async fn run(context: &Context, top: &Top) -> Done {
    loop {
        let hosts = context.client.hosts().await.map_err(problem)?;
        let mut guests = context.client.guests().await.map_err(problem)?;
        guests.sort_by(|a, b| {
            b.host_percent.unwrap_or(0.0).total_cmp(&a.host_percent.unwrap_or(0.0))
        });
        let answer = Both { hosts, guests };
        let text =
            |both: &Both| format!("{}\n\n{}", shown_hosts(&both.hosts), shown_guests(&both.guests));
        if is_fancy() && !top.once && context.format.is_for_people() {
            // Home and clear: a plain redraw is all that a table needs.
            print!("\x1b[H\x1b[2J");
        }
        print(context.format, &answer, |_| text(&answer))?;
        if top.once {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(top.interval) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn shown_hosts(hosts: &[Host]) -> String {
    let rows = hosts
        .iter()
        .map(|host| {
            vec![
                host.name.clone(),
                host.state.clone(),
                or_dash(host.cpu_usage_percent, percent),
                bar(host.cpu_usage_percent.unwrap_or(0.0)),
                or_dash(host.memory_available_bytes, bytes),
                or_dash(host.guests_active, |count| count.to_string()),
            ]
        })
        .collect();
    table(&["HOST", "STATE", "CPU", "", "MEM AVAILABLE", "GUESTS"], rows)
}

fn shown_guests(guests: &[Guest]) -> String {
    let rows = guests
        .iter()
        .map(|guest| {
            vec![
                guest.name.clone(),
                guest.state.clone(),
                guest.host.clone(),
                or_dash(guest.host_percent, percent),
                bar(guest.host_percent.unwrap_or(0.0)),
                or_dash(guest.resident_bytes, bytes),
            ]
        })
        .collect();
    table(&["GUEST", "STATE", "HOST", "HOST CPU", "", "RESIDENT"], rows)
}

/// A bar of a percentage.
fn bar(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to the bar"
    )]
    let full = (value.clamp(0.0, 100.0) / 100.0 * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}
