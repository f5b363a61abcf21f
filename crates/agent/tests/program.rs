//! The program itself, on libvirt's built-in test driver.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use drover_model::Guest;
use support::controller::Controller;
use support::joined_state_dir;
use support::pki::Pki;

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn of_process(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}

fn cpu_ticks(pid: u32) -> u64 {
    drover_agent::observe::parse::process(&of_process(pid, "stat")).unwrap().cpu_ticks
}

/// A session for some seconds, its cost, and a clean end on SIGTERM.
#[tokio::test]
async fn the_program_holds_a_session_and_ends_when_told() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki).await;
    let state = joined_state_dir(&pki, &controller.url());
    let config = state.path().join("agent.toml");
    let text = format!(
        "state_dir = \"{}\"\nlibvirt_uri = \"test:///default\"\nsample_interval = \"1s\"\n",
        state.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut program = Program(
        Command::new(env!("CARGO_BIN_EXE_drover-agent"))
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let pid = program.0.id();

    let hello = controller.hello().await;
    assert_eq!(hello.host_name, "h1");
    let inventory = controller.inventory().await;
    assert!(inventory.hypervisor_connected);
    let guests: Vec<Guest> = serde_json::from_slice(&inventory.guests_json).unwrap();
    assert_eq!(guests[0].name, "test");
    let (began, ticks) = (Instant::now(), cpu_ticks(pid));
    for _ in 0..3 {
        let sequence = controller.samples().await.sequence;
        controller.acknowledge(sequence);
    }
    let status = of_process(pid, "status");
    let memory = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("Rss"));
    println!(
        "{:?}; {} ticks of CPU in {:?}",
        memory.collect::<Vec<_>>(),
        cpu_ticks(pid) - ticks,
        began.elapsed()
    );

    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(5);
    let status = loop {
        if let Some(status) = program.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{status}");
}

/// Also a check that it ends without the libvirt library being in the middle of its start.
#[test]
fn a_host_that_has_not_joined_is_told_so() {
    let state = tempfile::tempdir().unwrap();
    let config = state.path().join("agent.toml");
    std::fs::write(&config, format!("state_dir = \"{}\"\n", state.path().display())).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_drover-agent"))
        .args(["run", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("has not joined") && said.contains("hint:"), "{said}");
}
