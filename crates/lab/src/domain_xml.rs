//! A lab guest's domain XML: pure.

use crate::addresses::{guest_address, number_of};

/// Where hosts see the kernel and the shared disks.
pub(crate) const BOOT: &str = "/srv/boot";
/// Shared storage, the same on all hosts.
pub(crate) const SHARED: &str = "/srv/shared";

/// The XML of guest `vmN`.
pub(crate) fn domain_xml(guest: &str, memory_mib: u64) -> Option<String> {
    let number = number_of(guest)?;
    let address = guest_address(guest)?;
    Some(format!(
        "<domain type='qemu'>
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
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='{SHARED}/{guest}.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='52:54:00:88:00:{number:02x}'/>
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>
    <serial type='file'><source path='/var/log/libvirt/qemu/{guest}-console.log'/></serial>
    <memballoon model='virtio'><stats period='2'/></memballoon>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_addresses_and_disks() {
        let xml = domain_xml("vm3", 128).unwrap();
        for part in ["<name>vm3</name>", "000000000003", "10.88.0.13/24", "/srv/shared/vm3.img"] {
            assert!(xml.contains(part), "{part}");
        }
    }
}
