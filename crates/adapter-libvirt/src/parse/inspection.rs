//! What checks of a move need of a domain's XML.

use drover_model::{Medium, TyingDevice};
use roxmltree::{Document, Node};

use super::{attribute, child, text};

/// The parts of an inspection that are in the XML.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Parts {
    /// The `<cpu>` element.
    pub(crate) cpu_xml: Option<String>,
    /// Features that it requires beyond its model.
    pub(crate) cpu_features: Vec<String>,
    /// Page sizes, KiB.
    pub(crate) hugepages_kib: Vec<u64>,
    /// Disks.
    pub(crate) media: Vec<Medium>,
    /// What may tie the guest to its host.
    pub(crate) ties: Vec<TyingDevice>,
    /// Files besides disks.
    pub(crate) files: Vec<String>,
}

/// Size of a huge page where libvirt is not told one, KiB: what x86 and most others have.
const DEFAULT_HUGEPAGE_KIB: u64 = 2048;

/// Reads them. None when it is no XML.
pub(crate) fn parts(xml: &str) -> Option<Parts> {
    let document = Document::parse(xml).ok()?;
    let root = document.root_element();
    let cpu = child(root, "cpu");
    let cpu_features = cpu.map(super::cpu::features).unwrap_or_default();
    Some(Parts {
        cpu_xml: cpu.map(|cpu| xml[cpu.range()].to_owned()),
        cpu_features: cpu_features
            .into_iter()
            .filter_map(|(name, required)| required.then_some(name))
            .collect(),
        hugepages_kib: hugepages(root),
        media: devices(root, "disk").map(medium).collect(),
        ties: ties(root),
        files: files(root),
    })
}

fn devices<'a>(root: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    child(root, "devices")
        .into_iter()
        .flat_map(|devices| devices.children())
        .filter(move |node| node.has_tag_name(name))
}

