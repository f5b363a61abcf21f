//! The process beside the hosts: keeps the BMCs' programs running, measures, and hears
//! magic packets.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};

use crate::bmc::config::{IPMI, REDFISH};
use crate::bmc::meter::Meter;
use crate::bmc::nic::{octets, wakes};
use crate::lab::Lab;

/// A program that ended is started again after so long.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How often hosts are looked at, and the longest wait for a frame.
const LOOK: Duration = Duration::from_millis(200);
/// How often is measured: `ipmi_sim` reads as often.
const MEASURE: Duration = Duration::from_secs(1);
/// Longest frame that is looked at: a magic packet with all its headers is shorter.
const MAX_FRAME: usize = 2048;

struct Program {
    name: String,
    command: Box<dyn Fn() -> anyhow::Result<Command>>,
    running: Option<Child>,
    not_before: Instant,
}

/// Runs until it is killed.
pub fn work(lab: &Lab) -> anyhow::Result<()> {
    let mut programs = programs(lab);
    let mut meter = Meter::default();
    let mut ears = BTreeMap::new();
    let mut measure_at = Instant::now();
    loop {
        for program in &mut programs {
            program.keep_running();
        }
        if Instant::now() >= measure_at {
            measure_at = Instant::now() + MEASURE;
            for host in lab.spec().host_names() {
                if let Some(watts) = meter.watts(lab, &host) {
                    put_watts(lab, &host, watts)?;
                }
            }
        }
        listen(lab, &mut ears);
        for host in hear(lab, &ears) {
            eprintln!("{host}: magic packet");
            // A process of its own, so that the host is nobody's child.
            let switched =
                lab.own_command(&["bmc", "chassis", &host, "set", "power", "1"]).status();
            if !switched.is_ok_and(|status| status.success()) {
                eprintln!("{host} could not be switched on");
            }
        }
    }
}

fn programs(lab: &Lab) -> Vec<Program> {
    let new = |name: String, command: Box<dyn Fn() -> anyhow::Result<Command>>| Program {
        name,
        command,
        running: None,
        not_before: Instant::now(),
    };
    let mut programs: Vec<Program> = lab
        .spec()
        .host_names()
        .into_iter()
        .map(|host| {
            let dir = lab.bmc_dir(&host);
            let command = move || {
                let mut command = Command::new(IPMI);
                command.args(["-n", "-c", "lan.conf", "-f", "emu", "-s", "state"]);
                logged(&mut command, &dir.join("ipmi.log"))?;
                command.current_dir(&dir);
                Ok(command)
            };
            new(format!("{IPMI} of {host}"), Box::new(command))
        })
        .collect();
    let dir = lab.spec().dir.join("bmc");
    let command = move || {
        let mut command = Command::new(REDFISH);
        command.arg(dir.join("redfish.py")).arg(dir.join("redfish.json"));
        logged(&mut command, &dir.join("redfish.log"))?;
        Ok(command)
    };
    programs.push(new("redfish".to_owned(), Box::new(command)));
    programs
}

fn logged(command: &mut Command, path: &std::path::Path) -> anyhow::Result<()> {
    let log = std::fs::File::create(path).with_context(|| format!("open {}", path.display()))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(())
}

impl Program {
    fn keep_running(&mut self) {
        if let Some(child) = &mut self.running {
            match child.try_wait() {
                Ok(None) => return,
                ended => eprintln!("{} ended: {ended:?}", self.name),
            }
            self.running = None;
            self.not_before = Instant::now() + RESTART_AFTER;
        }
        if Instant::now() < self.not_before {
            return;
        }
        self.not_before = Instant::now() + RESTART_AFTER;
        match (self.command)().and_then(|mut command| Ok(command.spawn()?)) {
            Ok(child) => self.running = Some(child),
            Err(error) => eprintln!("{}: {error:#}", self.name),
        }
    }
}

/// In one step: nobody reads half a number.
fn put_watts(lab: &Lab, host: &str, watts: f64) -> anyhow::Result<()> {
    let path = lab.bmc_dir(host).join("watts");
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{watts:.0}\n"))?;
    std::fs::rename(&new, &path).with_context(|| format!("write {}", path.display()))
}

/// Has an ear at every host that is off and whose card lives, and at no other.
fn listen(lab: &Lab, ears: &mut BTreeMap<String, OwnedFd>) {
    for host in lab.spec().host_names() {
        if lab.is_on(&host) {
            ears.remove(&host);
            continue;
        }
        let result = (|| -> anyhow::Result<()> {
            if !lab.stands_by(&host) {
                // It has switched itself off.
                let _held = lab.hold_switch(&host)?;
                if lab.is_on(&host) {
                    return Ok(());
                }
                lab.stand_by(&host)?;
            }
            if !ears.contains_key(&host) {
                ears.insert(host.clone(), lab.ear(&host)?);
            }
            Ok(())
        })();
        if let Err(error) = result {
            eprintln!("{host}: {error:#}");
        }
    }
}

/// Waits a moment; the hosts whose magic packet came.
fn hear(lab: &Lab, ears: &BTreeMap<String, OwnedFd>) -> Vec<String> {
    let mut waiting: Vec<PollFd<'_>> =
        ears.values().map(|ear| PollFd::new(ear, PollFlags::IN)).collect();
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
    if waiting.is_empty() {
        std::thread::sleep(LOOK);
    } else if poll(&mut waiting, Some(&limit)).is_err() {
        return Vec::new();
    }
    let woken = |(host, ear): (&String, &OwnedFd)| -> Option<String> {
        let nic = lab.nic(host).ok()?;
        let mac: [u8; 6] = octets(&lab.mac(host).ok()?)?.try_into().ok()?;
        let mut frame = [0_u8; MAX_FRAME];
        let mut hit = false;
        while let Ok((length, _)) = recv(ear, &mut frame, RecvFlags::DONTWAIT) {
            hit |= nic.wakes && wakes(&frame[..length], mac, nic.password.as_deref());
        }
        hit.then(|| host.clone())
    };
    let ready: Vec<bool> = waiting.iter().map(|ear| !ear.revents().is_empty()).collect();
    ears.iter().zip(ready).filter(|(_, ready)| *ready).filter_map(|(ear, _)| woken(ear)).collect()
}
