//! What the host can do: libvirt's description, the kernel, and the budget.

use std::path::Path;

use drover_model::{Bytes, Cores, HostCapabilities, HostNic, NetworkDescription, PowerSource};
use drover_ports::HostDescription;

use super::{nics, parse};
use crate::config::Config;
use crate::join::libvirt_pki::{DEFAULT_ROOT, qemu_is_ready};

/// What the kernel says of the machine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Machine {
    /// Processors online.
    pub cpus: usize,
    /// Installed memory.
    pub memory: Bytes,
    /// `uname -r`.
    pub kernel: String,
    /// Microcode revision.
    pub microcode: Option<String>,
    /// Host bridges.
    pub bridges: Vec<NetworkDescription>,
    /// QEMU has its certificates.
    pub migration_tls: bool,
    /// libvirt's lock manager for guests.
    pub lock_manager: Option<String>,
    /// Cards with IPv4 addresses.
    pub nics: Vec<HostNic>,
}

/// libvirt tells nobody its lock manager: it is read where libvirt reads it.
const QEMU_CONF: &str = "/etc/libvirt/qemu.conf";

impl Machine {
    /// Reads it now.
    pub fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cpus: parse::cpu_count(&text("/proc/stat")),
            memory: Bytes(parse::kibibytes(&text("/proc/meminfo"), "MemTotal").unwrap_or(0)),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            microcode: parse::microcode(&text("/proc/cpuinfo")),
            bridges: bridges(Path::new("/sys/class/net")),
            migration_tls: qemu_is_ready(Path::new(DEFAULT_ROOT)),
            lock_manager: parse::lock_manager(&text(QEMU_CONF)),
            nics: nics::nics(),
        }
    }
}

/// Joins the parts. The budget, where there is one, stands for the machine's size.
pub fn capabilities(
    description: HostDescription,
    machine: Machine,
    power_sources: Vec<PowerSource>,
    config: &Config,
) -> HostCapabilities {
    let budget = config.accounting.budget();
    #[expect(clippy::cast_precision_loss, reason = "processors are few")]
    let cores = Cores(machine.cpus as f64);
    let mut cpu = description.cpu;
    cpu.microcode = cpu.microcode.or(machine.microcode);
    HostCapabilities {
        cpu,
        cores: budget.map_or(cores, |budget| budget.cores),
        memory: budget.map_or(machine.memory, |budget| budget.memory),
        kernel: machine.kernel,
        qemu: description.qemu,
        libvirt: description.libvirt,
        virt_types: description.virt_types,
        machine_types: description.machine_types,
        pools: description.pools,
        networks: description.networks.into_iter().chain(machine.bridges).collect(),
        shared_paths: config.shared_paths.clone(),
        migration_tls: machine.migration_tls,
        lock_manager: machine.lock_manager,
        nics: machine.nics,
        power_sources,
    }
}

fn bridges(class_net: &Path) -> Vec<NetworkDescription> {
    let Ok(entries) = std::fs::read_dir(class_net) else { return Vec::new() };
    let mut found: Vec<NetworkDescription> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("bridge").exists())
        .filter_map(|entry| {
            let flags = std::fs::read_to_string(entry.path().join("flags")).unwrap_or_default();
            Some(NetworkDescription {
                name: entry.file_name().into_string().ok()?,
                kind: "bridge".to_owned(),
                active: is_up(&flags),
            })
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// IFF_UP in /sys/class/net/*/flags. Not operstate: a bridge without ports is "down" there.
fn is_up(flags: &str) -> bool {
    flags
        .trim()
        .strip_prefix("0x")
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .is_some_and(|flags| flags & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_stands_for_the_machine() {
        let machine = Machine { cpus: 8, memory: Bytes(64 << 30), ..Machine::default() };
        let whole = Config::parse("").unwrap();
        let part = Config::parse(
            "shared_paths = [\"/srv\"]\n[accounting]\nmode = \"processes\"\ncores = 1.5\nmemory = \"2GiB\"",
        )
        .unwrap();
        let of = |config| capabilities(HostDescription::default(), machine.clone(), vec![], config);
        assert_eq!((of(&whole).cores, of(&whole).memory), (Cores(8.0), Bytes(64 << 30)));
        assert_eq!((of(&part).cores, of(&part).memory), (Cores(1.5), Bytes(2 << 30)));
        assert_eq!(of(&part).shared_paths, ["/srv"]);
    }

    #[test]
    fn a_bridge_is_active_when_it_is_set_up_and_not_by_its_ports() {
        let root = tempfile::tempdir().unwrap();
        for (name, flags) in [("br1", "0x1002\n"), ("br0", "0x1003\n")] {
            std::fs::create_dir_all(root.path().join(name).join("bridge")).unwrap();
            std::fs::write(root.path().join(name).join("flags"), flags).unwrap();
        }
        std::fs::create_dir(root.path().join("eth0")).unwrap();
        let found = bridges(root.path());
        let found: Vec<_> = found.iter().map(|n| (n.name.as_str(), n.active)).collect();
        assert_eq!(found, [("br0", true), ("br1", false)]);
    }
}
