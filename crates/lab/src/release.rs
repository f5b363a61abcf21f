//! Debian releases that the lab's hosts run, each from a root file system of its own: what the
//! machine itself has installed is not used and not changed.
//!
//! Roots are made once by `root/make-root.sh` and kept for every lab of the machine.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::addresses::number_of;

const MAKE_ROOT: &str = include_str!("../root/make-root.sh");
/// Where roots are kept; `make-root.sh` has the same default.
const ROOTS: &str = "/var/cache/drover-lab";
/// Where libraries are below a root.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib"];

/// A Debian release with its libvirt and QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Release {
    /// Debian 12: libvirt 9.0, QEMU 7.2, which loses pages of emulated guests that it moves live.
    Bookworm,
    /// Debian 13: libvirt 11.3, QEMU 10.0.
    Trixie,
}

/// Which releases a lab's hosts run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Releases {
    /// Debian 12 on every host.
    Bookworm,
    /// Debian 13 on every host.
    #[default]
    Trixie,
    /// Debian 13 on h1, h3 and so on, Debian 12 on h2, h4 and so on.
    Mixed,
}

impl Release {
    /// Debian's name of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// Its root file system, made unless it is there. The first one takes a minute or two.
    ///
    /// # Errors
    /// Where a package cannot be had, or a tool is missing.
    pub fn root(self) -> anyhow::Result<PathBuf> {
        let mut making = Command::new("sh")
            .args(["-s", self.as_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("start sh")?;
        making.stdin.take().context("sh hears nothing")?.write_all(MAKE_ROOT.as_bytes())?;
        let status = making.wait().context("wait for make-root.sh")?;
        ensure!(status.success(), "the root of Debian {} cannot be made", self.as_str());
        Ok(self.kept_root())
    }

    /// Where its root is once it has been made.
    pub(crate) fn kept_root(self) -> PathBuf {
        Path::new(ROOTS).join(self.as_str())
    }
}

impl Releases {
    /// The release of a host.
    pub fn of(self, host: &str) -> Release {
        match self {
            Self::Bookworm => Release::Bookworm,
            Self::Trixie => Release::Trixie,
            Self::Mixed if number_of(host).is_some_and(|number| number % 2 == 0) => {
                Release::Bookworm
            }
            Self::Mixed => Release::Trixie,
        }
    }

    /// All of them.
    pub const fn all(self) -> &'static [Release] {
        match self {
            Self::Bookworm => &[Release::Bookworm],
            Self::Trixie => &[Release::Trixie],
            Self::Mixed => &[Release::Trixie, Release::Bookworm],
        }
    }

    /// Makes the roots of all of them.
    ///
    /// # Errors
    /// See [`Release::root`].
    pub fn make_roots(self) -> anyhow::Result<()> {
        self.all().iter().try_for_each(|release| release.root().map(drop))
    }
}

/// How a guest's memory is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestMemory {
    /// So that no host of the lab loses any of it: plain, unless a host's QEMU loses pages.
    #[default]
    Sound,
    /// As anybody would define it, whatever the hosts lose.
    Plain,
}

impl GuestMemory {
    /// Whether guests of a lab with these releases get a little more memory than they are
    /// defined with. QEMU before 9.0 takes the dirty bits of a block whose length is a multiple
    /// of 256 KiB 64 at a time, and does not tell the emulated CPU (QEMU's commit 03bfc2188f);
    /// of another length it takes them one by one, which is sound.
    pub(crate) fn is_odd(self, releases: Releases) -> bool {
        self == Self::Sound && releases.all().contains(&Release::Bookworm)
    }
}

/// A program of a release's root, run on the machine with that root's libraries.
///
/// # Errors
/// Where the root cannot be made or has no such program.
pub fn program(release: Release, name: &str) -> anyhow::Result<Command> {
    let root = release.root()?;
    let path = root.join("usr/bin").join(name);
    ensure!(path.exists(), "{} has no {name}", root.display());
    let loader = root.join("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    ensure!(loader.exists(), "{} has no loader for this machine", root.display());
    let libraries: Vec<String> =
        LIBRARIES.iter().map(|path| root.join(path).to_string_lossy().into_owned()).collect();
    let mut command = Command::new(loader);
    command
        .arg("--library-path")
        .arg(libraries.join(":"))
        .arg(path)
        .env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"));
    if name.starts_with("qemu-system") {
        for firmware in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(root.join(firmware));
        }
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_hosts_take_turns() {
        let of = |host| Releases::Mixed.of(host).as_str();
        assert_eq!(["h1", "h2", "h3", "h4"].map(of), ["trixie", "bookworm", "trixie", "bookworm"]);
        assert_eq!(Releases::Bookworm.of("h1"), Release::Bookworm);
        assert_eq!(Releases::default().of("h2"), Release::Trixie);
    }

    #[test]
    fn memory_is_odd_only_where_a_host_would_lose_it() {
        for (memory, releases, odd) in [
            (GuestMemory::Sound, Releases::Trixie, false),
            (GuestMemory::Sound, Releases::Bookworm, true),
            (GuestMemory::Sound, Releases::Mixed, true),
            (GuestMemory::Plain, Releases::Mixed, false),
        ] {
            assert_eq!(memory.is_odd(releases), odd, "{memory:?} {releases:?}");
        }
    }

    #[test]
    fn the_script_keeps_roots_where_they_are_looked_for() {
        assert!(MAKE_ROOT.contains(&format!("{ROOTS}/$release")));
    }
}
