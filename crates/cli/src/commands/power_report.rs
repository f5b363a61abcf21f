//! `drover power`

use clap::{Args, Subcommand};
use drover_api::v1::PowerReportQuery;

use super::{Context, Done, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell what hosts have drawn and what parking has saved, by host, day and month.
    Report(Report),
    /// Show what the power policy decided last, and the numbers behind it.
    Explain,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// So many days back, today included; days are those of UTC.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// Grams of CO2 of a kilowatt hour, as the supplier states them.
    #[arg(long, value_name = "G/KWH")]
    co2: Option<f64>,
    /// Only this host.
    #[arg(long)]
    host: Option<String>,
    /// As JSON; the same as `-o json`.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let Report { days, co2, host, json } = match command {
        Command::Report(report) => report,
        Command::Explain => return explain(context).await,
    };
    let query = PowerReportQuery { days: Some(days), co2, host };
    let report = context.client.power_report(&query).await.map_err(problem)?;
    let format = if json { output::Format::Json } else { context.format };
    output::print(format, &report, |_| show::energy::report(&report))
}

async fn explain(context: &Context) -> Done {
    let decision = context.client.power_decision().await.map_err(problem)?;
    output::print(context.format, &decision, |_| show::power_policy::decision(&decision))
}
