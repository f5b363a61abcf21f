//! The lab: what its hosts cannot do, and that it may be brought up twice.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use drover_lab::Lab;
use drover_lab::tools::run;

use super::world::World;

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
        ("see the machine's home", "ls /home"),
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
    let again = Lab::up(world.lab.spec().clone(), &|_| {})?;
    ensure!(again.status()? == before, "up on a running lab changed it");
    Ok(())
}

pub(crate) fn an_up_that_was_killed_is_completed_and_leaves_nothing(
    _world: &World,
) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().to_string_lossy().into_owned();
    let up = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drover-lab"));
        command.args(["--dir", &path, "up", "--bare", "--hosts", "2", "--guests", "0"]);
        command.args(["--name", name]).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    for moment in [300, 1200, 2500] {
        let mut killed = up("lkill").spawn()?;
        std::thread::sleep(Duration::from_millis(moment));
        killed.kill()?;
        killed.wait()?;
    }
    let made = up("lkill").stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "a lab whose making was killed is completed: {said}");
    let lab = Lab::open(dir.path())?;
    ensure!(lab.status()?.iter().all(|host| host.on), "{:?}", lab.status()?);
    ensure!(!up("other").status()?.success(), "its directory has another lab's name");
    ensure!(!up_elsewhere()?.success(), "its name belongs to its directory");
    lab.down()?;
    for (line, what) in [("ip netns list", "lkill-"), ("cat /proc/mounts", path.as_str())] {
        ensure!(!run(line)?.contains(what), "something is left: {line}");
    }
    ensure!(!run("ps -eo args")?.contains(&path), "processes are left");
    Ok(())
}

/// A lab of the same name from another directory.
fn up_elsewhere() -> anyhow::Result<std::process::ExitStatus> {
    let elsewhere = tempfile::tempdir()?;
    Ok(Command::new(env!("CARGO_BIN_EXE_drover-lab"))
        .arg("--dir")
        .arg(elsewhere.path())
        .args(["up", "--bare", "--hosts", "1", "--guests", "0", "--name", "lkill"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?)
}
