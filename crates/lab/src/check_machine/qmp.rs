//! QEMU's monitor.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// QEMU answers within so long.
const ANSWERS: Duration = Duration::from_secs(30);

/// A connection to a QEMU.
pub(super) struct Monitor {
    lines: BufReader<UnixStream>,
}

impl Monitor {
    pub(super) fn open(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).context("connect to QEMU")?;
        stream.set_read_timeout(Some(ANSWERS))?;
        let mut monitor = Self { lines: BufReader::new(stream) };
        monitor.read()?;
        monitor.ask("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Asks for something and returns the answer; events in between are not heard.
    pub(super) fn ask(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        self.lines.get_mut().write_all(line.as_bytes()).context("ask QEMU")?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses `{line}`: {error}");
            }
            if let Some(answer) = answer.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    fn read(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).context("QEMU does not answer")?;
        anyhow::ensure!(read > 0, "QEMU has ended");
        serde_json::from_str(&line).with_context(|| format!("QEMU said `{line}`"))
    }
}
