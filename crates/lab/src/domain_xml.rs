//! A lab guest's domain XML: pure.

use crate::addresses::{Network, STORAGE_SERVER, guest_address, number_of};
use crate::storage::{GuestDisk, GuestLease, GuestStorage, LOCAL, LOCKSPACE, Locks, target_name};

/// Where hosts see the kernel and the shared disks.
pub(crate) const BOOT: &str = "/srv/boot";
/// Shared storage, the same on all hosts.
pub(crate) const SHARED: &str = "/srv/shared";
/// The lockspace that libvirt's sanlock plugin joins by itself.
pub(crate) const SANLOCK_LOCKSPACE: &str = "__LIBVIRT__DISKS__";

/// Slot of a second rng on the root bus: only there has it the registers of a legacy device, by
/// which the guest drives its ring itself (`guest/ring.c`).
const RING_SLOT: u8 = 0x10;

/// A guest's memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// What it is defined with, MiB.
    pub(crate) mib: u64,
    /// It gets 8 KiB more, so that its length is no multiple of 256 KiB.
    pub(crate) is_odd: bool,
}

/// What odd memory adds to it, bytes.
const ODD_BYTES: u64 = 8 << 10;

/// The XML of guest `vmN`.
pub(crate) fn domain_xml(
    guest: &str,
    memory: Memory,
    storage: GuestStorage,
    locks: Locks,
) -> Option<String> {
    let number = number_of(guest)?;
    let address = guest_address(guest)?;
    let disk = disk(guest, storage.disk);
    let lease = match storage.lease {
        GuestLease::None => String::new(),
        GuestLease::Explicit => lease(guest, locks),
    };
    let memory_mib = memory.mib;
    let odd = if memory.is_odd { odd_memory(memory_mib) } else { String::new() };
    Some(format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{guest}</name>
  <uuid>11111111-2222-4333-8444-{number:012}</uuid>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu placement='static'>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <kernel>{BOOT}/vmlinuz</kernel>
    <initrd>{BOOT}/initramfs.gz</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 lab.name={guest} lab.address={address}/24</cmdline>
  </os>
  <features><acpi/><tcg><tb-cache unit='MiB'>32</tb-cache></tcg></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {disk}
    {lease}<interface type='bridge'>
      <mac address='52:54:00:88:00:{number:02x}'/>
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>
    <serial type='file'><source path='/var/log/libvirt/qemu/{guest}-console.log'/></serial>
    <memballoon model='virtio'><stats period='2'/></memballoon>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
      <address type='pci' domain='0x0000' bus='0x00' slot='{RING_SLOT:#04x}' function='0x0'/>
    </rng>
  </devices>
{odd}</domain>
"
    ))
}

/// libvirt rounds memory up to whole MiB: QEMU is given another block in place of libvirt's.
fn odd_memory(mib: u64) -> String {
    let bytes = (mib << 20) + ODD_BYTES;
    let words = [
        "-object".to_owned(),
        format!("memory-backend-ram,id=odd,size={bytes}"),
        "-machine".to_owned(),
        "memory-backend=odd".to_owned(),
        "-m".to_owned(),
        format!("{}K", bytes >> 10),
    ];
    let words = words.map(|word| format!("    <qemu:arg value='{word}'/>\n")).concat();
    format!("  <qemu:commandline>\n{words}  </qemu:commandline>\n")
}

fn disk(guest: &str, disk: GuestDisk) -> String {
    let (kind, source) = match disk {
        GuestDisk::Shared => ("file", format!("<source file='{SHARED}/{guest}.img'/>")),
        GuestDisk::Local => ("file", format!("<source file='{LOCAL}/{guest}.img'/>")),
        GuestDisk::Iscsi => (
            "network",
            format!(
                "<source protocol='iscsi' name='{}/1'>
        <host name='{}' port='3260'/>
        <initiator><iqn name='iqn.2026-01.lab.drover:initiator'/></initiator>
      </source>",
                target_name(guest),
                Network::Storage.address(STORAGE_SERVER)
            ),
        ),
    };
    format!(
        "<disk type='{kind}' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      {source}
      <target dev='vda' bus='virtio'/>
    </disk>"
    )
}

/// The guest's lease. virtlockd wants the directory and, within it, the lockspace;
/// sanlock a file that holds the lease.
fn lease(guest: &str, locks: Locks) -> String {
    let (lockspace, path) = match locks {
        Locks::Sanlock => (SANLOCK_LOCKSPACE, format!("{SHARED}/{LOCKSPACE}/{guest}.lease")),
        Locks::Lockd | Locks::None => (LOCKSPACE, SHARED.to_owned()),
    };
    format!(
        "<lease>
      <lockspace>{lockspace}</lockspace>
      <key>{guest}</key>
      <target path='{path}'/>
    </lease>
    "
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(disk: GuestDisk, lease: GuestLease) -> String {
        let memory = Memory { mib: 128, is_odd: false };
        domain_xml("vm3", memory, GuestStorage { disk, lease }, Locks::Lockd).unwrap()
    }

    #[test]
    fn odd_memory_is_8_kib_longer() {
        assert!(!xml(GuestDisk::Shared, GuestLease::None).contains("qemu:arg"));
        let odd = odd_memory(128);
        assert!(odd.contains("size=134225920'") && odd.contains("'131080K'"), "{odd}");
    }

    #[test]
    fn names_lead_to_addresses_and_disks() {
        let shared = xml(GuestDisk::Shared, GuestLease::None);
        for part in ["<name>vm3</name>", "000000000003", "10.88.0.13/24", "/srv/shared/vm3.img"] {
            assert!(shared.contains(part), "{part}");
        }
        assert!(!shared.contains("<lease>"));
    }

    #[test]
    fn each_kind_of_disk_has_its_source() {
        let iscsi = xml(GuestDisk::Iscsi, GuestLease::Explicit);
        assert!(iscsi.contains("name='iqn.2026-01.lab.drover:vm3/1'"), "{iscsi}");
        assert!(iscsi.contains("<host name='10.99.0.101' port='3260'/>"), "{iscsi}");
        assert!(iscsi.contains("<key>vm3</key>"), "{iscsi}");
        let local = xml(GuestDisk::Local, GuestLease::None);
        assert!(local.contains("/var/lib/libvirt/images/vm3.img"), "{local}");
    }
}
