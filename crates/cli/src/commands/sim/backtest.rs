//! `drover sim backtest`: the recorded history of a live droverd.

use std::time::Duration;

use clap::Args;
use drover_model::{exact_duration, parse_duration};
use drover_sim::{Model, Settings, fitting_interval};

use super::{Common, bad, compare, finish, recorded, rule_file};
use crate::commands::{Context, Done};

#[derive(Debug, Args)]
pub(crate) struct Backtest {
    #[command(flatten)]
    common: Common,
    /// How far back; up to a day it is every sample, up to 31 days five-minute means.
    #[arg(long, value_parser = parse_duration, default_value = "7d")]
    since: Duration,
}

pub(super) async fn run(context: &Context, backtest: &Backtest) -> Done {
    let common = &backtest.common;
    if common.rules.is_empty() {
        return Err(bad("a back-test needs a rule").hint(
            "`drover rule show NAME -o yaml > rule.yaml`, change it, then --rule rule.yaml",
        ));
    }
    let since = exact_duration(backtest.since);
    let power = common.power.unwrap_or_default();
    let recorded = recorded::fetch(&context.client, &since, power).await?;
    let rules = rule_file::rules(&common.rules, &recorded.cluster)?;
    let fitting = fitting_interval(recorded.duration).max(recorded.bucket.min(MOST));
    let settings = Settings {
        judges: rules.clone(),
        rules,
        replay: Vec::new(),
        failures: Vec::new(),
        model: Model::default(),
        start: recorded.start,
        duration: recorded.duration,
        interval: common.interval.unwrap_or(fitting),
        seed: common.seed,
        cluster: recorded.cluster,
        trace: recorded.trace,
    };
    let before = Settings { rules: Vec::new(), replay: recorded.moves, ..settings.clone() };
    let both = compare(settings, before, "as recorded", recorded.assumptions)?;
    let runs = [(both.before_is.as_str(), &both.before), (both.after_is.as_str(), &both.after)];
    finish(context.format, common.html.as_deref(), &both, &runs, &both.assumptions)
}

/// Coarser history is still run at this interval: rules look more often than that.
const MOST: Duration = Duration::from_secs(30);
