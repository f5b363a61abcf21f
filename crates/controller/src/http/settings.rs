//! What a request to move guests asks for, checked and with defaults filled in.

use drover_api::v1;
use drover_model::{Compression, MigrationMode, MigrationSettings, PostCopy, StorageCopy};

use super::reply::{Failed, bad};

/// QEMU's own bounds of `downtime-limit`, milliseconds.
pub(super) const DOWNTIME_MS: std::ops::RangeInclusive<u64> = 1..=2_000_000;
/// QEMU's own bounds of `multifd-channels`; one is what there is without.
const PARALLEL: std::ops::RangeInclusive<u32> = 2..=255;
/// Longest time that a transfer may be given, seconds: a week.
const MAX_TIMEOUT_S: u64 = 7 * 24 * 3600;

/// Reads options; every contradiction is named.
pub(super) fn settings(options: &v1::MigrateOptions) -> Result<MigrationSettings, Failed> {
    let defaults = MigrationSettings::default();
    let compress = options.compress.as_deref().map(compression).transpose()?;
    let settings = MigrationSettings {
        mode: mode(options.mode.as_deref())?,
        by_policy: true,
        max_downtime_ms: options.max_downtime_ms.unwrap_or(defaults.max_downtime_ms),
        max_bandwidth_mib_s: options.max_bandwidth_mib_s,
        tls: options.tls,
        post_copy: post_copy(options.post_copy.as_deref())?,
        auto_converge: options.auto_converge,
        parallel: options.parallel,
        compress,
        storage: storage(options.storage.as_deref())?,
        storage_map: options.storage_map.clone().into_iter().collect(),
        quickly_finish: options.quickly_finish,
        timeout_s: options.timeout_s,
        keep_target_on_failure: options.keep_target_on_failure,
        skip_cpu_check: options.skip_cpu_check,
        skip_kernel_check: options.skip_kernel_check,
        auto_start: options.auto_start,
    };
    in_range(&settings)?;
    in_accord(&settings)?;
    // A pause of the default's length is asked for all the same.
    let by_policy = options.max_downtime_ms.is_none();
    Ok(MigrationSettings { by_policy, ..settings })
}

fn in_range(settings: &MigrationSettings) -> Result<(), Failed> {
    if !DOWNTIME_MS.contains(&settings.max_downtime_ms) {
        return Err(bad_downtime());
    }
    if settings.max_bandwidth_mib_s == Some(0) {
        return Err(bad_bandwidth());
    }
    if settings.parallel.is_some_and(|connections| !PARALLEL.contains(&connections)) {
        return Err(bad("parallel must be 2 to 255", "leave it out for one connection"));
    }
    if settings.timeout_s.is_some_and(|seconds| !(1..=MAX_TIMEOUT_S).contains(&seconds)) {
        return Err(bad("timeout_s must be 1 to 604,800 (a week)", "leave it out for no limit"));
    }
    let relative = |path: &String| !path.starts_with('/');
    if settings.storage_map.iter().any(|(from, to)| relative(from) || relative(to)) {
        return Err(bad("storage_map must map absolute directories", "such as /srv/a to /srv/b"));
    }
    Ok(())
}

pub(super) fn bad_downtime() -> Failed {
    bad("max_downtime_ms must be 1 to 2,000,000", "QEMU's default is 300")
}

pub(super) fn bad_bandwidth() -> Failed {
    bad("max_bandwidth_mib_s must be at least 1", "leave it out for no limit")
}

