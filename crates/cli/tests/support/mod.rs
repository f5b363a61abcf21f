//! A whole cluster in this process: droverd as it is, agents as they are, and hypervisors
//! in memory. Only the `drover` program runs beside it, as a user would run it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use clap::Parser as _;
use drover_agent::join::libvirt_pki::Existing;
use drover_agent::join::token::JoinToken;
use drover_agent::join::{JoinRequest, join};
use drover_agent::shutdown::{ShutdownTrigger, shutdown};
use drover_model::{GuestId, HostId};
use drover_ports::Hypervisor as _;
use drover_ports::memory::{MemoryHosts, MemoryHypervisor};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longest wait for anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The cluster; gone when it is dropped.
pub struct Stage {
    dir: TempDir,
    pub hosts: Vec<MemoryHypervisor>,
    triggers: Vec<ShutdownTrigger>,
    runtime: Runtime,
}

/// What a run of `drover` printed.
pub struct Printed {
    pub out: String,
    pub err: String,
    pub code: i32,
}

impl Stage {
    /// Hosts h1 and h2; guests vm1 and vm2 run on h1.
    pub fn up() -> Self {
        Self::with(2, 2)
    }

    /// So many hosts; so many guests, all of them on h1.
    pub fn with(hosts: u32, guests: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("droverd");
        let address = own_address();
        let [api, agents] = free_ports(address);
        let config = drover_controller::config::Config::parse_from([
            "droverd",
            "--state-dir",
            state.to_str().unwrap(),
            "--api-listen",
            &format!("{address}:{api}"),
            "--agent-listen",
            &format!("{address}:{agents}"),
            "--advertise",
            &address.to_string(),
            "--sample-interval",
            "500ms",
            "--evaluation-interval",
            "500ms",
        ]);
        runtime.spawn(drover_controller::wiring::run(config));
        let mut stage = Self { dir, hosts: Vec::new(), triggers: Vec::new(), runtime };
        stage.until("droverd answers", |stage| stage.drover(&["version"]).code == 0);
        let cluster = MemoryHosts::default();
        for number in 1..=hosts {
            stage.add_host(&cluster, number, &format!("https://{address}:{api}"));
        }
        for number in 1..=guests {
            let id = GuestId::from_u128(0x6000 + u128::from(number));
            stage.hosts[0].start(id, &format!("vm{number}"));
        }
        stage.until("guests are adopted and measured", |stage| {
            let measured = |what: &[&str], field: &str, count: u32| {
                stage.json(what).as_array().is_some_and(|all| {
                    all.len() == count as usize && all.iter().all(|one| one[field].is_number())
                })
            };
            measured(&["guest", "list"], "vcpu_percent", guests)
                && measured(&["host", "list"], "cpu_usage_percent", hosts)
        });
        stage
    }

    fn add_host(&mut self, cluster: &MemoryHosts, number: u32, url: &str) {
        let uri = format!("memory://h{number}");
        let hypervisor = cluster.add(&uri, HostId::from_u128(u128::from(number)));
        let state = self.dir.path().join(format!("h{number}"));
        let text = format!("state_dir = \"{}\"\npeer_uri = \"{uri}\"\n", state.display());
        let config = drover_agent::config::Config::parse(&text).unwrap();
        let token = self.json(&["host", "token"])["token"].as_str().unwrap().to_owned();
        let request = JoinRequest {
            controller_url: url.to_owned(),
            token: JoinToken::parse(&token).unwrap(),
            name: Some(format!("h{number}")),
            libvirt_pki: None,
            existing: Existing::Keep,
        };
        self.runtime.block_on(join(&request, &config, &hypervisor)).unwrap();
        let (trigger, wish) = shutdown();
        let of_agent = Arc::new(hypervisor.clone());
        let no_bmc = Arc::new(drover_ports::memory::MemoryOwnBmc::default());
        self.runtime.spawn(async move {
            drover_agent::Prepared::new(config).unwrap().run(of_agent, no_bmc, wish).await.unwrap();
        });
        self.hosts.push(hypervisor);
        self.triggers.push(trigger);
    }

    /// Which host has the guest, by the hypervisors' word.
    pub fn homes(&self, guest: &str) -> Vec<String> {
        let mut homes = Vec::new();
        for (number, host) in (1..).zip(&self.hosts) {
            let all = self.runtime.block_on(host.guests(HostId::from_u128(number))).unwrap();
            if all.iter().any(|one| one.name == guest) {
                homes.push(format!("h{number}"));
            }
        }
        homes
    }

    /// Ends the agent of a host; returns when droverd has noticed.
    pub fn stop_agent(&self, number: usize) {
        self.triggers[number - 1].ask();
        self.until("the session ends", |stage| {
            stage.json(&["host", "show", &format!("h{number}")])["state"] != "online"
        });
    }

    /// The administrator's configuration.
    pub fn admin(&self) -> PathBuf {
        self.dir.path().join("droverd/admin.toml")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `drover` as the administrator.
    pub fn drover(&self, words: &[&str]) -> Printed {
        self.run(words, &[("DROVER_CONFIG", self.admin().to_str().unwrap())])
    }

    /// Runs `drover` with this environment and no other.
    pub fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> Printed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
        command.args(words).env_clear().env("HOME", self.dir.path()).env("TZ", "UTC");
        let Output { stdout, stderr, status } =
            command.envs(environment.iter().copied()).output().unwrap();
        Printed {
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
            code: status.code().unwrap(),
        }
    }

    /// As with `| head -1`: no panic, no word.
    pub fn a_reader_may_stop_reading(&self, words: &[&str]) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_drover"))
            .args(words)
            .env("DROVER_CONFIG", self.admin())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0));
        assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    }

    /// What `drover … -o json` answers; null when it failed.
    pub fn json(&self, words: &[&str]) -> Value {
        let printed = self.drover(&[words, &["-o", "json"]].concat());
        serde_json::from_str(&printed.out).unwrap_or_default()
    }

    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for trigger in &self.triggers {
            trigger.ask();
        }
    }
}

/// An address of this machine that no other stage has: neither another stage's server nor its
/// clients take a port of it between the moment when it was free and the moment it is used.
fn own_address() -> Ipv4Addr {
    static STAGES: AtomicU8 = AtomicU8::new(1);
    let number = STAGES.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, number)
}

fn free_ports(address: Ipv4Addr) -> [u16; 2] {
    let taken = [0; 2].map(|_| TcpListener::bind((address, 0)).unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}
