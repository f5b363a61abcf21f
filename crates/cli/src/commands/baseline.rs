//! `drover baseline`

use clap::{Args, Subcommand};
use drover_api::v1::{ApplyBaseline, ComputeBaseline, TrappedQuery};
use drover_api::{Problem, ProblemKind};

use super::{Context, Done, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show baselines, the CPU for new guests, and which hosts changed since.
    Show {
        /// `all`, or a label and its value such as rack=r1 [default: every baseline].
        group: Option<String>,
    },
    /// Compute the CPU that fits every host of a group, and keep it.
    Compute(Compute),
    /// Write the CPU into guests' definitions; what runs goes on as it is until its next start.
    Apply {
        /// `all`, or a label and its value such as rack=r1.
        #[arg(default_value = "all")]
        group: String,
        /// Guest; repeatable.
        #[arg(long = "guest", value_name = "GUEST", required = true)]
        guests: Vec<String>,
    },
    /// List guests whose CPU no other host of the group has.
    Trapped(Trapped),
}

#[derive(Debug, Args)]
pub(crate) struct Compute {
    /// `all`, or a label and its value such as rack=r1.
    #[arg(default_value = "all")]
    group: String,
    /// `kvm` or `qemu` [default: kvm where every host has it].
    #[arg(long)]
    virt_type: Option<String>,
    /// Machine type [default: libvirt's].
    #[arg(long)]
    machine: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Trapped {
    /// `all`, or a label and its value such as rack=r1.
    #[arg(default_value = "all")]
    group: String,
    /// As if this host had left.
    #[arg(long, value_name = "HOST", conflicts_with = "after_upgrade")]
    without: Option<String>,
    /// As if every host were upgraded to what this one, upgraded first, is now.
    #[arg(long, value_name = "HOST")]
    after_upgrade: Option<String>,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::Show { group } => {
            let mut baselines = client.baselines().await.map_err(problem)?;
            if let Some(group) = &group {
                baselines.retain(|baseline| baseline.group == *group);
                if baselines.is_empty() {
                    let detail = format!("there is no baseline of `{group}`");
                    return Err(Problem::new(ProblemKind::NotFound, detail)
                        .hint("`drover baseline compute` makes one"));
                }
            }
            output::print(context.format, &baselines, |_| show::check::baselines(&baselines))
        }
        Command::Compute(Compute { group, virt_type, machine }) => {
            let request = ComputeBaseline { virt_type, machine };
            let baseline = client.compute_baseline(&group, &request).await.map_err(problem)?;
            output::print(context.format, &baseline, |_| show::check::baseline(&baseline))
        }
        Command::Apply { group, guests } => {
            let request = ApplyBaseline { guests };
            let applied = client.apply_baseline(&group, &request).await.map_err(problem)?;
            output::print(context.format, &applied, |_| show::check::applied(&applied))?;
            let failed = applied.iter().filter(|one| one.why.is_some()).count();
            if failed == 0 {
                return Ok(());
            }
            let detail = format!("{failed} of {} guests did not get the CPU", applied.len());
            Err(Problem::new(ProblemKind::Failed, detail))
        }
        Command::Trapped(Trapped { group, without, after_upgrade }) => {
            let query = TrappedQuery { without, after_upgrade };
            let trapped = client.trapped(&group, &query).await.map_err(problem)?;
            output::print(context.format, &trapped, |_| show::check::trapped(&trapped))
        }
    }
}
