//! sanlock on the lab's hosts: without a watchdog, since a lab host has none and must not
//! reach the machine's.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::Lab;
use crate::domain_xml::{BOOT, SANLOCK_LOCKSPACE, SHARED};
use crate::storage::LOCKSPACE;
use crate::tools::{output, write};

/// sanlock gives up an I/O after so many seconds; all its other times are multiples. Its
/// own default is 10: a lab should not wait as long.
const IO_TIMEOUT_S: u32 = 2;
/// A lease's blocks with sectors of 512 bytes: one for each of 2,000 hosts, and two more.
const LEASE_BYTES: u64 = 1 << 20;
/// The library that keeps sanlock alive where its limits cannot be raised.
const LIMITS: &str = "limits.so";
/// sanlock ends when it may not lock memory or run in real time, which root may not do
/// everywhere. It is asked for neither here (`-l 0 -h 0`), yet it tries.
const LIMITS_SOURCE: &str = "#include <sys/resource.h>\n\
    int setrlimit(__rlimit_resource_t what, const struct rlimit *to)\n\
    { prlimit(0, what, to, 0); return 0; }\n";

/// How the daemon is started.
pub(crate) fn sanlock() -> String {
    format!(
        "/usr/bin/env LD_PRELOAD={BOOT}/{LIMITS} /usr/sbin/sanlock daemon -D -w 0 -h 0 -l 0 \
         -U root -G root"
    )
}

/// Builds what the daemon needs, where hosts see it.
pub(crate) fn prepare(boot: &Path) -> anyhow::Result<()> {
    let source = boot.join("limits.c");
    write(&source, LIMITS_SOURCE)?;
    output(
        Command::new("gcc")
            .args(["-shared", "-fPIC", "-D_GNU_SOURCE", "-o"])
            .arg(boot.join(LIMITS))
            .arg(&source),
    )
    .map(drop)
}

/// Lays out the blocks of a guest's lease, by a host's own sanlock.
pub(crate) fn make_lease(lab: &Lab, host: &str, guest: &str) -> anyhow::Result<()> {
    let name = format!("{LOCKSPACE}/{guest}.lease");
    let path = lab.shared().join(&name);
    if path.exists() {
        return Ok(());
    }
    File::create(&path)?.set_len(LEASE_BYTES)?;
    let resource = format!("{SANLOCK_LOCKSPACE}:{guest}:{SHARED}/{name}:0");
    lab.exec(host, &["sanlock", "direct", "init", "-r", &resource]).map(drop)
}

/// Only with leases for disks does libvirt join a lockspace by itself.
pub(crate) fn sanlock_conf(number: u8) -> String {
    format!(
        "auto_disk_leases = 1\nrequire_lease_for_disks = 0\nhost_id = {number}\n\
         disk_lease_dir = \"{SHARED}/{LOCKSPACE}\"\nio_timeout = {IO_TIMEOUT_S}\n\
         user = \"root\"\ngroup = \"root\"\n"
    )
}
