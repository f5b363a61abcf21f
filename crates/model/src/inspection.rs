//! What hosts tell when a move is looked at before it begins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Bytes, Guest, HostId};

/// What CPUs are compared for: the same CPU may fit with one hypervisor and not with another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct CpuPlatform {
    /// libvirt's domain type: `kvm` or `qemu`.
    pub virt_type: String,
    /// `x86_64`, `aarch64`, …; empty for the host's own.
    pub arch: String,
    /// Machine type; empty for libvirt's default.
    pub machine: String,
}

/// A CPU by model and features, as every libvirt knows it: a guest that is given it starts
/// with it or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamedCpu {
    /// libvirt's model name.
    pub model: String,
    /// Vendor, e.g. `Intel`; none where it does not matter.
    pub vendor: Option<String>,
    /// Features and whether the guest must have them (true) or must not (false).
    pub features: BTreeMap<String, bool>,
}

impl NamedCpu {
    /// libvirt's `<cpu>` element that gives a guest exactly this CPU on any host that has it.
    pub fn xml(&self) -> String {
        let mut xml = String::from("<cpu mode='custom' match='exact' check='partial'>\n");
        xml.push_str(&format!("  <model fallback='forbid'>{}</model>\n", escaped(&self.model)));
        if let Some(vendor) = &self.vendor {
            xml.push_str(&format!("  <vendor>{}</vendor>\n", escaped(vendor)));
        }
        for (name, required) in &self.features {
            let policy = if *required { "require" } else { "disable" };
            let name = escaped(name);
            xml.push_str(&format!("  <feature policy='{policy}' name='{name}'/>\n"));
        }
        xml.push_str("</cpu>");
        xml
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&apos;")
}

/// A device or setting that may keep a guest where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum TyingDevice {
    /// A PCI device of the host, a virtual function or a mediated device.
    Vfio {
        /// How libvirt names it.
        name: String,
    },
    /// A USB device of the host.
    HostUsb {
        /// How libvirt names it.
        name: String,
    },
    /// A SCSI device of the host.
    HostScsi {
        /// How libvirt names it.
        name: String,
    },
    /// A device whose other side is a process on the host (network card or disk).
    VhostUser {
        /// How the guest or libvirt names it.
        name: String,
    },
    /// A directory of the host over 9p.
    Plan9 {
        /// Its tag in the guest.
        tag: String,
    },
    /// A directory of the host over virtiofs.
    Virtiofs {
        /// Its tag in the guest.
        tag: String,
    },
    /// Memory shared with other guests or processes of the host (ivshmem).
    SharedMemory {
        /// Its name.
        name: String,
    },
    /// A software TPM whose state is files on the host.
    TpmEmulator,
    /// The host's own TPM.
    TpmPassthrough,
    /// Memory encrypted with a key of the host's processor.
    EncryptedMemory {
        /// libvirt's type: `sev`, `sev-snp`, `tdx`, …
        name: String,
    },
    /// A device that libvirt passes on from the host and that is none of the above.
    Other {
        /// How libvirt names it.
        name: String,
    },
}

/// What a guest's disk is beyond [`crate::Disk`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Medium {
    /// Name in the guest, as in [`crate::Disk`].
    pub target: String,
    /// libvirt's device: `disk`, `cdrom`, `floppy`, `lun`.
    pub device: String,
    /// `raw`, `qcow2`, …; none where libvirt does not say.
    pub format: Option<String>,
    /// Its size as the guest sees it; none where libvirt does not tell.
    pub capacity: Option<Bytes>,
}

