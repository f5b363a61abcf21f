//! The guests' kernel and initramfs: built once from Debian's packages.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::tools::{output, run, write};

/// What guestd is compiled from.
const GUESTD: [(&str, &str); 5] = [
    ("guestd.h", include_str!("../guest/guestd.h")),
    ("guestd.c", include_str!("../guest/guestd.c")),
    ("memory.c", include_str!("../guest/memory.c")),
    ("ring.c", include_str!("../guest/ring.c")),
    ("kernel_log.c", include_str!("../guest/kernel_log.c")),
];
const INIT: &str = include_str!("../guest/init.sh");
const CGI: &str = include_str!("../guest/cgi.sh");

/// Drivers that the guest needs; their dependencies come with them.
const MODULES: [&str; 6] =
    ["virtio_pci", "virtio_net", "virtio_blk", "virtio_balloon", "virtio_rng", "button"];

/// Where an image is made, within its directory: begins so.
const WORK: &str = "work";

/// Makes the guests' kernel and initramfs, `dir/vmlinuz` and `dir/initramfs.gz`, unless they are
/// there and current. Not to be called by two at once.
///
/// # Errors
/// Where a package cannot be had, or a tool fails.
pub fn make_image(dir: &Path) -> anyhow::Result<()> {
    let key = key();
    let done = dir.join("key");
    let ready = dir.join("vmlinuz").exists() && dir.join("initramfs.gz").exists();
    if ready && std::fs::read_to_string(&done).is_ok_and(|kept| kept == key) {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    sweep(dir);
    // A directory of its own: a tool that a killed run started may still write to the last.
    let held = tempfile::Builder::new().prefix(WORK).tempdir_in(dir)?;
    let work = held.path();
    // apt downloads as the user _apt, who must be able to write here.
    run(&format!("chmod 777 {}", work.display()))?;
    let (kernel, version) = unpack_kernel(work)?;
    let root = fill_root(work, &kernel, &version)?;
    pack(&root, &work.join("initramfs.gz"))?;
    std::fs::rename(kernel.join("boot").join(format!("vmlinuz-{version}")), dir.join("vmlinuz"))
        .context("the kernel package has no vmlinuz")?;
    std::fs::rename(work.join("initramfs.gz"), dir.join("initramfs.gz"))?;
    sweep(dir);
    write(&done, &key)
}

/// Removes what killed runs left. What cannot be removed yet, the next run removes.
fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(WORK) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn key() -> String {
    let mut hasher = DefaultHasher::new();
    (GUESTD, INIT, CGI, MODULES).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Downloads and unpacks Debian's cloud kernel; nothing is installed.
fn unpack_kernel(work: &Path) -> anyhow::Result<(PathBuf, String)> {
    let depends = run("apt-cache depends linux-image-cloud-amd64")
        .context("apt knows no cloud kernel; run apt-get update")?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .context("linux-image-cloud-amd64 names no kernel; run apt-get update")?
        .to_owned();
    output(
        Command::new("apt-get")
            .args(["download", &format!("linux-image-{package}")])
            .current_dir(work),
    )
    .context("download the guests' kernel")?;
    let archive = std::fs::read_dir(work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded no package")?;
    let kernel = work.join("kernel");
    output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&kernel))?;
    output(Command::new("depmod").arg("-b").arg(&kernel).arg(&package))?;
    Ok((kernel, package))
}

fn fill_root(work: &Path, kernel: &Path, version: &str) -> anyhow::Result<PathBuf> {
    let root = work.join("root");
    std::fs::create_dir_all(root.join("bin"))?;
    std::fs::create_dir_all(root.join("mod"))?;
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))
        .context("busybox-static is not installed")?;
    write(&root.join("init"), INIT)?;
    write(&root.join("www/cgi-bin/sh"), CGI)?;
    compile_guestd(work, &root.join("bin/guestd"))?;
    run(&format!("chmod -R 755 {}", root.display()))?;
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for module in MODULES {
        let listed = output(Command::new("modprobe").arg("-d").arg(kernel).args([
            "-S",
            version,
            "--show-depends",
            module,
        ]))?;
        for path in listed.lines().filter_map(|line| line.trim().strip_prefix("insmod ")) {
            let path = Path::new(path.trim());
            let name = path.file_name().context("a module without a name")?;
            if seen.insert(name.to_owned()) {
                std::fs::copy(path, root.join("mod").join(name))?;
                order.push(name.to_string_lossy().into_owned());
            }
        }
    }
    ensure!(!order.is_empty(), "the kernel package has no virtio modules");
    write(&root.join("mod/order"), &format!("{}\n", order.join("\n")))?;
    Ok(root)
}

fn compile_guestd(work: &Path, to: &Path) -> anyhow::Result<()> {
    let sources = work.join("guestd");
    for (name, text) in GUESTD {
        write(&sources.join(name), text)?;
    }
    let compiled = GUESTD.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".c"));
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-Wall", "-Wextra", "-static", "-s", "-o"]).arg(to).args(compiled);
    output(gcc.current_dir(sources)).map(drop)
}

fn pack(root: &Path, to: &Path) -> anyhow::Result<()> {
    let line = format!("find . | cpio -o -H newc --quiet | gzip -6 > {}", to.display());
    output(Command::new("sh").args(["-c", &line]).current_dir(root)).map(drop)
}
