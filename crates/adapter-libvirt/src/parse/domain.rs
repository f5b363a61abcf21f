//! Domain XML and state.

use drover_model::{
    Disk, DiskSource, Guest, GuestId, GuestState, HostId, Lease, Mib, Nic, NicSource, Vcpus,
};
use roxmltree::{Document, Node};
use virt_sys as sys;

use super::{attribute, child, text};
use crate::connection::DomainState;

/// Reads a domain's live XML. None when it lacks what every domain has.
pub(crate) fn guest(
    xml: &str,
    id: GuestId,
    host: HostId,
    state: GuestState,
    persistent: bool,
) -> Option<Guest> {
    let document = Document::parse(xml).ok()?;
    let root = document.root_element();
    let memory = child(root, "memory").and_then(mib)?;
    let kind = child(root, "os").and_then(|os| child(os, "type"));
    let vcpu = child(root, "vcpu")?;
    let online = vcpu.attribute("current").or_else(|| vcpu.text())?.trim().parse().ok()?;
    let cpu = child(root, "cpu");
    let devices = child(root, "devices");
    let of = |name: &'static str| {
        devices
            .into_iter()
            .flat_map(|devices| devices.children())
            .filter(move |node| node.has_tag_name(name))
    };
    Some(Guest {
        id,
        name: text(root, "name")?,
        host,
        state,
        vcpus: Vcpus(online),
        memory,
        current_memory: child(root, "currentMemory").and_then(mib).unwrap_or(memory),
        virt_type: attribute(root, "type").unwrap_or_default(),
        qemu: None,
        arch: kind.and_then(|kind| attribute(kind, "arch")).unwrap_or_default(),
        machine: kind.and_then(|kind| attribute(kind, "machine")).unwrap_or_default(),
        cpu_mode: cpu.and_then(|cpu| attribute(cpu, "mode")).unwrap_or_else(|| "custom".to_owned()),
        cpu_model: cpu.and_then(|cpu| text(cpu, "model")),
        disks: of("disk").map(disk).collect(),
        leases: of("lease").map(lease).collect(),
        nics: of("interface").map(nic).collect(),
        host_devices: u32::try_from(of("hostdev").count()).unwrap_or(u32::MAX),
        persistent,
    })
}

fn mib(node: Node<'_, '_>) -> Option<Mib> {
    let number: u64 = node.text()?.trim().parse().ok()?;
    let bytes = match node.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => number,
        "KB" => number * 1000,
        "MB" => number * 1_000_000,
        "GB" => number * 1_000_000_000,
        "M" | "MiB" => number << 20,
        "G" | "GiB" => number << 30,
        "T" | "TiB" => number << 40,
        _ => number << 10,
    };
    Some(Mib(bytes.div_ceil(1 << 20)))
}

fn disk(node: Node<'_, '_>) -> Disk {
    let source = child(node, "source");
    let value = |name| source.and_then(|source| attribute(source, name)).unwrap_or_default();
    let kind = match (node.attribute("type"), source) {
        (_, None) => DiskSource::Empty,
        (Some("block"), _) => DiskSource::Block { path: value("dev") },
        (Some("network"), _) => {
            DiskSource::Network { protocol: value("protocol"), name: value("name") }
        }
        (Some("volume"), _) => DiskSource::Volume { pool: value("pool"), volume: value("volume") },
        _ => DiskSource::File { path: value("file") },
    };
    let driver = |name| child(node, "driver").and_then(|driver| attribute(driver, name));
    let target = child(node, "target").and_then(|t| attribute(t, "dev")).unwrap_or_default();
    Disk {
        readonly: child(node, "readonly").is_some(),
        shareable: child(node, "shareable").is_some(),
        cache: driver("cache"),
        // Without a word libvirt takes an image as raw: it looks into none.
        format: Some(driver("type").unwrap_or_else(|| "raw".to_owned())),
        ..Disk::new(&target, kind)
    }
}

fn lease(node: Node<'_, '_>) -> Lease {
    let part = |name| text(node, name).unwrap_or_default();
    Lease { lockspace: part("lockspace"), key: part("key") }
}

fn nic(node: Node<'_, '_>) -> Nic {
    let source = child(node, "source");
    let value = |name| source.and_then(|source| attribute(source, name)).unwrap_or_default();
    let kind = match node.attribute("type") {
        Some("bridge") => NicSource::Bridge { name: value("bridge") },
        Some("network") => NicSource::Network { name: value("network") },
        other => NicSource::Other { name: other.unwrap_or("unknown").to_owned() },
    };
    Nic {
        mac: child(node, "mac").and_then(|mac| attribute(mac, "address")).unwrap_or_default(),
        source: kind,
        tap: child(node, "target").and_then(|target| attribute(target, "dev")),
        addresses: Vec::new(),
    }
}

/// Whether it runs here before all of its memory has come.
pub(crate) const fn is_half_here(of: DomainState) -> bool {
    of.state == sys::VIR_DOMAIN_RUNNING && of.reason == sys::VIR_DOMAIN_RUNNING_POSTCOPY
}

