//! The agent's watts on a machine that has a BMC: QEMU boots Debian's kernel with its IPMI driver,
//! and behind the machine's KCS interface is OpenIPMI's simulator. What measures in the machine is
//! this very program, started by the machine's init.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]
#![allow(clippy::print_stdout, reason = "what is printed in the machine is read outside")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use drover_agent::config::Config;
use drover_agent::observe::power::meter::PowerMeter;
use drover_agent::observe::power::own_bmc::OwnBmcWatts;

/// Set in the machine.
const INSIDE: &str = "DROVER_TEST_IN_MACHINE";
const NAME: &str = "the_own_bmc_of_a_machine_measures_it_and_others_do_when_it_is_gone";
/// The driver, in the order in which it is loaded.
const MODULES: [&str; 3] = ["ipmi_msghandler", "ipmi_devintf", "ipmi_si"];
/// The machine is emulated, and two cores may have other work.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test]
#[ignore = "downloads Debian's kernel and boots it; `make lab` does"]
async fn the_own_bmc_of_a_machine_measures_it_and_others_do_when_it_is_gone() {
    if std::env::var_os(INSIDE).is_some() {
        return inside().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let bmc = Bmc::start(dir.path());
    let machine = Machine::boot(dir.path(), bmc.port);
    machine.says("used Ipmi, 137 W of [Ipmi, Model]");
    bmc.measures(250);
    machine.says("used Ipmi, 250 W of [Ipmi, Model]");
    drop(bmc);
    machine.says("used Model, 58.4 W of [Model]");
}

/// As in `run.rs`, and what comes of it is printed.
async fn inside() {
    let own_bmc = Arc::new(OwnBmcWatts::new(drover_agent::wiring::own_bmc()));
    let asked = Arc::clone(&own_bmc);
    own_bmc.ask().await;
    tokio::spawn(async move { asked.run().await });
    let meter = PowerMeter::new(Config::parse("").unwrap().power).with_own_bmc(own_bmc);
    let meter = Arc::new(meter);
    let began = Instant::now();
    loop {
        let reader = Arc::clone(&meter);
        let read = move || {
            let sources = reader.look();
            (sources, reader.read(|| began.elapsed()))
        };
        let (sources, read) = tokio::task::spawn_blocking(read).await.unwrap();
        let watts = drover_agent::observe::power::fold::watts(&read, &read, Some(0.0));
        let used = read.used.map(|(source, _)| source);
        println!("used {:?}, {} W of {sources:?}", used.unwrap(), watts.unwrap());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A BMC with DCMI whose watts are a file.
struct Bmc {
    child: Child,
    port: u16,
    watts: PathBuf,
}

impl Bmc {
    fn start(dir: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let watts = dir.join("watts");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/bmc/dcmi.c");
        run(Command::new("gcc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(dir.join("dcmi.so"))
            .arg(source));
        let conf = format!(
            "name \"bmc\"\nloadlib \"{}\" \"{}\"\nset_working_mc 0x20\n\
             serial 15 localhost {port} codec VM\n",
            dir.join("dcmi.so").display(),
            watts.display()
        );
        std::fs::write(dir.join("lan.conf"), conf).unwrap();
        let emulated = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\n\
                        mc_enable 0x20\n";
        std::fs::write(dir.join("emu"), emulated).unwrap();
        std::fs::create_dir(dir.join("state")).unwrap();
        let child = Command::new("ipmi_sim")
            .args(["-n", "-c", "lan.conf", "-f", "emu", "-s", "state"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ipmi_sim is not installed; scripts/setup.sh installs it");
        let bmc = Self { child, port, watts };
        bmc.measures(137);
        bmc
    }

    fn measures(&self, watts: u32) {
        std::fs::write(&self.watts, format!("{watts}\n")).unwrap();
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Machine {
    child: Child,
    console: Receiver<String>,
}

impl Machine {
    fn boot(dir: &Path, bmc: u16) -> Self {
        let kernel = kernel();
        let initramfs = initramfs(dir, &kernel);
        let mut child = drover_lab::program(drover_lab::Release::Trixie, "qemu-system-x86_64")
            .expect("the lab's QEMU")
            .args(["-accel", "tcg", "-m", "768", "-nographic", "-no-reboot", "-nodefaults"])
            .args(["-serial", "stdio", "-append", "console=ttyS0 panic=-1 loglevel=4"])
            .arg("-kernel")
            .arg(kernel.join("vmlinuz"))
            .arg("-initrd")
            .arg(initramfs)
            .arg("-chardev")
            .arg(format!("socket,id=bmc,host=127.0.0.1,port={bmc},reconnect=1"))
            .args(["-device", "ipmi-bmc-extern,id=bmc0,chardev=bmc"])
            .args(["-device", "isa-ipmi-kcs,bmc=bmc0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
        let (sender, console) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                println!("| {line}");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, console }
    }

    /// Waits until this is a line of its console.
    fn says(&self, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.console.recv_timeout(left);
            if line.unwrap_or_else(|_| panic!("the machine does not say `{wanted}`")) == wanted {
                return;
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's kernel and its IPMI driver, kept for the next run. The lab's own kernel has none.
fn kernel() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel-with-ipmi");
    if kept.exists() {
        return kept;
    }
    let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let depends = run(Command::new("apt-cache").args(["depends", "linux-image-amd64"]));
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.expect("apt knows no kernel: run apt-get update");
    run(Command::new("apt-get").args(["download", package]).current_dir(work.path()));
    run(Command::new("sh").args(["-c", "dpkg-deb -x *.deb kernel"]).current_dir(work.path()));
    let found = run(Command::new("find").arg(work.path().join("kernel")).args(["-type", "f"]));
    let ready = work.path().join("ready");
    std::fs::create_dir(&ready).unwrap();
    let wanted = MODULES.map(|module| format!("{module}.ko"));
    for path in found.lines().map(Path::new) {
        let name = path.file_name().unwrap().to_string_lossy();
        let kept_as = if name.starts_with("vmlinuz-") { "vmlinuz" } else { &*name };
        if kept_as == "vmlinuz" || wanted.iter().any(|module| *module == name) {
            std::fs::copy(path, ready.join(kept_as)).unwrap();
        }
    }
    std::fs::rename(&ready, &kept).unwrap();
    kept
}

/// This program, `ipmitool`, what they are linked to, and an init that runs them.
fn initramfs(dir: &Path, kernel: &Path) -> PathBuf {
    let root = dir.join("root");
    let put = |from: &Path, to: &str| {
        let to = root.join(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    let this = std::env::current_exe().unwrap();
    put(Path::new("/bin/busybox"), "bin/busybox");
    put(Path::new("/usr/bin/ipmitool"), "usr/bin/ipmitool");
    put(&this, "own_bmc");
    for module in MODULES {
        let file = format!("{module}.ko");
        put(&kernel.join(&file), &format!("mod/{file}"));
    }
    for library in libraries(&[&this, Path::new("/usr/bin/ipmitool")]) {
        put(Path::new(&library), &library);
    }
    let load = MODULES.map(|module| format!("insmod /mod/{module}.ko\n")).concat();
    let init = format!(
        "#!/bin/busybox sh\n/bin/busybox mkdir -p /proc /sys /dev /tmp\n\
         /bin/busybox --install -s /bin\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\n\
         mount -t devtmpfs dev /dev\n{load}ls -l /dev/ipmi0\nexport PATH=/bin:/usr/bin {INSIDE}=1\n\
         /own_bmc --ignored --nocapture --exact {NAME}\npoweroff -f\n"
    );
    std::fs::write(root.join("init"), init).unwrap();
    std::fs::set_permissions(root.join("init"), PermissionsExt::from_mode(0o755)).unwrap();
    let packed = dir.join("initramfs");
    let line = format!("find . | cpio -o -H newc --quiet > {}", packed.display());
    run(Command::new("sh").args(["-c", &line]).current_dir(&root));
    packed
}

/// Paths of the libraries that these programs are linked to.
fn libraries(programs: &[&Path]) -> BTreeSet<String> {
    let listed = run(Command::new("ldd").args(programs));
    let path = |line: &str| {
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = path.trim().split(' ').next()?;
        (path.starts_with('/') && !path.ends_with(':')).then(|| path.to_owned())
    };
    listed.lines().filter_map(path).collect()
}

/// What a command that works prints.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {} {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
