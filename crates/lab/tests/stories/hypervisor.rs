//! The hypervisor port on two real libvirt daemons.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use drover_adapter_libvirt::Libvirt;
use drover_lab::Lab;
use drover_ports::contract;
use drover_ports::contract::hypervisor::Rig;

use super::world::World;

/// Numbers of the contract's own guests begin here: the lab's are below.
const FIRST_GUEST: u32 = 51;

pub(crate) fn libvirt_keeps_the_contract(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    let before = world.now()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let source = runtime.block_on(connect(lab, "h1"))?;
    let target = runtime.block_on(connect(lab, "h2"))?;
    let next = AtomicU32::new(FIRST_GUEST);
    let rig = |number: u32| -> anyhow::Result<Rig> {
        remove(lab, number - 1);
        let name = format!("vm{number}");
        lab.start_guest(&name, "h1")?;
        let guest = lab.virsh("h1", &["domuuid", &name])?;
        let peer_uri = lab.peer_uri("h2")?;
        Ok(Rig {
            source: Arc::new(source.clone()),
            target: Arc::new(target.clone()),
            guest: guest.trim().parse()?,
            dead_peer_uri: peer_uri.replace("/system", ":1/system"),
            peer_uri,
            migration_address: lab.address("h2")?,
            // QEMU does not emulate transactional memory.
            missing_feature: "hle".to_owned(),
        })
    };
    let checks = contract::hypervisor::run(async || {
        // A panic is this story's failure and says what went wrong.
        rig(next.fetch_add(1, Ordering::SeqCst)).unwrap()
    });
    runtime.block_on(checks);
    remove(lab, next.load(Ordering::SeqCst) - 1);
    // droverd watched all this: guests that others moved, one at a time.
    ensure!(!world.events(before, "guest.moved")?.is_empty(), "droverd saw no guest move");
    let double = world.events(before, "guest.double")?;
    ensure!(double.is_empty(), "a move by others looks like a guest that runs twice: {double:?}");
    Ok(())
}

/// Seen from outside, a host's processes are those of its PID namespace.
async fn connect(lab: &Lab, host: &str) -> anyhow::Result<Libvirt> {
    let pid = u32::try_from(lab.pid_of(host, "libvirtd")?)?;
    let libvirt = Libvirt::connect_in_namespace(&lab.libvirt_uri(host), pid)
        .with_context(|| format!("the PID namespace of {host}"))?;
    for _ in 0..50 {
        if libvirt.is_connected() {
            return Ok(libvirt);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(libvirt.is_connected(), "libvirtd of {host} does not answer");
    Ok(libvirt)
}

/// Wherever it ended up.
fn remove(lab: &Lab, number: u32) {
    let name = format!("vm{number}");
    for host in ["h1", "h2"] {
        let _ = lab.virsh(host, &["destroy", &name]);
        let _ = lab.virsh(host, &["undefine", &name]);
    }
}
