//! What checks of a move ask libvirt: CPUs, definitions, sizes of disks.

use std::ffi::{CString, c_char};
use std::ptr;

use drover_model::CpuPlatform;
use virt_sys as sys;

use super::domain::check;
use super::{Connection, Domain, c_string, last_error, take_string};
use crate::error::LibvirtError;

/// A platform's words as C strings; what is not given is libvirt's default.
struct Words {
    virt_type: Option<CString>,
    arch: Option<CString>,
    machine: Option<CString>,
}

impl Words {
    fn of(platform: &CpuPlatform) -> Result<Self, LibvirtError> {
        let word = |text: &str| (!text.is_empty()).then(|| c_string(text)).transpose();
        Ok(Self {
            virt_type: word(&platform.virt_type)?,
            arch: word(&platform.arch)?,
            machine: word(&platform.machine)?,
        })
    }
}

fn pointer(word: Option<&CString>) -> *const c_char {
    word.map_or(ptr::null(), |word| word.as_ptr())
}

impl Connection {
    /// Domain capabilities XML of a platform.
    pub(crate) fn domain_capabilities(
        &self,
        platform: &CpuPlatform,
    ) -> Result<String, LibvirtError> {
        let words = Words::of(platform)?;
        // SAFETY: `self.raw` is open, the words outlive the call, null is libvirt's default;
        // the returned string is ours to free.
        take_string(unsafe {
            sys::virConnectGetDomainCapabilities(
                self.raw,
                ptr::null(),
                pointer(words.arch.as_ref()),
                pointer(words.machine.as_ref()),
                pointer(words.virt_type.as_ref()),
                0,
            )
        })
    }

    /// Compares a CPU with what the hypervisor gives on this host; a CPU that it cannot give
    /// is an error that names what it lacks.
    pub(crate) fn compare_cpu(
        &self,
        platform: &CpuPlatform,
        cpu: &str,
    ) -> Result<(), LibvirtError> {
        let words = Words::of(platform)?;
        let cpu = c_string(cpu)?;
        // SAFETY: `self.raw` is open, the strings outlive the call, null is the default.
        let result = unsafe {
            sys::virConnectCompareHypervisorCPU(
                self.raw,
                ptr::null(),
                pointer(words.arch.as_ref()),
                pointer(words.machine.as_ref()),
                pointer(words.virt_type.as_ref()),
                cpu.as_ptr(),
                sys::VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE,
            )
        };
        check(result)
    }

    /// XML of the CPU that fits each of these, expanded and migratable.
    pub(crate) fn baseline_cpu(
        &self,
        platform: &CpuPlatform,
        cpus: &[String],
    ) -> Result<String, LibvirtError> {
        let words = Words::of(platform)?;
        let cpus: Vec<CString> = cpus.iter().map(|cpu| c_string(cpu)).collect::<Result<_, _>>()?;
        let mut list: Vec<*const c_char> = cpus.iter().map(|cpu| cpu.as_ptr()).collect();
        let count = u32::try_from(list.len())
            .map_err(|_| LibvirtError::of_ours("too many CPUs for one baseline".to_owned()))?;
        let flags = sys::VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
            | sys::VIR_CONNECT_BASELINE_CPU_MIGRATABLE;
        // SAFETY: `self.raw` is open; the list has `count` strings that, like the words,
        // outlive the call; libvirt writes to none of them; the result is ours to free.
        take_string(unsafe {
            sys::virConnectBaselineHypervisorCPU(
                self.raw,
                ptr::null(),
                pointer(words.arch.as_ref()),
                pointer(words.machine.as_ref()),
                pointer(words.virt_type.as_ref()),
                list.as_mut_ptr(),
                count,
                flags,
            )
        })
    }

    /// Stores a definition; of a domain that is active it is the one of its next start.
    pub(crate) fn define(&self, xml: &str) -> Result<(), LibvirtError> {
        let xml = c_string(xml)?;
        // SAFETY: `self.raw` is open and `xml` outlives the call.
        let raw = unsafe { sys::virDomainDefineXMLFlags(self.raw, xml.as_ptr(), 0) };
        if raw.is_null() {
            return Err(last_error());
        }
        drop(Domain::from_raw(raw));
        Ok(())
    }
}

impl Domain {
    /// The XML that a migration would send to the target.
    pub(crate) fn migratable_xml(&self) -> Result<String, LibvirtError> {
        // SAFETY: the reference is live; the returned string is ours to free.
        take_string(unsafe { sys::virDomainGetXMLDesc(self.raw(), sys::VIR_DOMAIN_XML_MIGRATABLE) })
    }

    /// The stored definition, passwords included: to be stored again.
    pub(crate) fn stored_xml(&self) -> Result<String, LibvirtError> {
        let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
        // SAFETY: the reference is live; the returned string is ours to free.
        take_string(unsafe { sys::virDomainGetXMLDesc(self.raw(), flags) })
    }

    /// Size of a disk as the guest sees it, bytes.
    pub(crate) fn capacity(&self, target: &str) -> Result<u64, LibvirtError> {
        let target = c_string(target)?;
        let mut block = sys::virDomainBlockInfo { capacity: 0, allocation: 0, physical: 0 };
        // SAFETY: the reference is live; name and structure outlive the call.
        check(unsafe {
            sys::virDomainGetBlockInfo(self.raw(), target.as_ptr(), &raw mut block, 0)
        })?;
        Ok(block.capacity)
    }
}
