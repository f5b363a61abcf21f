//! How guests are moved: the options that every command that moves guests takes.

use clap::{Args, ValueEnum};
use drover_api::v1::{CheckQuery, MigrateOptions};

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

fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a time such as 90s, 10m or 2h");
    let units = [('s', 1), ('m', 60), ('h', 3600)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(*unit)?, *factor)));
    let (number, factor) = found.ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

pub(super) fn millis(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a time such as 300ms or 2s");
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1.0),
        (None, Some(number)) => (number, 1000.0),
        (None, None) => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    if (0.001..=2e6).contains(&number) { Ok((number * factor) as u64) } else { Err(wrong()) }
}

pub(super) fn mib_per_s(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a rate such as 100MiB/s");
    let number = text.trim_end_matches("/s").strip_suffix("MiB").ok_or_else(wrong)?;
    number.trim().parse().ok().filter(|number| *number > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_read() {
        assert_eq!(millis("300ms"), Ok(300));
        assert_eq!(millis("1.5s"), Ok(1500));
        assert!(millis("300").is_err());
        assert_eq!(mib_per_s("100MiB/s"), Ok(100));
        assert_eq!(mib_per_s("20MiB"), Ok(20));
        assert!(mib_per_s("0MiB/s").is_err());
        assert_eq!((seconds("90s"), seconds("10m"), seconds("2h")), (Ok(90), Ok(600), Ok(7200)));
        assert!(seconds("0s").is_err() && seconds("10").is_err());
        assert_eq!(mapping("/a=/b"), Ok(("/a".to_owned(), "/b".to_owned())));
        assert!(mapping("a=/b").is_err() && mapping("/a").is_err());
    }
}
