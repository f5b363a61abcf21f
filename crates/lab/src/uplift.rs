//! Drover's own programs in the lab: the controller, and an agent on each host.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::lab::{CTL, Lab};
use crate::tools::{wait_for, write};

/// The API address inside the lab.
const API: &str = "https://10.77.0.100:7440";
/// droverd answers within so long.
const CONTROLLER_UP: Duration = Duration::from_secs(30);

/// Starts and joins Drover's programs.
#[derive(Debug, Clone, Copy)]
pub struct Drover<'a> {
    lab: &'a Lab,
}

impl<'a> Drover<'a> {
    /// The programs of this lab.
    pub const fn of(lab: &'a Lab) -> Self {
        Self { lab }
    }

    /// Starts droverd and joins every host that has not joined.
    pub fn up(&self, say: &dyn Fn(&str)) -> anyhow::Result<()> {
        for name in ["droverd", "drover-agent", "drover"] {
            let path = self.lab.spec().bin_dir.join(name);
            ensure!(
                path.exists(),
                "{} is not built; build the workspace, or use --bare",
                path.display()
            );
        }
        say("droverd");
        write(&self.lab.member_dir(CTL).join("run-lab/start-droverd"), "")?;
        wait_for("droverd", CONTROLLER_UP, || self.drover(&["host", "list"]).is_ok())
            .with_context(|| self.log(CTL, "droverd"))?;
        say("agents");
        for host in self.lab.spec().host_names() {
            self.join(&host)?;
        }
        wait_for("the hosts' agents", CONTROLLER_UP, || self.all_online())
            .with_context(|| self.log("h1", "agent"))
    }

    /// Joins one host unless it has joined; its agent is then kept running.
    pub fn join(&self, host: &str) -> anyhow::Result<()> {
        let dir = self.lab.member_dir(host);
        let kept = dir.join("agent/lab-joined");
        if !kept.exists() {
            let token = self.drover(&["host", "token", "-o", "json"])?;
            let token: serde_json::Value =
                serde_json::from_str(&token).context("`drover host token` printed no JSON")?;
            let token = token["token"].as_str().context("no token")?;
            self.lab
                .exec(
                    host,
                    &[
                        "drover-agent",
                        "join",
                        API,
                        "--token",
                        token,
                        "--name",
                        host,
                        "--config",
                        "/etc/drover/agent.toml",
                    ],
                )
                .with_context(|| format!("join {host}"))?;
            write(&kept, "")?;
        }
        write(&dir.join("run-lab/joined"), "")
    }

    /// Runs `drover` with the administrator's configuration.
    pub fn drover(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut all = vec!["drover"];
        all.extend(words);
        self.lab.exec(CTL, &all)
    }

    /// Runs `drover … -o json`.
    pub fn json(&self, words: &[&str]) -> anyhow::Result<serde_json::Value> {
        let mut all = words.to_vec();
        all.extend(["-o", "json"]);
        let text = self.drover(&all)?;
        serde_json::from_str(&text).with_context(|| format!("`drover {words:?}` printed {text}"))
    }

    fn all_online(&self) -> bool {
        let Ok(hosts) = self.json(&["host", "list"]) else { return false };
        let items = hosts["items"].as_array().or_else(|| hosts.as_array()).cloned();
        let items = items.unwrap_or_default();
        items.len() == usize::from(self.lab.spec().hosts)
            && items.iter().all(|host| host["state"] == "online")
    }

    fn log(&self, member: &str, daemon: &str) -> String {
        let path = self.lab.member_dir(member).join("run-lab").join(format!("{daemon}.log"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(5).collect();
        format!(
            "{daemon} on {member} said: {}",
            tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
        )
    }
}