/// libvirt's state and reason as the model's.
pub(crate) const fn guest_state(of: DomainState) -> GuestState {
    match of.state {
        // It runs until it misses a page that will not come.
        sys::VIR_DOMAIN_RUNNING if of.reason == sys::VIR_DOMAIN_RUNNING_POSTCOPY_FAILED => {
            GuestState::PostCopyFailed
        }
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => GuestState::Running,
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => match of.reason {
            sys::VIR_DOMAIN_PAUSED_MIGRATION | sys::VIR_DOMAIN_PAUSED_STARTING_UP => {
                GuestState::PausedForMigration
            }
            sys::VIR_DOMAIN_PAUSED_POSTCOPY => GuestState::PostCopy,
            sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED => GuestState::PostCopyFailed,
            sys::VIR_DOMAIN_PAUSED_IOERROR
            | sys::VIR_DOMAIN_PAUSED_WATCHDOG
            | sys::VIR_DOMAIN_PAUSED_CRASHED => GuestState::PausedByFault,
            _ => GuestState::Paused,
        },
        sys::VIR_DOMAIN_SHUTDOWN => GuestState::ShuttingDown,
        sys::VIR_DOMAIN_CRASHED => GuestState::Crashed,
        // A daemon that dies while it ends a guest that has been sent does so when it starts
        // again, and calls it its own doing; and it forgets to remove the definition.
        sys::VIR_DOMAIN_SHUTOFF
            if of.reason == sys::VIR_DOMAIN_SHUTOFF_MIGRATED
                || of.reason == sys::VIR_DOMAIN_SHUTOFF_DAEMON =>
        {
            GuestState::Departed
        }
        _ => GuestState::ShutOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r"<domain type='qemu' id='1'><name>vm1</name>
      <memory unit='KiB'>131072</memory><currentMemory unit='KiB'>98304</currentMemory>
      <vcpu placement='static' current='1'>4</vcpu>
      <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
      <cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model></cpu>
      <devices>
        <disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/>
          <source file='/srv/shared/vm1.img'/><target dev='vda' bus='virtio'/></disk>
        <disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>
        <disk type='network' device='disk'><source protocol='iscsi' name='iqn.x/1'/><target dev='vdb'/></disk>
        <interface type='bridge'><mac address='52:54:00:88:00:0b'/><source bridge='br0'/><target dev='vnet3'/></interface>
        <lease><lockspace>locks</lockspace><key>vm1</key><target path='/srv/shared'/></lease>
      </devices></domain>";

    #[test]
    fn a_domain_is_read() {
        let id = GuestId::from_u128(1);
        let guest = guest(XML, id, HostId::from_u128(2), GuestState::Running, true).unwrap();
        assert_eq!((guest.memory, guest.current_memory), (Mib(128), Mib(96)));
        assert_eq!(guest.vcpus, Vcpus(1));
        assert_eq!(guest.machine, "pc-q35-7.2");
        assert_eq!(guest.cpu_model.as_deref(), Some("qemu64"));
        let sources: Vec<&DiskSource> = guest.disks.iter().map(|disk| &disk.source).collect();
        assert_eq!(*sources[0], DiskSource::File { path: "/srv/shared/vm1.img".to_owned() });
        assert_eq!(*sources[1], DiskSource::Empty);
        assert!(matches!(sources[2], DiskSource::Network { .. }));
        let lease = Lease { lockspace: "locks".to_owned(), key: "vm1".to_owned() };
        assert_eq!(guest.leases, [lease]);
        assert_eq!(guest.nics[0].source, NicSource::Bridge { name: "br0".to_owned() });
        assert_eq!(guest.nics[0].tap.as_deref(), Some("vnet3"));
    }

    #[test]
    fn states_are_reduced_to_what_decisions_need() {
        let state = |state, reason| guest_state(DomainState { state, reason });
        assert_eq!(state(sys::VIR_DOMAIN_RUNNING, 1), GuestState::Running);
        assert_eq!(
            state(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_MIGRATION),
            GuestState::PausedForMigration
        );
        assert_eq!(state(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_USER), GuestState::Paused);
        assert_eq!(
            state(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_IOERROR),
            GuestState::PausedByFault
        );
        let (running, failed) = (sys::VIR_DOMAIN_RUNNING, sys::VIR_DOMAIN_RUNNING_POSTCOPY_FAILED);
        assert_eq!(state(running, failed), GuestState::PostCopyFailed);
        let ahead = DomainState { state: running, reason: sys::VIR_DOMAIN_RUNNING_POSTCOPY };
        assert!(is_half_here(ahead) && guest_state(ahead) == GuestState::Running);
        assert!(!is_half_here(DomainState { state: running, reason: failed }));
        assert_eq!(state(sys::VIR_DOMAIN_SHUTOFF, 1), GuestState::ShutOff);
        for reason in [sys::VIR_DOMAIN_SHUTOFF_MIGRATED, sys::VIR_DOMAIN_SHUTOFF_DAEMON] {
            assert_eq!(state(sys::VIR_DOMAIN_SHUTOFF, reason), GuestState::Departed);
        }
    }
}
