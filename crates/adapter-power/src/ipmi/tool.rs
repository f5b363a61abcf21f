//! One run of `ipmitool`.

use std::path::PathBuf;
use std::process::Stdio;

use drover_ports::{Bmc, PowerError};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

use crate::ipmi::answer::{Failure, failure};

/// `ipmitool` says a datagram again after this many seconds, and a second more each time.
const RETRY_AFTER_S: &str = "2";
/// So often in all. With the fallback to IPMI 1.5 that it cannot be talked out of, a dead
/// BMC is given up after 10 s.
const TRIES: &str = "2";
/// What is read of its output, bytes: a list of 500 sensors is 30 KB.
const MAX_OUTPUT: u64 = 1 << 20;

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    Operator,
    Administrator,
}

impl Privilege {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "OPERATOR",
            Self::Administrator => "ADMINISTRATOR",
        }
    }
}

#[derive(Debug)]
pub(super) struct Tool {
    pub(super) program: PathBuf,
}

impl Tool {
    /// Runs one command; what it printed. At the deadline the process is killed.
    pub(super) async fn run(
        &self,
        bmc: &Bmc,
        suite: u8,
        privilege: Privilege,
        words: &[&str],
        deadline: Instant,
    ) -> Result<String, Failure> {
        let mut command = Command::new(&self.program);
        // -v: without it a wrong password and a dead BMC look the same.
        command
            .env_clear()
            .env("IPMI_PASSWORD", bmc.password.reveal())
            .args(["-I", "lanplus", "-v", "-E"])
            .args(["-H", &bmc.address.host, "-p", &bmc.address.port.to_string()])
            .args(["-U", &bmc.address.user, "-L", privilege.as_str()])
            .args(["-C", &suite.to_string(), "-N", RETRY_AFTER_S, "-R", TRIES])
            .args(words);
        self.finish(command, bmc.password.reveal(), deadline).await
    }

    /// Runs one command of the BMC of this machine. At the deadline the process is killed.
    pub(super) async fn run_here(
        &self,
        words: &[&str],
        deadline: Instant,
    ) -> Result<String, Failure> {
        let mut command = Command::new(&self.program);
        command.env_clear().args(["-I", "open", "-v"]).args(words);
        self.finish(command, "", deadline).await
    }

    async fn finish(
        &self,
        mut command: Command,
        password: &str,
        deadline: Instant,
    ) -> Result<String, Failure> {
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| self.not_started(&error))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let run = async { tokio::join!(read(out), read(err), child.wait()) };
        let Ok((out, err, status)) = timeout_at(deadline, run).await else {
            return Err(Failure::Is(PowerError::Retry("no answer in time".to_owned())));
        };
        if status.is_ok_and(|status| status.success()) {
            return Ok(out);
        }
        Err(failure(&format!("{out}\n{err}"), password))
    }

    fn not_started(&self, error: &std::io::Error) -> Failure {
        let program = self.program.display();
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "it is not installed (package ipmitool)".to_owned(),
            _ => error.to_string(),
        };
        Failure::Is(PowerError::Broken(format!("{program} cannot be started: {why}")))
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read until an error is what there is.
        let _ = from.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