fn hugepages(root: Node<'_, '_>) -> Vec<u64> {
    let Some(asked) = child(root, "memoryBacking").and_then(|node| child(node, "hugepages")) else {
        return Vec::new();
    };
    let mut sizes: Vec<u64> = asked
        .children()
        .filter(|node| node.has_tag_name("page"))
        .filter_map(|page| {
            let size: u64 = page.attribute("size")?.parse().ok()?;
            Some(match page.attribute("unit").unwrap_or("KiB") {
                "b" | "bytes" => size >> 10,
                "M" | "MiB" => size << 10,
                "G" | "GiB" => size << 20,
                _ => size,
            })
        })
        .collect();
    if sizes.is_empty() {
        sizes.push(DEFAULT_HUGEPAGE_KIB);
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn medium(disk: Node<'_, '_>) -> Medium {
    Medium {
        target: child(disk, "target").and_then(|t| attribute(t, "dev")).unwrap_or_default(),
        device: attribute(disk, "device").unwrap_or_else(|| "disk".to_owned()),
        format: child(disk, "driver").and_then(|driver| attribute(driver, "type")),
        capacity: None,
    }
}

fn files(root: Node<'_, '_>) -> Vec<String> {
    let os = child(root, "os");
    let of_os = |name| os.and_then(|os| text(os, name)).filter(|path| !path.is_empty());
    let leases = devices(root, "lease")
        .filter_map(|lease| child(lease, "target").and_then(|target| attribute(target, "path")));
    [of_os("kernel"), of_os("initrd"), of_os("loader")]
        .into_iter()
        .flatten()
        .chain(leases)
        .collect()
}

fn ties(root: Node<'_, '_>) -> Vec<TyingDevice> {
    let security = child(root, "launchSecurity").map(|node| TyingDevice::EncryptedMemory {
        name: attribute(node, "type").unwrap_or_default(),
    });
    let tpms = devices(root, "tpm").filter_map(|tpm| child(tpm, "backend")).map(|backend| {
        match backend.attribute("type") {
            Some("emulator") => TyingDevice::TpmEmulator,
            Some("passthrough") => TyingDevice::TpmPassthrough,
            other => TyingDevice::Other { name: format!("tpm {}", other.unwrap_or_default()) },
        }
    });
    let shared = devices(root, "shmem").map(|node| TyingDevice::SharedMemory {
        name: attribute(node, "name").unwrap_or_default(),
    });
    devices(root, "hostdev")
        .map(hostdev)
        .chain(devices(root, "interface").filter_map(interface))
        .chain(devices(root, "disk").filter_map(disk))
        .chain(devices(root, "filesystem").map(filesystem))
        .chain(shared)
        .chain(tpms)
        .chain(security)
        .collect()
}

fn hostdev(node: Node<'_, '_>) -> TyingDevice {
    let kind = node.attribute("type").unwrap_or_default();
    let address = child(node, "source").and_then(|source| child(source, "address"));
    let part = |name| address.and_then(|address| address.attribute(name)).unwrap_or("?");
    match kind {
        "pci" => TyingDevice::Vfio {
            name: format!(
                "PCI {}:{}:{}.{}",
                part("domain").trim_start_matches("0x"),
                part("bus").trim_start_matches("0x"),
                part("slot").trim_start_matches("0x"),
                part("function").trim_start_matches("0x"),
            ),
        },
        "mdev" => TyingDevice::Vfio { name: format!("mediated device {}", part("uuid")) },
        "usb" => {
            let id = |name| {
                let source = child(node, "source")?;
                child(source, name).and_then(|part| attribute(part, "id"))
            };
            let name = match (id("vendor"), id("product")) {
                (Some(vendor), Some(product)) => format!("{vendor}:{product}"),
                _ => format!("bus {} device {}", part("bus"), part("device")),
            };
            TyingDevice::HostUsb { name }
        }
        "scsi" | "scsi_host" => {
            let adapter = child(node, "source").and_then(|source| child(source, "adapter"));
            let name = adapter.and_then(|adapter| attribute(adapter, "name"));
            TyingDevice::HostScsi { name: name.unwrap_or_else(|| kind.to_owned()) }
        }
        other => TyingDevice::Other { name: format!("hostdev {other}") },
    }
}

fn interface(node: Node<'_, '_>) -> Option<TyingDevice> {
    let mac = child(node, "mac").and_then(|mac| attribute(mac, "address")).unwrap_or_default();
    match node.attribute("type")? {
        "hostdev" => Some(TyingDevice::Vfio { name: format!("network card {mac}") }),
        "vhostuser" => Some(TyingDevice::VhostUser { name: format!("network card {mac}") }),
        kind @ "vdpa" => Some(TyingDevice::Other { name: format!("{kind} network card {mac}") }),
        _ => None,
    }
}

fn disk(node: Node<'_, '_>) -> Option<TyingDevice> {
    let target = child(node, "target").and_then(|t| attribute(t, "dev")).unwrap_or_default();
    match node.attribute("type")? {
        "vhostuser" => Some(TyingDevice::VhostUser { name: format!("disk {target}") }),
        kind @ ("nvme" | "vhostvdpa") => {
            Some(TyingDevice::Other { name: format!("{kind} disk {target}") })
        }
        _ => None,
    }
}

fn filesystem(node: Node<'_, '_>) -> TyingDevice {
    let tag = child(node, "target").and_then(|t| attribute(t, "dir")).unwrap_or_default();
    match child(node, "driver").and_then(|driver| driver.attribute("type")) {
        Some("virtiofs") => TyingDevice::Virtiofs { tag },
        _ => TyingDevice::Plan9 { tag },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r"<domain type='kvm'><name>a</name>
      <memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>
      <os><type>hvm</type><kernel>/srv/boot/vmlinuz</kernel></os>
      <cpu mode='custom'><model>EPYC</model><feature policy='require' name='invtsc'/>
        <feature policy='disable' name='vme'/></cpu>
      <launchSecurity type='sev'/>
      <devices>
        <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/iso/a'/>
          <target dev='sda'/></disk>
        <disk type='vhostuser' device='disk'><target dev='vdb'/></disk>
        <hostdev type='pci'><source><address domain='0x0000' bus='0x06' slot='0x12' function='0x5'/>
          </source></hostdev>
        <hostdev type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>
        <interface type='vhostuser'><mac address='52:54:00:00:00:01'/></interface>
        <interface type='bridge'><mac address='52:54:00:00:00:02'/></interface>
        <filesystem type='mount'><driver type='virtiofs'/><target dir='v'/></filesystem>
        <filesystem type='mount'><target dir='p'/></filesystem>
        <shmem name='s'/><tpm><backend type='emulator'/></tpm>
        <lease><target path='/srv/leases/a'/></lease>
      </devices></domain>";

    #[test]
    fn what_ties_a_guest_to_its_host_is_found() {
        let found = parts(XML).unwrap();
        let net = "network card 52:54:00:00:00:01".to_owned();
        assert_eq!(
            found.ties,
            [
                TyingDevice::Vfio { name: "PCI 0000:06:12.5".into() },
                TyingDevice::HostUsb { name: "0x1234:0xbeef".into() },
                TyingDevice::VhostUser { name: net },
                TyingDevice::VhostUser { name: "disk vdb".into() },
                TyingDevice::Virtiofs { tag: "v".into() },
                TyingDevice::Plan9 { tag: "p".into() },
                TyingDevice::SharedMemory { name: "s".into() },
                TyingDevice::TpmEmulator,
                TyingDevice::EncryptedMemory { name: "sev".into() },
            ]
        );
    }

    #[test]
    fn the_rest_is_read() {
        let found = parts(XML).unwrap();
        assert_eq!(found.cpu_features, ["invtsc"]);
        assert!(found.cpu_xml.unwrap().starts_with("<cpu mode='custom'>"));
        assert_eq!(found.hugepages_kib, [1 << 20]);
        assert_eq!(found.files, ["/srv/boot/vmlinuz", "/srv/leases/a"]);
        let cdrom = &found.media[0];
        assert_eq!((cdrom.target.as_str(), cdrom.device.as_str()), ("sda", "cdrom"));
        assert_eq!(cdrom.format.as_deref(), Some("raw"));
        assert_eq!(parts("<domain/>"), Some(Parts::default()));
        let plain = "<domain><memoryBacking><hugepages/></memoryBacking></domain>";
        assert_eq!(parts(plain).unwrap().hugepages_kib, [2048]);
    }
}
