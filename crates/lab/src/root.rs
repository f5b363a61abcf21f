//! The root file system of a lab host: nothing of the machine can be written or seen.
//!
//! A tmpfs with a read-only bind of the release's /usr, or of the machine's own where a member
//! is no host, and a copy of the few files of /etc that programs need; its own /var, /run, /tmp, a fresh /proc with /proc/sys read-only, a read-only
//! /sys, and a /dev without disks. The old root is detached after pivot_root, then the
//! capabilities that could reach beyond the namespaces are dropped for good.

use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::domain_xml::{BOOT, SHARED};
use crate::lab::CTL;
use crate::powercap::INSIDE;
use crate::spec::LabSpec;
use crate::storage::{LUNS, STORAGE};
use crate::tools::write;

/// Files of /etc that libvirt, QEMU and the dynamic linker read.
const ETC: [&str; 10] = [
    "passwd",
    "group",
    "nsswitch.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "protocols",
    "services",
    "alternatives",
    "qemu",
];
/// Devices that exist on a lab host.
const DEVICES: [&str; 8] =
    ["null", "zero", "full", "random", "urandom", "tty", "net/tun", "ptmx.machine"];
/// Parts of /proc that could be written to the machine's harm.
const PROC_READ_ONLY: [&str; 4] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"];

/// Capabilities that a lab host never has. SYS_ADMIN would allow mounting and remounting,
/// DAC_READ_SEARCH opening the machine's files by handle. SYS_PTRACE it has: QEMU's post-copy
/// takes page faults by userfaultfd, and a host sees no processes but its own.
const DROPPED: [CapabilitySet; 18] = [
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::DAC_READ_SEARCH,
    CapabilitySet::PERFMON,
    CapabilitySet::CHECKPOINT_RESTORE,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::SYS_TIME,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_PACCT,
    CapabilitySet::SYS_TTY_CONFIG,
    CapabilitySet::SYSLOG,
    CapabilitySet::MKNOD,
    CapabilitySet::MAC_ADMIN,
    CapabilitySet::MAC_OVERRIDE,
    CapabilitySet::AUDIT_CONTROL,
    CapabilitySet::AUDIT_READ,
    CapabilitySet::WAKE_ALARM,
    CapabilitySet::BPF,
];

/// Names of the dropped capabilities as setpriv(1) takes them.
pub(crate) const DROPPED_NAMES: &str = "-sys_admin,-dac_read_search,-perfmon,-checkpoint_restore,-sys_module,-sys_boot,-sys_time,-sys_rawio,\
-sys_pacct,-sys_tty_config,-syslog,-mknod,-mac_admin,-mac_override,-audit_control,\
-audit_read,-wake_alarm,-bpf";

/// Builds the root for `member` and moves into it. For PID 1 of new namespaces only.
pub(crate) fn enter(spec: &LabSpec, member: &str) -> anyhow::Result<()> {
    let own = spec.dir.join("hosts").join(member);
    let root = own.join("root");
    std::fs::create_dir_all(&root)?;
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .context("make mounts private")?;
    // Made by `up`: a host only starts from it.
    let system_root = if is_host(member) {
        spec.releases.of(member).kept_root()
    } else {
        Path::new("/").to_owned()
    };
    tmpfs(&root, "mode=755")?;
    system(&root, &system_root)?;
    etc(&root, &system_root, &own, spec, member)?;
    devices(&root)?;
    variable(&root, &own)?;
    if member == STORAGE {
        bind(&spec.dir.join("luns"), &inside(&root, LUNS), false)?;
    } else if is_host(member) {
        bind(&spec.dir.join("shared"), &inside(&root, SHARED), false)?;
        bind(&spec.dir.join("image"), &inside(&root, BOOT), true)?;
    }
    programs(&root, spec)?;
    kernel_views(&root)?;
    if is_host(member) {
        energy_counters(&root, &own)?;
    }
    pivot(&root)?;
    drop_capabilities()
}

/// The controller and the storage server run the machine's own programs.
fn is_host(member: &str) -> bool {
    member != CTL && member != STORAGE
}

