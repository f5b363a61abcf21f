//! Settings, progress and outcome of one migration.

use serde::{Deserialize, Serialize};

use crate::{BackingImage, Bytes, Timestamp};

/// In which way a guest is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationMode {
    /// A running guest, while it runs.
    #[default]
    Live,
    /// A guest that is shut off: its definition, and its disks where they are local.
    Cold,
    /// A guest whose host is proven dead: it is started elsewhere from its stored
    /// definition, on disks that the other host reaches.
    Rescue,
}

impl MigrationMode {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Cold => "cold",
            Self::Rescue => "rescue",
        }
    }
}

/// Whether the guest may run on the target before all of its memory is there. Then the loss
/// of either host, or of the network between them, can cost the guest its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostCopy {
    /// Never.
    #[default]
    Never,
    /// When it does not converge otherwise.
    Allow,
    /// As soon as the transfer has begun.
    Now,
}

impl PostCopy {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Allow => "allow",
            Self::Now => "now",
        }
    }
}

/// How memory pages are compressed on their way, by libvirt's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Differences to pages sent before; not with several connections.
    Xbzrle,
    /// zlib, over several connections.
    Zlib,
    /// Zstandard, over several connections.
    Zstd,
}

impl Compression {
    /// libvirt's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Xbzrle => "xbzrle",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// Whether it needs several connections: QEMU compresses with it on multifd channels.
    pub const fn needs_parallel(self) -> bool {
        matches!(self, Self::Zlib | Self::Zstd)
    }
}

/// What is done with disks that only the source reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageCopy {
    /// Nothing: there must be none.
    #[default]
    None,
    /// They are copied whole; a backing file is merged into the copy.
    Full,
    /// Only the top layer is copied; the target has the backing files.
    TopLayer,
}

impl StorageCopy {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "full",
            Self::TopLayer => "top-layer",
        }
    }
}

/// How a guest is moved: what was asked for, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MigrationSettings {
    /// Live, cold or rescue.
    pub mode: MigrationMode,
    /// Nobody asked for anything: the guest's own policy says how it is moved.
    pub by_policy: bool,
    /// Longest pause that QEMU may plan for the switch-over, milliseconds. A transfer begins
    /// with at most 300, QEMU's own default.
    pub max_downtime_ms: u64,
    /// Cap on the transfer, MiB/s; none means the link's speed.
    pub max_bandwidth_mib_s: Option<u64>,
    /// Encrypt memory and disks on their way; none means where both ends have certificates.
    pub tls: Option<bool>,
    /// Whether the guest may run before all of its memory has arrived.
    pub post_copy: PostCopy,
    /// Slow the guest's vCPUs down where it dirties memory faster than it is sent.
    pub auto_converge: bool,
    /// Connections that memory is sent over (multifd); none means one, as QEMU does it.
    pub parallel: Option<u32>,
    /// Compress memory.
    pub compress: Option<Compression>,
    /// Local disks.
    pub storage: StorageCopy,
    /// Directories on the source and what they are called on the target.
    pub storage_map: Vec<(String, String)>,
    /// Pause the guest for as long as it takes when nothing else ends the transfer.
    pub quickly_finish: bool,
    /// Give up after so long, seconds, counted from the start of the transfer.
    pub timeout_s: Option<u64>,
    /// Leave the copied disks on the target when the migration fails.
    pub keep_target_on_failure: bool,
    /// Do not compare the processors.
    pub skip_cpu_check: bool,
    /// Do not compare the kernels.
    pub skip_kernel_check: bool,
    /// Start the guest after a cold migration.
    pub auto_start: bool,
}

impl Default for MigrationSettings {
    fn default() -> Self {
        Self {
            mode: MigrationMode::Live,
            by_policy: true,
            max_downtime_ms: 300,
            max_bandwidth_mib_s: None,
            tls: None,
            post_copy: PostCopy::Never,
            auto_converge: false,
            parallel: None,
            compress: None,
            storage: StorageCopy::None,
            storage_map: Vec::new(),
            quickly_finish: false,
            timeout_s: None,
            keep_target_on_failure: false,
            skip_cpu_check: false,
            skip_kernel_check: false,
            auto_start: false,
        }
    }
}

impl MigrationSettings {
    /// Where a path of the source lies on the target: the longest directory of the map that
    /// it is in is replaced.
    pub fn on_target(&self, path: &str) -> String {
        let longest = self
            .storage_map
            .iter()
            .filter_map(|(from, to)| Some((from, to, below(path, from)?)))
            .max_by_key(|(from, ..)| from.trim_end_matches('/').len());
        match longest {
            Some((_, to, rest)) => format!("{}/{rest}", to.trim_end_matches('/')),
            None => path.to_owned(),
        }
    }

    /// What differs from the defaults beside mode, pause, bandwidth and encryption: the options
    /// of `drover guest migrate`, without their dashes.
    pub fn options(&self) -> Vec<String> {
        let switch = |is_on: bool, name: &str| is_on.then(|| name.to_owned());
        let post_copy = (self.post_copy != PostCopy::Never).then(|| self.post_copy.as_str());
        let storage = (self.storage != StorageCopy::None).then(|| self.storage.as_str());
        let first = [
            post_copy.map(|when| format!("post-copy {when}")),
            switch(self.auto_converge, "auto-converge"),
            self.parallel.map(|connections| format!("parallel {connections}")),
            self.compress.map(|method| format!("compress {}", method.as_str())),
            storage.map(|what| format!("copy-storage {what}")),
        ];
        let maps = self.storage_map.iter().map(|(from, to)| format!("storage-map {from}={to}"));
        let last = [
            switch(self.quickly_finish, "quickly-finish"),
            self.timeout_s.map(|seconds| format!("timeout {seconds}s")),
            switch(self.keep_target_on_failure, "keep-target-on-failure"),
            switch(self.skip_cpu_check, "skip-cpu-check"),
            switch(self.skip_kernel_check, "skip-kernel-check"),
            switch(self.auto_start, "auto-start"),
        ];
        first.into_iter().flatten().chain(maps).chain(last.into_iter().flatten()).collect()
    }
}