/// What cannot be had together, by libvirt's and QEMU's own rules and by what a mode is.
fn in_accord(settings: &MigrationSettings) -> Result<(), Failed> {
    let compress = settings.compress;
    if compress.is_some_and(Compression::needs_parallel) && settings.parallel.is_none() {
        return Err(bad(
            "zlib and zstd compress on several connections only",
            "add `parallel`, 2 or more, or use xbzrle",
        ));
    }
    if compress == Some(Compression::Xbzrle) && settings.parallel.is_some() {
        return Err(bad(
            "xbzrle does not work on several connections",
            "leave `parallel` out, or use zlib or zstd",
        ));
    }
    if settings.post_copy != PostCopy::Never && settings.parallel.is_some() {
        return Err(bad(
            "QEMU before 10.1 has no post-copy on several connections",
            "leave one of `post_copy` and `parallel` out",
        ));
    }
    let live_only = settings.post_copy != PostCopy::Never
        || settings.auto_converge
        || settings.parallel.is_some()
        || compress.is_some()
        || settings.quickly_finish;
    if settings.mode != MigrationMode::Live && live_only {
        return Err(bad(
            format!("a {} migration sends no memory", settings.mode.as_str()),
            "leave out what is for live migration: post_copy, auto_converge, parallel, \
             compress, quickly_finish",
        ));
    }
    if settings.auto_start && settings.mode != MigrationMode::Cold {
        return Err(bad(
            format!("after a {} migration the guest runs anyhow", settings.mode.as_str()),
            "auto_start is for cold migration",
        ));
    }
    let copies = settings.storage != StorageCopy::None;
    if settings.mode == MigrationMode::Rescue && copies {
        return Err(bad(
            "the disks of a dead host cannot be copied",
            "a rescue needs all disks on shared storage",
        ));
    }
    if !copies && !settings.storage_map.is_empty() {
        return Err(bad(
            "storage_map says where copied disks go, and none are copied",
            "add `storage` (`--copy-storage`): full or top-layer",
        ));
    }
    Ok(())
}

fn mode(word: Option<&str>) -> Result<MigrationMode, Failed> {
    match word {
        None | Some("live") => Ok(MigrationMode::Live),
        Some("cold") => Ok(MigrationMode::Cold),
        Some("rescue") => Ok(MigrationMode::Rescue),
        Some(other) => {
            Err(bad(format!("there is no mode `{other}`"), "it is live, cold or rescue"))
        }
    }
}

fn post_copy(word: Option<&str>) -> Result<PostCopy, Failed> {
    match word {
        None | Some("never") => Ok(PostCopy::Never),
        Some("allow") => Ok(PostCopy::Allow),
        Some("now") => Ok(PostCopy::Now),
        Some(other) => {
            Err(bad(format!("there is no post_copy `{other}`"), "it is never, allow or now"))
        }
    }
}

fn compression(word: &str) -> Result<Compression, Failed> {
    match word {
        "xbzrle" => Ok(Compression::Xbzrle),
        "zlib" => Ok(Compression::Zlib),
        "zstd" => Ok(Compression::Zstd),
        other => {
            Err(bad(format!("there is no compression `{other}`"), "it is xbzrle, zlib or zstd"))
        }
    }
}

fn storage(word: Option<&str>) -> Result<StorageCopy, Failed> {
    match word {
        None | Some("none") => Ok(StorageCopy::None),
        Some("full") => Ok(StorageCopy::Full),
        Some("top-layer") => Ok(StorageCopy::TopLayer),
        Some(other) => {
            Err(bad(format!("there is no storage `{other}`"), "it is none, full or top-layer"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: v1::MigrateOptions) -> String {
        settings(&options).expect_err("it is wrong").0.detail
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let read = settings(&v1::MigrateOptions::default()).map_err(|_| ()).unwrap();
        assert_eq!(read, MigrationSettings::default());
    }

    #[test]
    fn contradictions_are_named() {
        let default = v1::MigrateOptions::default;
        let word = |text: &str| Some(text.to_owned());
        for (options, part) in [
            (v1::MigrateOptions { max_downtime_ms: Some(0), ..default() }, "2,000,000"),
            (v1::MigrateOptions { max_bandwidth_mib_s: Some(0), ..default() }, "at least 1"),
            (v1::MigrateOptions { parallel: Some(1), ..default() }, "2 to 255"),
            (v1::MigrateOptions { timeout_s: Some(0), ..default() }, "a week"),
            (v1::MigrateOptions { compress: word("zstd"), ..default() }, "several connections"),
            (
                v1::MigrateOptions { compress: word("xbzrle"), parallel: Some(2), ..default() },
                "does not work",
            ),
            (
                v1::MigrateOptions { post_copy: word("allow"), parallel: Some(2), ..default() },
                "10.1",
            ),
            (
                v1::MigrateOptions { mode: word("cold"), auto_converge: true, ..default() },
                "sends no memory",
            ),
            (v1::MigrateOptions { auto_start: true, ..default() }, "runs anyhow"),
            (
                v1::MigrateOptions { mode: word("rescue"), storage: word("full"), ..default() },
                "cannot be copied",
            ),
            (v1::MigrateOptions { mode: word("warm"), ..default() }, "`warm`"),
        ] {
            let said = refused(options);
            assert!(said.contains(part), "{said} / {part}");
        }
    }
}
