//! The command line of drover-lab.

mod bmc;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use drover_lab::fault::{MoveBy, lose_reply, proxy};
use drover_lab::{
    Drover, GuestDisk, GuestLease, GuestMemory, GuestStorage, Lab, LabSpec, LinkState, Locks,
    MachineCheck, Network, ProbeReport, Release, Releases, hear, host_init, probe,
};

/// Where a lab is unless said otherwise, and how it is called.
const DEFAULT_DIR: &str = "/var/lib/drover-lab";
const DEFAULT_NAME: &str = "lab";

/// A cluster of real hypervisors on one machine: for evaluation, drills and tests.
#[derive(Debug, Parser)]
#[command(name = "drover-lab", version, max_term_width = 100)]
struct Arguments {
    /// Directory of the lab.
    #[arg(long, global = true, default_value = DEFAULT_DIR, env = "DROVER_LAB_DIR")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up a lab, or complete one.
    Up(Up),
    /// Take the lab down; nothing is left but the cached guest image.
    Down {
        /// Also remove the guest image.
        #[arg(long)]
        purge: bool,
    },
    /// Show hosts and guests.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a command inside a host or the controller.
    Exec {
        /// `h1`, `h2`, … or `controller`.
        host: String,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run `drover` with the administrator's configuration.
    Drover {
        /// Arguments of `drover`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Give the lab guests of another kind.
    Guest {
        #[command(subcommand)]
        command: GuestCommand,
    },
    /// Cut a host's power: everything in it dies at once.
    PowerOff {
        /// The host, or `st`, the storage server.
        host: String,
    },
    /// Switch a host on.
    PowerOn {
        /// The host, or `st`, the storage server.
        host: String,
    },
    /// The hosts' BMCs, and what wakes them.
    Bmc {
        #[command(subcommand)]
        command: bmc::BmcCommand,
    },
    /// Pull or plug in a host's cable.
    Link {
        /// The host, or `st`, the storage server.
        host: String,
        /// `up` or `down`.
        state: UpDown,
        /// Which cable.
        #[arg(long, default_value = "management")]
        network: Network,
    },
    /// Keep a guest's vCPU busy.
    Load {
        /// The guest.
        guest: String,
        /// 0 to 100.
        percent: u8,
    },
    /// Let a guest dirty memory.
    Dirty {
        /// The guest.
        guest: String,
        /// MiB each second; 0 stops it.
        mib_per_s: u32,
        /// Size of the memory that is written over and over, MiB.
        #[arg(long, default_value_t = 16)]
        working_set: u32,
    },
    /// Let a guest write memory as a kernel does, so that a move which loses writes loses some
    /// of these.
    Watch {
        /// The guest.
        guest: String,
        /// 0 to 100 percent of its vCPU; 0 stops it.
        percent: u8,
    },
    /// Let a guest check its memory and its kernel's log; ends with 1 when something is wrong.
    Check {
        /// The guest.
        guest: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check that live moves by a release's QEMU lose no memory on this machine: two bare QEMUs,
    /// no lab. Ends with 1 when they do.
    CheckMachine {
        /// Whose QEMU.
        #[arg(long, value_enum, default_value = "trixie")]
        release: Release,
        /// How many moves; each takes some seconds.
        #[arg(long, default_value_t = 20)]
        moves: u64,
        /// For so many percent of its vCPU the guest writes memory as a kernel does.
        #[arg(long, default_value_t = 80)]
        watch: u8,
    },
    /// Look at a guest as a client does: ping and an ordered TCP echo.
    Probe {
        /// The guest.
        guest: String,
        /// For how long.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a shell command in a guest.
    GuestExec {
        /// The guest.
        guest: String,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Kill a daemon with SIGKILL; it starts again by itself.
    Restart {
        /// `controller`, `agent` or `libvirtd`.
        what: Restarted,
        /// The host, for `agent` and `libvirtd`.
        host: Option<String>,
    },
    /// Show the main job: three hosts, a rule, a load, a live migration, a client that
    /// notices nothing. Takes everything down afterwards.
    Demo {
        /// Leave the cluster running.
        #[arg(long)]
        keep: bool,
        /// Show power instead: a host that sleeps is woken by a magic packet when another draws
        /// too much, takes a guest, and sleeps again.
        #[arg(long)]
        power: bool,
    },
    /// Move a guest and lose the reply that says that it has arrived: does it run twice?
    /// Takes up to two minutes; ends with 1 when it does.
    LoseReply {
        /// The guest.
        guest: String,
        /// The target.
        #[arg(long)]
        to: String,
        /// Who moves it.
        #[arg(long, value_enum, default_value = "virsh")]
        by: MoveBy,
    },
    #[command(hide = true)]
    HostInit {
        #[arg(long)]
        member: String,
    },
    #[command(hide = true)]
    CheckMachineWorker { check: String },
    #[command(hide = true)]
    HearWorker,
    #[command(hide = true)]
    ProbeWorker {
        #[arg(long)]
        address: String,
        #[arg(long)]
        seconds: Option<u64>,
        #[arg(long, default_value_t = 50)]
        interval_ms: u64,
    },
    #[command(hide = true)]
    ProxyWorker {
        #[arg(long)]
        listen: String,
        #[arg(long)]
        server: String,
    },
}

#[derive(Debug, Subcommand)]
enum GuestCommand {
    /// Define one more guest and start it.
    Add {
        /// `vm` and a number, e.g. `vm20`.
        guest: String,
        /// The host that it starts on.
        #[arg(long, default_value = "h1")]
        host: String,
        /// Where its disk is.
        #[arg(long, value_enum, default_value_t)]
        disk: GuestDisk,
        /// Its definition names a lease.
        #[arg(long)]
        lease: bool,
        /// Define it and leave it off.
        #[arg(long)]
        off: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UpDown {
    Up,
    Down,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Restarted {
    Controller,
    Agent,
    Libvirtd,
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Number of hosts.
    #[arg(long, default_value_t = 3)]
    hosts: u8,
    /// Number of guests.
    #[arg(long, default_value_t = 6)]
    guests: u8,
    /// First part of the namespaces' names.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
    /// Cores that count as 100 % of a host.
    #[arg(long, default_value_t = 1.0)]
    host_cores: f64,
    /// Memory budget of a host, MiB.
    #[arg(long, default_value_t = 2048)]
    host_memory: u64,
    /// Memory of a guest, MiB.
    #[arg(long, default_value_t = 128)]
    guest_memory: u64,
    /// Agents sample so often.
    #[arg(long, default_value = "2s")]
    sample_interval: String,
    /// Where the disks of the lab's own guests are.
    #[arg(long, value_enum, default_value_t)]
    storage: GuestDisk,
    /// The definitions of the lab's own guests name leases.
    #[arg(long)]
    lease: bool,
    /// The lock daemon of every host.
    #[arg(long, value_enum, default_value_t)]
    locks: Locks,
    /// Give every host a BMC (IPMI and Redfish) and a network card that wakes it.
    #[arg(long)]
    bmc: bool,
    /// Debian releases that the hosts run.
    #[arg(long, value_enum, default_value_t)]
    release: Releases,
    /// Give guests plain memory also where a host's QEMU loses pages of it in live moves, as
    /// that of bookworm does. By default such guests get 8 KiB more, which avoids it.
    #[arg(long)]
    plain_memory: bool,
    /// Hypervisors and guests only: no droverd, no agents.
    #[arg(long)]
    bare: bool,
    /// Directory of Drover's programs; default: where drover-lab is.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let Arguments { dir, command } = Arguments::parse();
    let open = || Lab::open(&dir);
    match command {
        Command::Up(arguments) => up(dir, arguments)?,
        Command::Down { purge } => down(&dir, purge)?,
        Command::Status { json } => status(&open()?, json)?,
        Command::Exec { host, command } => return exec(&open()?, &host, &command),
        Command::Drover { arguments } => {
            let mut command = vec!["drover".to_owned()];
            command.extend(arguments);
            return exec(&open()?, "controller", &command);
        }
        Command::Guest { command: GuestCommand::Add { guest, host, disk, lease, off } } => {
            let lab = open()?;
            lab.define_guest_with(&guest, &host, disk, lease_of(lease))?;
            if !off {
                lab.virsh(&host, &["start", &guest])?;
                lab.wait_for_guest(&guest)?;
            }
        }
        Command::PowerOff { host } => open()?.power_off(&host)?,
        Command::PowerOn { host } => power_on(&open()?, &host)?,
        Command::Bmc { command } => return bmc::run(&open()?, command),
        Command::Link { host, state, network } => {
            let state = if matches!(state, UpDown::Up) { LinkState::Up } else { LinkState::Down };
            open()?.link(&host, network, state)?;
        }
        Command::Load { guest, percent } => with_guest(&dir, &guest)?.load(&guest, percent)?,
        Command::Dirty { guest, mib_per_s, working_set } => {
            with_guest(&dir, &guest)?.dirty(&guest, mib_per_s, working_set)?;
        }
        Command::Watch { guest, percent } => with_guest(&dir, &guest)?.watch(&guest, percent)?,
        Command::Check { guest, json } => {
            let found = with_guest(&dir, &guest)?.check(&guest)?;
            let shown =
                if json { serde_json::to_string_pretty(&found)? } else { found.to_string() };
            println!("{shown}");
            return Ok(if found.faults() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        Command::CheckMachine { release, moves, watch } => {
            MachineCheck { release, moves, watch, image: dir.join("image") }.run()?;
        }
        Command::CheckMachineWorker { check } => {
            serde_json::from_str::<MachineCheck>(&check)?.work()?;
        }
        Command::Probe { guest, seconds, json } => {
            let lab = with_guest(&dir, &guest)?;
            let handle = lab.probe(&guest, Some(Duration::from_secs(seconds)))?;
            std::thread::sleep(Duration::from_secs(seconds));
            let report = handle.finish()?;
            show_probe(&report, json)?;
            if !report.is_unbroken() || report.ping_lost == report.ping_sent {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::GuestExec { guest, command } => {
            let (printed, status) =
                with_guest(&dir, &guest)?.guest_run(&guest, &command.join(" "))?;
            println!("{printed}");
            return Ok(ExitCode::from(status));
        }
        Command::Demo { keep, power } => demo(dir, keep, power)?,
        Command::Restart { what, host } => restart(&open()?, what, host)?,
        Command::HostInit { member } => host_init(Lab::open(&dir)?.spec(), &member)?,
        Command::HearWorker => hear::work()?,
        Command::LoseReply { guest, to, by } => {
            let lost = lose_reply(&with_guest(&dir, &guest)?, &guest, &to, by)?;
            println!("{}", serde_json::to_string_pretty(&lost)?);
            return Ok(if lost.doubled() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        Command::ProxyWorker { listen, server } => proxy::work(&listen, &server)?,
        Command::ProbeWorker { address, seconds, interval_ms } => {
            let interval = Duration::from_millis(interval_ms.max(1));
            let report = probe::work(&address, seconds.map(Duration::from_secs), interval)?;
            // Whoever started the worker may have gone: then nobody reads.
            let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn with_guest(dir: &Path, guest: &str) -> anyhow::Result<Lab> {
    let lab = Lab::open(dir)?;
    lab.known_guest(guest)?;
    Ok(lab)
}

/// In the lab's directory while a demonstration runs: what it finds there it may remove.
const DEMO_RUNS: &str = "demo-runs";

fn demo(dir: PathBuf, keep: bool, power: bool) -> anyhow::Result<()> {
    let mark = dir.join(DEMO_RUNS);
    ensure!(
        mark.exists() || !dir.join("lab.json").exists(),
        "a lab is in use in {}: take it down first (drover-lab --dir {} down)",
        dir.display(),
        dir.display()
    );
    // A demonstration that was killed may have left something.
    down(&dir, false)?;
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    std::fs::write(&mark, "").with_context(|| format!("write {}", mark.display()))?;
    clean_up_when_interrupted(&dir)?;
    let spec = LabSpec::new(DEFAULT_NAME, dir.clone(), beside()?);
    let result = if power {
        println!("== Three hosts with BMCs, four guests, one controller");
        let spec = LabSpec { guests: 4, bmc: true, ..spec };
        bring_up(spec).and_then(|lab| drover_lab::demo_power(&lab))
    } else {
        println!("== Three hosts, six guests, one controller");
        bring_up(spec).and_then(|lab| drover_lab::demo(&lab))
    };
    if keep && result.is_ok() {
        std::fs::remove_file(&mark).with_context(|| format!("remove {}", mark.display()))?;
        let own = std::env::current_exe().context("where this program is")?;
        println!("\nThe cluster is running. Use it, for example:");
        if dir != Path::new(DEFAULT_DIR) {
            println!("  export DROVER_LAB_DIR={}", dir.display());
        }
        for line in ["status", "drover -- top", "drover -- event list", "load vm2 80", "down"] {
            println!("  {} {line}", own.display());
        }
        return result;
    }
    down(&dir, false)?;
    result
}

/// Ctrl-C leaves as little behind as a demonstration that ends by itself.
fn clean_up_when_interrupted(dir: &Path) -> anyhow::Result<()> {
    let dir = dir.to_owned();
    ctrlc::set_handler(move || {
        eprintln!("\ninterrupted: taking the lab down");
        let code = match down(&dir, false) {
            Ok(()) => INTERRUPTED,
            Err(error) => {
                eprintln!("error: {error:#}; `drover-lab --dir {} down`", dir.display());
                1
            }
        };
        std::process::exit(code);
    })
    .context("listen for Ctrl-C")
}

/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

fn beside() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    Ok(own.parent().context("this program has a directory")?.to_owned())
}

fn bring_up(spec: LabSpec) -> anyhow::Result<Lab> {
    let begun = Instant::now();
    let say = |step: &str| eprintln!("[{:5.1} s] {step}", begun.elapsed().as_secs_f64());
    let lab = Lab::up(spec, &say)?;
    if !lab.spec().bare {
        Drover::of(&lab).up(&say)?;
    }
    say("the lab is up");
    Ok(lab)
}

fn up(dir: PathBuf, arguments: Up) -> anyhow::Result<()> {
    let bin_dir = arguments.bin_dir.map_or_else(beside, Ok)?;
    let spec = LabSpec {
        hosts: arguments.hosts,
        guests: arguments.guests,
        host_cores: arguments.host_cores,
        host_memory_mib: arguments.host_memory,
        guest_memory_mib: arguments.guest_memory,
        sample_interval: arguments.sample_interval,
        bare: arguments.bare,
        releases: arguments.release,
        memory: if arguments.plain_memory { GuestMemory::Plain } else { GuestMemory::Sound },
        storage: GuestStorage { disk: arguments.storage, lease: lease_of(arguments.lease) },
        locks: arguments.locks,
        bmc: arguments.bmc,
        ..LabSpec::new(&arguments.name, dir, bin_dir)
    };
    status(&bring_up(spec)?, false)
}

const fn lease_of(wanted: bool) -> GuestLease {
    if wanted { GuestLease::Explicit } else { GuestLease::None }
}

fn down(dir: &Path, purge: bool) -> anyhow::Result<()> {
    let has_lab = dir.join("lab.json").exists();
    if has_lab {
        Lab::open(dir)?.down()?;
    }
    if purge && dir.exists() {
        let is_ours = has_lab || dir.join("image").exists();
        anyhow::ensure!(is_ours, "{} holds no lab: nothing is removed", dir.display());
        std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(())
}

fn power_on(lab: &Lab, host: &str) -> anyhow::Result<()> {
    lab.power_on(host)?;
    let joins = !lab.spec().bare && lab.spec().host_names().iter().any(|name| name == host);
    if joins { Drover::of(lab).join(host) } else { Ok(()) }
}

fn status(lab: &Lab, json: bool) -> anyhow::Result<()> {
    let hosts = lab.status()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&hosts)?);
        return Ok(());
    }
    println!("{:<6} {:<6} {:<12} GUESTS", "HOST", "POWER", "ADDRESS");
    for host in hosts {
        let power = if host.on { "on" } else { "off" };
        println!("{:<6} {power:<6} {:<12} {}", host.name, host.address, host.guests.join(" "));
    }
    Ok(())
}

fn exec(lab: &Lab, host: &str, words: &[String]) -> anyhow::Result<ExitCode> {
    let (program, rest) = words.split_first().context("no command")?;
    let status = lab.command(host, program)?.args(rest).status().context("run nsenter")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn restart(lab: &Lab, what: Restarted, host: Option<String>) -> anyhow::Result<()> {
    let host = || host.clone().context("which host? e.g. `drover-lab restart agent h1`");
    match what {
        Restarted::Controller => lab.kill_daemon("ctl", "droverd"),
        Restarted::Agent => lab.kill_daemon(&host()?, "agent"),
        Restarted::Libvirtd => lab.kill_daemon(&host()?, "libvirtd"),
    }
}

fn show_probe(report: &ProbeReport, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    println!(
        "ping  {} sent, {} lost, longest gap {:.0} ms",
        report.ping_sent, report.ping_lost, report.ping_longest_gap_ms
    );
    println!(
        "tcp   {} sent, {} echoed, {}, longest gap {:.0} ms{}",
        report.tcp_sent,
        report.tcp_echoed,
        if report.tcp_in_order { "in order" } else { "OUT OF ORDER" },
        report.tcp_longest_gap_ms,
        report.tcp_error.as_ref().map(|error| format!(", {error}")).unwrap_or_default()
    );
    Ok(())
}
