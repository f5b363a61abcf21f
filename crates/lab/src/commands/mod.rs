//! The command line of drover-lab.

mod arguments;
mod bmc;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use drover_lab::fault::{lose_reply, proxy};
use drover_lab::{
    Drover, GuestLease, GuestMemory, GuestStorage, Lab, LabSpec, LinkState, MachineCheck,
    ProbeReport, hear, host_init, probe,
};

use arguments::{
    Arguments, Command, DEFAULT_DIR, DEFAULT_NAME, GuestCommand, Restarted, Up, UpDown,
};

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
        Command::Check { guest, json } => return check(&with_guest(&dir, &guest)?, &guest, json),
        Command::CheckMachine { release, moves, watch } => {
            MachineCheck { release, moves, watch, image: dir.join("image") }.run()?;
        }
        Command::CheckMachineWorker { check } => {
            serde_json::from_str::<MachineCheck>(&check)?.work()?;
        }
        Command::Probe { guest, seconds, json } => {
            return look(&with_guest(&dir, &guest)?, &guest, Duration::from_secs(seconds), json);
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

/// What a guest's own checks of its memory have found.
fn check(lab: &Lab, guest: &str, json: bool) -> anyhow::Result<ExitCode> {
    let found = lab.check(guest)?;
    let shown = if json { serde_json::to_string_pretty(&found)? } else { found.to_string() };
    println!("{shown}");
    Ok(if found.faults() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What a client sees of a guest.
fn look(lab: &Lab, guest: &str, time: Duration, json: bool) -> anyhow::Result<ExitCode> {
    let handle = lab.probe(guest, Some(time))?;
    std::thread::sleep(time);
    let report = handle.finish()?;
    show_probe(&report, json)?;
    let is_broken = !report.is_unbroken() || report.ping_lost == report.ping_sent;
    Ok(if is_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
