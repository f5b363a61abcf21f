//! `drover plan preview`, `apply` and `explain`

use clap::{ArgGroup, Args};
use drover_api::v1::{ApplyRequest, PreviewGoal, PreviewRequest, WhyNotRequest};

use super::{Context, Done, problem};
use crate::{output, show};

/// How eager a preview is where nothing is said: moves that clearly pay.
const MODERATE: u8 = 3;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("goal").multiple(false))]
pub(crate) struct Preview {
    /// Even out the load, 1 (conservative) to 5 (aggressive); without any goal level 3.
    #[arg(long, value_name = "LEVEL", group = "goal", value_parser = clap::value_parser!(u8).range(1..=5))]
    balance: Option<u8>,
    /// Empty these hosts; repeatable.
    #[arg(long, value_name = "HOST", group = "goal", num_args = 1..)]
    drain: Vec<String>,
    /// Restore broken placement rules.
    #[arg(long, group = "goal")]
    repair: bool,
    /// Empty the hosts that the others can do without.
    #[arg(long, group = "goal")]
    consolidate: bool,
    /// Make room for a guest that grows, e.g. vm1=4,8GiB.
    #[arg(long, value_name = "GUEST=VCPUS,MEMORY", group = "goal", value_parser = resize)]
    resize: Option<Resize>,
    /// Move this guest.
    #[arg(long, group = "goal")]
    guest: Option<String>,
    /// Where to; without it the least loaded feasible host.
    #[arg(long, value_name = "HOST", requires = "guest")]
    to: Option<String>,
    /// Most moves [default: 16; no limit for --consolidate]; not for --drain, which is
    /// planned whole.
    #[arg(long, value_name = "N")]
    max_moves: Option<u32>,
    /// What if every CPU threshold were this?
    #[arg(long, value_name = "PERCENT")]
    threshold: Option<f64>,
    /// What if these hosts were gone? Repeatable.
    #[arg(long, value_name = "HOST", num_args = 1..)]
    without: Vec<String>,
    /// How long to search, 0 to 8; each step more takes twice as long [default: 4].
    #[arg(long, value_name = "N")]
    effort: Option<u8>,
    /// Window over which loads are averaged [default: six samples, two for --guest, --repair
    /// and --resize].
    #[arg(long)]
    period: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Resize {
    guest: String,
    vcpus: u32,
    memory_mib: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Id of a proposed plan.
    plan: String,
    /// Only the first so many moves, the most useful ones.
    #[arg(long, value_name = "N")]
    max_moves: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Id.
    plan: String,
    /// Why does this guest not go to this host?
    #[arg(long, value_name = "GUEST=HOST", value_parser = pair)]
    why_not: Option<(String, String)>,
}

pub(super) async fn preview(context: &Context, preview: Preview) -> Done {
    let request = PreviewRequest {
        goal: goal(&preview),
        max_moves: preview.max_moves,
        threshold: preview.threshold,
        without: preview.without,
        effort: preview.effort,
        period: preview.period,
    };
    let plan = context.client.preview(&request).await.map_err(problem)?;
    output::print(context.format, &plan, |_| {
        let moves = plan.batches.iter().flatten().count();
        let next = match moves {
            0 => String::new(),
            _ => format!("\napply it with: drover plan apply {}\n", plan.id),
        };
        format!("{}{next}", show::placement::preview(&plan))
    })
}

fn goal(preview: &Preview) -> PreviewGoal {
    if let Some(guest) = preview.guest.clone() {
        return PreviewGoal::Place { guest, to: preview.to.clone() };
    }
    if let Some(Resize { guest, vcpus, memory_mib }) = preview.resize.clone() {
        return PreviewGoal::Resize { guest, vcpus, memory_mib };
    }
    if preview.repair {
        return PreviewGoal::Repair;
    }
    if preview.consolidate {
        return PreviewGoal::Consolidate { spare: 1 };
    }
    if !preview.drain.is_empty() {
        return PreviewGoal::Drain { hosts: preview.drain.clone() };
    }
    PreviewGoal::Balance { level: preview.balance.unwrap_or(MODERATE) }
}

pub(super) async fn apply(context: &Context, apply: Apply) -> Done {
    let request = ApplyRequest { max_moves: apply.max_moves };
    let plan = context.client.apply(&apply.plan, &request).await.map_err(problem)?;
    output::print(context.format, &plan, |_| {
        let moves = plan.batches.iter().flatten().count();
        format!(
            "{moves} move(s) are being made; `drover operation list` and `drover plan show {}` follow them",
            plan.id
        )
    })
}

pub(super) async fn explain(context: &Context, explain: Explain) -> Done {
    let Some((guest, host)) = explain.why_not else {
        let plan = context.client.plan(&explain.plan).await.map_err(problem)?;
        return output::print(context.format, &plan, |_| show::placement::explained(&plan));
    };
    let request = WhyNotRequest { guest, host };
    let answer = context.client.why_not(&explain.plan, &request).await.map_err(problem)?;
    output::print(context.format, &answer, |_| show::placement::why_not(&answer))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("`{text}` is not GUEST=HOST");
    let (guest, host) = text.split_once('=').ok_or_else(wrong)?;
    if guest.is_empty() || host.is_empty() {
        return Err(wrong());
    }
    Ok((guest.to_owned(), host.to_owned()))
}

fn resize(text: &str) -> Result<Resize, String> {
    let wrong = || format!("`{text}` is not GUEST=VCPUS,MEMORY such as vm1=4,8GiB");
    let (guest, size) = text.rsplit_once('=').ok_or_else(wrong)?;
    let (vcpus, memory) = size.split_once(',').ok_or_else(wrong)?;
    let (number, mib) = match (memory.strip_suffix("GiB"), memory.strip_suffix("MiB")) {
        (Some(number), _) => (number, 1024),
        (None, number) => (number.unwrap_or(memory), 1),
    };
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    let memory_mib = number.checked_mul(mib).ok_or_else(wrong)?;
    let vcpus = vcpus.trim().parse().map_err(|_| wrong())?;
    Ok(Resize { guest: guest.to_owned(), vcpus, memory_mib })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_pairs_are_read() {
        let sized = |vcpus, memory_mib| Resize { guest: "vm1".to_owned(), vcpus, memory_mib };
        assert_eq!(resize("vm1=4,8GiB"), Ok(sized(4, 8192)));
        assert_eq!(resize("vm1=2,512MiB"), Ok(sized(2, 512)));
        assert_eq!(resize("vm1=2,512"), Ok(sized(2, 512)));
        assert!(resize("vm1=2").is_err() && resize("vm1=x,1GiB").is_err());
        assert_eq!(pair("vm1=h3"), Ok(("vm1".to_owned(), "h3".to_owned())));
        assert!(pair("vm1").is_err() && pair("=h3").is_err());
    }
}
