//! The lab: what its hosts cannot do, and that it may be brought up twice.

use anyhow::ensure;
use drover_lab::Lab;

use super::world::{World, spec};

pub(crate) fn a_host_cannot_reach_the_machine(world: &World) -> anyhow::Result<()> {
    let refused = [
        ("write to the machine's programs", "touch /usr/bin/x"),
        ("set kernel parameters", "echo 1 > /proc/sys/kernel/panic"),
        ("trigger sysrq", "echo h > /proc/sysrq-trigger"),
        ("mount", "mount -t tmpfs none /tmp"),
        ("remount", "mount -o remount,bind,rw /usr"),
        ("make devices", "mknod /tmp/disk b 254 0"),
        ("set the clock", "date -s 2000-01-01"),
        ("load modules", "insmod /srv/boot/vmlinuz"),
        ("see block devices", "ls /dev/vda /dev/sda /dev/nvme0n1"),
        ("read the machine's files", "cat /etc/shadow"),
        ("see the machine's home", "ls /work /home"),
    ];
    for (what, line) in refused {
        ensure!(world.lab.exec("h1", &["sh", "-c", line]).is_err(), "a host could {what}: {line}");
    }
    let processes = world.lab.exec("h1", &["ps", "-eo", "args"])?;
    ensure!(processes.contains("libvirtd"), "a host sees its own processes");
    ensure!(!processes.contains("droverd"), "a host sees processes of others:\n{processes}");
    let status = world.lab.exec("h1", &["cat", "/proc/1/status"])?;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    let set = u64::from_str_radix(bits.trim(), 16)?;
    for (name, bit) in [("SYS_ADMIN", 21), ("SYS_MODULE", 16), ("SYS_BOOT", 22), ("MKNOD", 27)] {
        ensure!(set & (1 << bit) == 0, "PID 1 of a host may have CAP_{name}");
    }
    Ok(())
}

pub(crate) fn up_again_changes_nothing(world: &World) -> anyhow::Result<()> {
    let before = world.lab.status()?;
    let again = Lab::up(spec(world.lab.spec().dir.clone())?, &|_| {})?;
    ensure!(again.status()? == before, "up on a running lab changed it");
    Ok(())
}