/// A guest as its host knows it, with all that checks of a move need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestInspection {
    /// The guest, live.
    pub guest: Guest,
    /// The host's UUID as libvirt tells it now.
    pub host_uuid: Option<HostId>,
    /// Its CPU as it must be offered elsewhere: the live one of a running guest, the stored
    /// one of a guest that is shut off. libvirt's XML; none for a guest without.
    pub cpu_xml: Option<String>,
    /// Names of the features that [`GuestInspection::cpu_xml`] requires beyond its model.
    pub cpu_features: Vec<String>,
    /// Page sizes, KiB, that its memory must come from; empty for ordinary pages.
    pub hugepages_kib: Vec<u64>,
    /// Its disks, beyond what [`Guest`] says.
    pub media: Vec<Medium>,
    /// What may tie it to its host.
    pub ties: Vec<TyingDevice>,
    /// Files that it needs besides its disks: firmware, kernel, leases.
    pub files: Vec<String>,
}

/// What a target is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IncomingQuestion {
    /// What the CPU is compared for.
    pub platform: CpuPlatform,
    /// [`GuestInspection::cpu_xml`].
    pub cpu_xml: Option<String>,
    /// Paths that the guest opens.
    pub paths: Vec<String>,
}

/// Whether a guest's CPU can be had on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum CpuFit {
    /// It can.
    Fits,
    /// It cannot.
    Lacks {
        /// Features that the host cannot give; empty where libvirt names none.
        features: Vec<String>,
        /// What libvirt said.
        said: String,
    },
    /// libvirt cannot tell.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Free pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreePages {
    /// Size of a page, KiB.
    pub size_kib: u64,
    /// How many are free.
    pub free: u64,
}

/// What a target answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingCheck {
    /// The host's UUID as libvirt tells it now.
    pub host_uuid: Option<HostId>,
    /// Whether it has the guest's CPU.
    pub cpu: CpuFit,
    /// Free huge pages.
    pub hugepages: Vec<FreePages>,
    /// Those of the asked paths that are not there.
    pub missing_paths: Vec<String>,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortPurpose {
    /// QEMU sends the guest's memory and disks there.
    MigrationData,
    /// libvirtd listens there.
    Libvirt,
}

/// What came of a connection to a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PortOutcome {
    /// It was taken.
    Open,
    /// Nobody listens, or a firewall rejects.
    Refused,
    /// No answer: a firewall that drops, or no route back.
    NoAnswer,
    /// It could not be tried.
    Failed {
        /// Why.
        why: String,
    },
}

/// One port that a source tried at a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortProbe {
    /// What for.
    pub purpose: PortPurpose,
    /// Where, as it was dialled.
    pub address: String,
    /// Which port.
    pub port: u16,
    /// What came of it.
    pub outcome: PortOutcome,
}

/// What decides which CPU a host can give: when it changes, so may the CPU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuFingerprint {
    /// Processor model as libvirt names it.
    pub model: String,
    /// Microcode revision.
    pub microcode: Option<String>,
    /// Kernel release.
    pub kernel: String,
    /// The kernel's command line: it may switch features off.
    pub kernel_options: String,
    /// Parameters of the KVM modules, e.g. `kvm_intel.nested`.
    pub kvm: BTreeMap<String, String>,
    /// QEMU version.
    pub qemu: String,
    /// libvirt version.
    pub libvirt: String,
}

/// The CPU that a host can give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuOffer {
    /// libvirt's host-model CPU; none where there is none for this platform.
    pub host_model: Option<NamedCpu>,
    /// What it depends on.
    pub fingerprint: CpuFingerprint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_cpu_is_written_as_libvirt_reads_it() {
        let features = [("avx".to_owned(), true), ("hle".to_owned(), false)].into();
        let cpu = NamedCpu { model: "EPYC".to_owned(), vendor: Some("AMD".to_owned()), features };
        assert_eq!(
            cpu.xml(),
            "<cpu mode='custom' match='exact' check='partial'>\n  \
             <model fallback='forbid'>EPYC</model>\n  <vendor>AMD</vendor>\n  \
             <feature policy='require' name='avx'/>\n  \
             <feature policy='disable' name='hle'/>\n</cpu>"
        );
    }
}