fn inside(root: &Path, path: &str) -> std::path::PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn system(root: &Path, from: &Path) -> anyhow::Result<()> {
    bind(&from.join("usr"), &root.join("usr"), true)?;
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let here = from.join(name);
        match std::fs::read_link(&here) {
            Ok(target) => std::os::unix::fs::symlink(target, root.join(name))?,
            Err(_) if here.is_dir() => bind(&here, &root.join(name), true)?,
            Err(_) => {}
        }
    }
    Ok(())
}

fn etc(root: &Path, system: &Path, own: &Path, spec: &LabSpec, member: &str) -> anyhow::Result<()> {
    let etc = root.join("etc");
    std::fs::create_dir_all(&etc)?;
    for name in ETC {
        let from = system.join("etc").join(name);
        if from.exists() {
            // Links inside stay links: what they name is found below the new root.
            crate::tools::run(&format!("cp -aH {} {}/", from.display(), etc.display()))?;
        }
    }
    let clock = Path::new("/etc/localtime");
    if clock.exists() {
        crate::tools::run(&format!("cp -aL {} {}/", clock.display(), etc.display()))?;
    }
    let mut hosts = String::from("127.0.0.1 localhost\n");
    for host in spec.host_names() {
        let address = crate::addresses::host_address(&host).unwrap_or_default();
        hosts.push_str(&format!("{address} {host}\n"));
    }
    write(&etc.join("hosts"), &hosts)?;
    write(&etc.join("hostname"), &format!("{member}\n"))?;
    if is_host(member) {
        bind(&own.join("etc-libvirt"), &etc.join("libvirt"), false)?;
        bind(&own.join("pki"), &etc.join("pki"), true)?;
        bind(&own.join("etc-drover"), &etc.join("drover"), true)?;
    }
    Ok(())
}

fn devices(root: &Path) -> anyhow::Result<()> {
    let dev = root.join("dev");
    tmpfs(&dev, "mode=755")?;
    for name in DEVICES {
        let from = Path::new("/dev").join(name);
        if from.exists() {
            let to = dev.join(name);
            write(&to, "")?;
            bind(&from, &to, false)?;
        }
    }
    std::fs::create_dir_all(dev.join("pts"))?;
    std::fs::create_dir_all(dev.join("shm"))?;
    let none = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_fs("devpts", &dev.join("pts"), none, "newinstance,ptmxmode=0666,mode=620,gid=5")?;
    tmpfs(&dev.join("shm"), "mode=1777")?;
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(target, dev.join(link))?;
    }
    Ok(())
}

fn variable(root: &Path, own: &Path) -> anyhow::Result<()> {
    for name in ["run", "tmp", "root", "var/tmp", "var/lib", "var/log", "var/cache", "srv"] {
        std::fs::create_dir_all(root.join(name))?;
    }
    std::os::unix::fs::symlink("/run", root.join("var/run"))?;
    std::fs::create_dir_all(root.join("run/lock"))?;
    std::fs::create_dir_all(root.join("run/sanlock"))?;
    for (kept, at) in [
        ("run-libvirt", "run/libvirt"),
        ("run-lab", "run/lab"),
        ("lib", "var/lib/libvirt"),
        ("log", "var/log/libvirt"),
        ("cache", "var/cache/libvirt"),
        ("agent", "var/lib/drover-agent"),
        ("drover", "var/lib/drover"),
    ] {
        std::fs::create_dir_all(own.join(kept))?;
        bind(&own.join(kept), &root.join(at), false)?;
    }
    Ok(())
}

fn programs(root: &Path, spec: &LabSpec) -> anyhow::Result<()> {
    for name in ["droverd", "drover-agent", "drover", "drover-lab"] {
        let from = spec.bin_dir.join(name);
        if from.exists() {
            let to = inside(root, &format!("/opt/drover/{name}"));
            write(&to, "")?;
            bind(&from, &to, true)?;
        }
    }
    Ok(())
}

