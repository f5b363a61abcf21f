//! What `drover watch` tells while a load grows until a guest has been moved.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::Lab;

/// Each step of the load lasts so long.
const STEP: Duration = Duration::from_secs(6);
/// The whole story must be over within so long.
const LIMIT: Duration = Duration::from_secs(180);
/// After the move the host is watched for so long.
const AFTER: Duration = Duration::from_secs(8);
/// Width of a bar, characters.
const BAR: usize = 30;

/// What is watched on the first host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub(super) metric: &'static str,
    pub(super) unit: &'static str,
    pub(super) threshold: f64,
    /// No more load is added once it is so far beyond the threshold.
    pub(super) enough: f64,
    /// A full bar.
    pub(super) full: f64,
    /// The guest whose load grows, and its loads, percent, one after the other.
    pub(super) growing: &'static str,
    pub(super) steps: &'static [u8],
}

/// What was moved.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) guest: String,
    pub(super) text: String,
}

/// The live stream of `drover watch`.
pub(super) struct Story {
    watched: Watched,
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
    pub(super) fn follow(lab: &Lab, watched: Watched) -> anyhow::Result<Self> {
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
        Ok(Self { watched, child, lines, h1: None, load_after: None, shown: String::new() })
    }

    /// Raises the load until a plan has moved a guest; shows what happens meanwhile.
    pub(super) fn until_moved(&mut self, lab: &Lab) -> anyhow::Result<Moved> {
        let begun = Instant::now();
        let mut steps = self.watched.steps.iter();
        let mut next_step = Instant::now() + STEP;
        let mut moved: Option<Moved> = None;
        loop {
            ensure!(begun.elapsed() < LIMIT, "nothing was moved within {LIMIT:?}");
            let hot =
                self.h1.is_some_and(|load| load > self.watched.threshold + self.watched.enough);
            if Instant::now() >= next_step && !hot && moved.is_none() {
                if let Some(percent) = steps.next() {
                    lab.load(self.watched.growing, *percent)?;
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
        let Watched { metric, unit, threshold, full, .. } = self.watched;
        let Some(load) = sample["values"][metric].as_f64() else { return };
        let bar = bar(load / full);
        if name == "h1" {
            self.h1 = Some(load);
            let mark = if load > threshold { " over the line" } else { "" };
            println!("  h1 {metric} {load:5.1} {unit}  {bar}{mark}");
        } else if self.load_after.is_some() {
            println!("  {name} {metric} {load:5.1} {unit}  {bar}");
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
                println!("  all hosts for {} s:", AFTER.as_secs());
            }
            _ => {}
        }
        Ok(())
    }
}

fn bar(part: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to the bar"
    )]
    let full = (part.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}
