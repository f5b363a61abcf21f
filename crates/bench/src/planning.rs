//! The planner beside its peers.

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Peers that take minutes too.
    #[arg(long)]
    pub(crate) long: bool,
}

pub(crate) fn run(_arguments: &Arguments) -> anyhow::Result<()> {
    Ok(())
}
