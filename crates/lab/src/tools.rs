//! Running the system's tools, with errors that say which and why.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail};

/// Runs a command line (split at spaces) and returns its standard output.
pub fn run(line: &str) -> anyhow::Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(words);
    output(&mut command)
}

/// Runs a command and returns its standard output; fails with what it said on stderr.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    // What runs inside a member is told by what follows the way in.
    let words: Vec<String> =
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let inner = words.iter().rposition(|word| word == "--").map_or(0, |at| at + 1);
    let shown = match inner {
        0 => format!("{name} {}", words.join(" ")),
        at => words[at..].join(" "),
    };
    let done: Output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started; is it installed?"))?;
    if !done.status.success() {
        bail!(
            "{shown}: {} ({})",
            String::from_utf8_lossy(&done.stderr).trim(),
            String::from_utf8_lossy(&done.stdout).trim()
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Waits until `check` holds, or fails saying what was waited for.
pub fn wait_for(
    what: &str,
    limit: std::time::Duration,
    mut check: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    while !check() {
        if begun.elapsed() > limit {
            bail!("{what}: not within {:.0} s", limit.as_secs_f64());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}

/// Writes a file, with its parent directories.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// When a process started, in clock ticks since boot; none when it is gone. A pid with
/// another start time is another process.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}