fn kernel_views(root: &Path) -> anyhow::Result<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    std::fs::create_dir_all(root.join("proc"))?;
    std::fs::create_dir_all(root.join("sys"))?;
    mount_fs("proc", &root.join("proc"), quiet, "")?;
    mount_fs("sysfs", &root.join("sys"), quiet | MountFlags::RDONLY, "")?;
    for path in PROC_READ_ONLY {
        let path = inside(root, path);
        if path.exists() {
            bind(&path, &path, true)?;
        }
    }
    // A host's own network settings are its own.
    let net = inside(root, "/proc/sys/net");
    bind(&net, &net, false)?;
    rustix::mount::mount_remount(&net, MountFlags::BIND, "").context("make /proc/sys/net writable")
}

/// The host's own energy counters in place of the machine's, if it has any.
fn energy_counters(root: &Path, own: &Path) -> anyhow::Result<()> {
    let class = root.join("sys/class");
    let shown = class.join("powercap");
    if !shown.exists() {
        add_class(root, &class, &shown)?;
    }
    let kept = own.join("powercap");
    // Counters begin anew with the power.
    let _ = std::fs::remove_dir_all(&kept);
    std::fs::create_dir_all(&kept)?;
    bind(&kept, &shown, true)?;
    bind(&kept, &inside(root, INSIDE), false)
}

/// The kernel lets nobody make a directory in /sys/class, so a copy of it is put in its place:
/// every directory but one is the kernel's own. An overlay would not do: it remembers that an
/// interface is not there, and guests' taps come and go.
fn add_class(root: &Path, class: &Path, added: &Path) -> anyhow::Result<()> {
    let aside = root.join("run/sys-class");
    bind(class, &aside, false)?;
    tmpfs(class, "mode=755")?;
    for entry in std::fs::read_dir(&aside)? {
        let name = entry?.file_name();
        bind(&aside.join(&name), &class.join(&name), false)?;
    }
    std::fs::create_dir(added)?;
    rustix::mount::mount_remount(class, MountFlags::NOSUID | MountFlags::RDONLY, "")
        .context("make /sys/class read-only")?;
    rustix::mount::unmount(&aside, UnmountFlags::DETACH)
        .context("unmount the copied /sys/class")?;
    std::fs::remove_dir(&aside).context("remove the copied /sys/class")
}

fn pivot(root: &Path) -> anyhow::Result<()> {
    let old = root.join("old");
    std::fs::create_dir_all(&old)?;
    rustix::process::pivot_root(root, &old).context("pivot_root")?;
    std::env::set_current_dir("/")?;
    rustix::mount::unmount("/old", UnmountFlags::DETACH).context("detach the machine's root")?;
    std::fs::remove_dir("/old").context("remove the machine's mount point")
}

fn drop_capabilities() -> anyhow::Result<()> {
    let mut sets = capabilities(None).context("read capabilities")?;
    for dropped in DROPPED {
        rustix::thread::remove_capability_from_bounding_set(dropped)
            .with_context(|| format!("drop {dropped:?}"))?;
        sets.effective.remove(dropped);
        sets.permitted.remove(dropped);
        sets.inheritable.remove(dropped);
    }
    set_capabilities(None, sets).context("drop capabilities")?;
    rustix::thread::set_no_new_privs(true).context("forbid new privileges")?;
    let left = capabilities(None)?;
    ensure!(!left.permitted.contains(CapabilitySet::SYS_ADMIN), "capabilities are not dropped");
    Ok(())
}

fn tmpfs(at: &Path, options: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(at)?;
    mount_fs("tmpfs", at, MountFlags::NOSUID, options)
}

fn mount_fs(kind: &str, at: &Path, flags: MountFlags, options: &str) -> anyhow::Result<()> {
    let options = std::ffi::CString::new(options)?;
    rustix::mount::mount(kind, at, kind, flags, options.as_c_str())
        .with_context(|| format!("mount {kind} on {}", at.display()))
}

fn bind(from: &Path, to: &Path, read_only: bool) -> anyhow::Result<()> {
    if from.is_dir() {
        std::fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    }
    let shown = || format!("bind {} to {}", from.display(), to.display());
    // Not recursive: what is mounted below on the machine is not the host's.
    rustix::mount::mount_bind(from, to).with_context(shown)?;
    if read_only {
        rustix::mount::mount_remount(to, MountFlags::BIND | MountFlags::RDONLY, "")
            .with_context(shown)?;
    }
    Ok(())
}
