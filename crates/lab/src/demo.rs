//! The main job, shown live: a rule, a host that grows hot, the plan with its reasons, the
//! live migration, and what a client of the moved guest saw.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::{Drover, Lab, ProbeHandle, ProbeReport};

/// The rule's threshold, percent of the host.
const THRESHOLD: f64 = 60.0;
/// The two guests of the first host: one is busy from the start, the other grows.
const STEADY: (&str, u8) = ("vm1", 25);
const GROWING: &str = "vm4";
/// Loads that the growing guest gets, one after the other.
const STEPS: [u8; 6] = [10, 20, 30, 35, 40, 45];
/// Each step lasts so long.
const STEP: Duration = Duration::from_secs(6);
/// The whole story must be over within so long.
const LIMIT: Duration = Duration::from_secs(180);
/// After the move the host is watched for so long.
const AFTER: Duration = Duration::from_secs(8);
/// Width of a bar, characters.
const BAR: usize = 30;

/// Runs the demonstration on a lab that is up. Fails when a client lost anything.
pub fn demo(lab: &Lab) -> anyhow::Result<()> {
    let drover = Drover::of(lab);
    title("The rule");
    let rule =
        ["rule", "create", "hot", "cpu.usage_active > 60", "--period", "10s", "--max-moves", "1"];
    println!("$ drover rule create hot 'cpu.usage_active > 60' --period 10s --max-moves 1");
    println!("{}", indent(&drover.drover(&rule)?));
    let mut story = Story::follow(lab)?;
    title(
        "A client connects to both guests of h1: 20 Hz ping, numbered lines over one TCP connection",
    );
    let probes = [STEADY.0, GROWING]
        .map(|guest| (guest, lab.probe(guest, None)))
        .into_iter()
        .map(|(guest, probe)| probe.map(|probe| (guest, probe)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    title("Load grows on h1");
    lab.load(STEADY.0, STEADY.1)?;
    let outcome = story.until_moved(lab);
    let reports = finish(probes)?;
    let moved = outcome?;
    title("Afterwards");
    println!("{}", indent(&drover.drover(&["host", "list"])?));
    println!("{}", indent(&drover.drover(&["guest", "list"])?));
    title("Summary");
    summary(&moved, &reports)
}

fn finish(probes: Vec<(&'static str, ProbeHandle)>) -> anyhow::Result<Vec<(String, ProbeReport)>> {
    probes.into_iter().map(|(guest, probe)| Ok((guest.to_owned(), probe.finish()?))).collect()
}

/// What was moved.
#[derive(Debug)]
struct Moved {
    guest: String,
    text: String,
}

/// The live stream of `drover watch`.
struct Story {
    child: Child,
    lines: Receiver<Value>,
    h1: Option<f64>,
    load_after: Option<Instant>,
    shown: String,
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Story {
    fn follow(lab: &Lab) -> anyhow::Result<Self> {
        let mut child = lab
            .command("controller", "drover")?
            .arg("watch")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start `drover watch`")?;
        let out = child.stdout.take().context("`drover watch` has no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line)
                    && sender.send(value).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { child, lines, h1: None, load_after: None, shown: String::new() })
    }

    /// Raises the load until a plan has moved a guest; shows what happens meanwhile.
    fn until_moved(&mut self, lab: &Lab) -> anyhow::Result<Moved> {
        let begun = Instant::now();
        let mut steps = STEPS.iter();
        let mut next_step = Instant::now() + STEP;
        let mut moved: Option<Moved> = None;
        loop {
            ensure!(begun.elapsed() < LIMIT, "nothing was moved within {LIMIT:?}");
            let hot = self.h1.is_some_and(|load| load > THRESHOLD + 5.0);
            if Instant::now() >= next_step && !hot && moved.is_none() {
                if let Some(percent) = steps.next() {
                    lab.load(GROWING, *percent)?;
                }
                next_step = Instant::now() + STEP;
            }
            if self.load_after.is_some_and(|at| Instant::now() >= at) {
                return moved.context("the guest that was moved is unknown");
            }
            let message = match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => bail!("`drover watch` ended"),
            };
            match message["kind"].as_str() {
                Some("host_sample") => self.sample(&message["data"]),
                Some("operation") => self.progress(&message["data"]),
                Some("event") => self.event(&message["data"], &mut moved)?,
                _ => {}
            }
        }
    }

    fn sample(&mut self, sample: &Value) {
        let name = sample["name"].as_str().unwrap_or_default();
        let Some(load) = sample["values"]["cpu.usage_active"].as_f64() else { return };
        if name == "h1" {
            self.h1 = Some(load);
            let mark = if load > THRESHOLD { " over the line" } else { "" };
            println!("  h1 cpu.usage_active {load:5.1} %  {}{mark}", bar(load));
        } else if self.load_after.is_some() {
            println!("  {name} cpu.usage_active {load:5.1} %  {}", bar(load));
        }
        let _ = std::io::stdout().flush();
    }

    fn progress(&mut self, operation: &Value) {
        let progress = &operation["progress"];
        let mib = |name: &str| progress[name].as_f64().unwrap_or_default() / f64::from(1 << 20);
        let line = format!(
            "  {} {} → {}: {:3.0} %, {:.1} MiB sent, {:.1} MiB left, dirty rate {:.1} MiB/s, iteration {}",
            operation["guest"].as_str().unwrap_or_default(),
            operation["from"].as_str().unwrap_or_default(),
            operation["to"].as_str().unwrap_or_default(),
            progress["percent"].as_f64().unwrap_or_default(),
            mib("processed_bytes"),
            mib("remaining_bytes"),
            mib("dirty_bytes_per_second"),
            progress["iteration"],
        );
        if line != self.shown {
            println!("{line}");
            self.shown = line;
        }
    }

    fn event(&mut self, event: &Value, moved: &mut Option<Moved>) -> anyhow::Result<()> {
        let kind = event["kind"].as_str().unwrap_or_default();
        if kind.starts_with("audit.") || kind == "rule.unknown" {
            return Ok(());
        }
        let text = event["message"].as_str().unwrap_or_default();
        println!("▶ {kind}: {text}");
        if kind == "plan.made" {
            for step in event["detail"]["moves"].as_array().into_iter().flatten() {
                println!("    {}", step.as_str().unwrap_or_default());
            }
        }
        match kind {
            "migration.completed" => {
                let guest = event["guest"].as_str().unwrap_or_default().to_owned();
                *moved = Some(Moved { guest, text: text.to_owned() });
            }
            "migration.failed" => bail!("the migration failed: {text}"),
            "plan.closed" => {
                self.load_after = Some(Instant::now() + AFTER);
                println!("  the load of all hosts for {} s:", AFTER.as_secs());
            }
            _ => {}
        }
        Ok(())
    }
}

fn summary(moved: &Moved, reports: &[(String, ProbeReport)]) -> anyhow::Result<()> {
    println!("  {}", moved.text);
    for (guest, report) in reports {
        let role = if *guest == moved.guest { "moved" } else { "stayed" };
        println!(
            "  client of {guest} ({role}): ping {} sent, {} lost, longest gap {:.0} ms",
            report.ping_sent, report.ping_lost, report.ping_longest_gap_ms
        );
        println!(
            "                         tcp {} lines sent, {} came back, {}, longest gap {:.0} ms",
            report.tcp_sent,
            report.tcp_echoed,
            if report.is_unbroken() { "none lost, none out of order" } else { "BROKEN" },
            report.tcp_longest_gap_ms
        );
    }
    let broken: Vec<&str> = reports
        .iter()
        .filter(|(_, report)| !report.is_unbroken())
        .map(|(guest, _)| guest.as_str())
        .collect();
    ensure!(broken.is_empty(), "the TCP connection to {} broke", broken.join(", "));
    Ok(())
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("  {line}\n")).collect()
}

fn bar(percent: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to the bar"
    )]
    let full = (percent.clamp(0.0, 100.0) / 100.0 * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}
