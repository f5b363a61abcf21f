//! How guests are moved: the options that every command that moves guests takes.

use clap::{Args, ValueEnum};
use drover_api::v1::{CheckQuery, MigrateOptions};

use super::amounts::{mib_per_s, millis, seconds};

/// Of a request that may be for a guest that does not run.
#[derive(Debug, Clone, Args)]
pub(crate) struct MigrateArgs {
    /// Move it while it runs, while it is shut off, or from a dead host; several guests are
    /// moved live.
    #[arg(long, value_enum, default_value_t = Mode::Live)]
    mode: Mode,
    #[command(flatten)]
    live: LiveArgs,
    /// Start the guest after a cold migration.
    #[arg(long)]
    auto_start: bool,
}

/// Of every request that moves guests.
#[derive(Debug, Clone, Args)]
pub(crate) struct LiveArgs {
    /// Longest pause, e.g. 500ms; without it the guest's own. A move begins with 300ms at most.
    #[arg(long, value_parser = millis)]
    max_downtime: Option<u64>,
    /// Cap on the transfer, e.g. 100MiB/s.
    #[arg(long, value_parser = mib_per_s)]
    max_bandwidth: Option<u64>,
    /// Encrypt what is sent, or fail; without either, encrypt where both hosts can.
    #[arg(long, conflicts_with = "no_tls")]
    tls: bool,
    /// Do not encrypt what is sent.
    #[arg(long)]
    no_tls: bool,
    /// Let the guest run on the target before all of its memory is there. A host or network
    /// that fails meanwhile can cost the guest its memory.
    #[arg(long, value_enum, default_value_t = PostCopy::Never)]
    post_copy: PostCopy,
    /// Slow the guest down where it dirties memory faster than it is sent.
    #[arg(long)]
    auto_converge: bool,
    /// Send memory over so many connections (QEMU's multifd).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=255))]
    parallel: Option<u32>,
    /// Compress memory; zlib and zstd need --parallel.
    #[arg(long, value_enum, value_name = "METHOD")]
    compress: Option<Compress>,
    /// Copy disks that only the source reaches: whole, or their top layer.
    #[arg(long, value_enum, value_name = "WHAT")]
    copy_storage: Option<CopyStorage>,
    /// A directory on the source and what it is called on the target; may be repeated.
    #[arg(long, value_name = "A=B", value_parser = mapping)]
    storage_map: Vec<(String, String)>,
    /// Pause the guest for as long as it takes when nothing else ends the transfer.
    #[arg(long)]
    quickly_finish: bool,
    /// Give up after so long, e.g. 10m.
    #[arg(long, value_parser = seconds)]
    timeout: Option<u64>,
    /// Leave copied disks on the target when the migration fails.
    #[arg(long)]
    keep_target_on_failure: bool,
    /// Do not compare the processors, also of a guest that sees its host's own.
    #[arg(long)]
    skip_cpu_check: bool,
    /// Do not compare the kernels.
    #[arg(long)]
    skip_kernel_check: bool,
}

/// Of a check without a move.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// As if it moved so; without it live, cold for a guest that is shut off, or from a host
    /// that is unreachable.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// As if disks that only the source reaches were copied: whole, or their top layer.
    #[arg(long, value_enum, value_name = "WHAT")]
    copy_storage: Option<CopyStorage>,
    /// Do not compare the processors.
    #[arg(long)]
    skip_cpu_check: bool,
    /// Do not compare the kernels.
    #[arg(long)]
    skip_kernel_check: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Live,
    Cold,
    Rescue,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PostCopy {
    Never,
    Allow,
    Now,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Compress {
    Xbzrle,
    Zlib,
    Zstd,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CopyStorage {
    Full,
    TopLayer,
}

impl MigrateArgs {
    /// What is asked of the controller.
    pub(crate) fn options(self) -> MigrateOptions {
        let auto_start = self.auto_start;
        MigrateOptions { mode: Some(word(self.mode)), auto_start, ..self.live.options() }
    }
}

impl CheckArgs {
    /// What is asked of the controller, of every host.
    pub(crate) fn query(self) -> CheckQuery {
        CheckQuery {
            to: None,
            mode: self.mode.map(word),
            storage: self.copy_storage.map(word),
            skip_cpu_check: self.skip_cpu_check,
            skip_kernel_check: self.skip_kernel_check,
        }
    }
}

impl LiveArgs {
    /// What is asked of the controller, of a guest that runs.
    pub(crate) fn options(self) -> MigrateOptions {
        let tls = match (self.tls, self.no_tls) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            (false, false) => None,
        };
        MigrateOptions {
            mode: Some(word(Mode::Live)),
            max_downtime_ms: self.max_downtime,
            max_bandwidth_mib_s: self.max_bandwidth,
            tls,
            post_copy: Some(word(self.post_copy)),
            auto_converge: self.auto_converge,
            parallel: self.parallel,
            compress: self.compress.map(word),
            storage: self.copy_storage.map(word),
            storage_map: self.storage_map.into_iter().collect(),
            quickly_finish: self.quickly_finish,
            timeout_s: self.timeout,
            keep_target_on_failure: self.keep_target_on_failure,
            skip_cpu_check: self.skip_cpu_check,
            skip_kernel_check: self.skip_kernel_check,
            auto_start: false,
        }
    }
}

/// The word of a choice, as the API knows it.
fn word(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if from.starts_with('/') && to.starts_with('/') => {
            Ok((from.to_owned(), to.to_owned()))
        }
        _ => Err(format!("`{text}` is not two directories such as /srv/a=/srv/b")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_two_directories() {
        assert_eq!(mapping("/a=/b"), Ok(("/a".to_owned(), "/b".to_owned())));
        assert!(mapping("a=/b").is_err() && mapping("/a").is_err());
    }
}