/// What follows a directory in a path.
fn below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    path.strip_prefix(directory.trim_end_matches('/'))?.strip_prefix('/')
}

/// One disk that is copied with its guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskCopy {
    /// Its name in the guest, e.g. `vda`.
    pub disk: String,
    /// Absolute path on the source.
    pub from: String,
    /// Absolute path on the target.
    pub to: String,
    /// Image format, `raw` or `qcow2`.
    pub format: String,
    /// Size that the guest sees.
    pub capacity: Bytes,
    /// Space that the copy takes at least.
    #[serde(default)]
    pub allocation: Bytes,
    /// The image below it, by its path on the target, where only the top layer is copied.
    #[serde(default)]
    pub backing: Option<BackingImage>,
}

/// A disk that has been copied, and what it must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedDisk {
    /// Absolute path on the target.
    pub path: String,
    /// Length of the file.
    pub length: Bytes,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// What the source hands over of a guest that is shut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdCopy {
    /// Domain XML as it is to be defined on the target.
    pub definition: String,
    /// The disks that were copied.
    pub disks: Vec<CopiedDisk>,
    /// What it took.
    pub outcome: MigrationOutcome,
}

/// A running migration job, from libvirt's job statistics.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MigrationProgress {
    /// When it was read, by the source's clock.
    pub at: Timestamp,
    /// Time since the job began.
    pub elapsed_ms: u64,
    /// Bytes to send in all, as of now.
    pub total: Bytes,
    /// Bytes sent or found to be zero pages.
    pub processed: Bytes,
    /// Bytes still to send.
    pub remaining: Bytes,
    /// Pages dirtied in one second by the guest, times the page size.
    pub dirty_rate: Bytes,
    /// Bytes sent in one second.
    pub throughput: Bytes,
    /// Passes over the guest's memory so far.
    pub iteration: u32,
    /// The pause that QEMU expects at the switch-over.
    pub expected_downtime_ms: Option<u64>,
    /// How far QEMU slows the guest's vCPUs down (auto-converge), percent; none where it
    /// does not.
    #[serde(default)]
    pub throttle_percent: Option<u8>,
}

impl MigrationProgress {
    /// Part done, 0 to 100; moves back when the guest dirties memory.
    #[expect(clippy::cast_precision_loss, reason = "shown as whole percent")]
    pub fn percent(&self) -> f64 {
        let whole = self.processed.0 + self.remaining.0;
        if whole == 0 { 0.0 } else { self.processed.0 as f64 * 100.0 / whole as f64 }
    }
}

/// One measured window: how much memory a guest dirtied within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirtyWindow {
    /// Length of the window, milliseconds.
    pub window_ms: u64,
    /// Memory that was dirtied at least once within it.
    pub dirtied: Bytes,
}

/// What a completed migration measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MigrationOutcome {
    /// From libvirt's first phase to the end of the source's copy.
    pub total_ms: u64,
    /// The pause that libvirt reports for the switch-over, where it does.
    pub downtime_ms: Option<u64>,
    /// Bytes sent, where it is known.
    pub transferred: Option<Bytes>,
    /// Passes over the guest's memory, where it is known.
    pub iterations: Option<u32>,
    /// How long the network saw nothing of the guest around the switch-over, milliseconds;
    /// told by the target after all else.
    #[serde(default)]
    pub blackout_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mapped_directory_is_replaced() {
        let map = [("/srv/a", "/srv/x"), ("/srv/a/b/", "/mnt/y/"), ("/", "/root")];
        let storage_map = map.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
        let settings = MigrationSettings { storage_map, ..MigrationSettings::default() };
        for (path, there) in [
            ("/srv/a/1.img", "/srv/x/1.img"),
            ("/srv/a/b/2.img", "/mnt/y/2.img"),
            ("/srv/ab/3.img", "/root/srv/ab/3.img"),
        ] {
            assert_eq!(settings.on_target(path), there);
        }
        assert_eq!(MigrationSettings::default().on_target("/a/b"), "/a/b");
    }

    #[test]
    fn options_are_told_as_they_are_asked_for() {
        assert!(MigrationSettings::default().options().is_empty());
        let settings = MigrationSettings {
            post_copy: PostCopy::Allow,
            parallel: Some(4),
            compress: Some(Compression::Zstd),
            storage: StorageCopy::TopLayer,
            storage_map: vec![("/a".to_owned(), "/b".to_owned())],
            timeout_s: Some(600),
            skip_cpu_check: true,
            ..MigrationSettings::default()
        };
        let told = "post-copy allow, parallel 4, compress zstd, copy-storage top-layer, \
                    storage-map /a=/b, timeout 600s, skip-cpu-check";
        assert_eq!(settings.options().join(", "), told);
    }

    #[test]
    fn settings_stored_by_an_earlier_version_are_read() {
        let stored = r#"{"max_downtime_ms":500,"max_bandwidth_mib_s":null}"#;
        let settings: MigrationSettings = serde_json::from_str(stored).unwrap();
        assert_eq!(settings, MigrationSettings { max_downtime_ms: 500, ..Default::default() });
    }
}
