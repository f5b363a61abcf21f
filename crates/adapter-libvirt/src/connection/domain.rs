//! One domain: a reference that is freed when it is dropped.

use std::ffi::{CStr, c_int};
use std::ptr;

use drover_model::GuestId;
use virt_sys as sys;

use super::{Params, c_string, last_error, params, take_string};
use crate::error::LibvirtError;

/// A reference to a domain. Usable from any thread.
#[derive(Debug)]
pub(crate) struct Domain {
    raw: sys::virDomainPtr,
}

// SAFETY: libvirt documents virDomainPtr as usable from several threads at once.
unsafe impl Send for Domain {}
// SAFETY: as above.
unsafe impl Sync for Domain {}

/// libvirt's state and reason numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DomainState {
    /// virDomainState.
    pub(crate) state: u32,
    /// The reason enumeration that belongs to the state.
    pub(crate) reason: u32,
}

/// How a domain is sent away.
#[derive(Debug)]
pub(crate) struct MigrateOut {
    /// libvirt URI of the target, as the source's libvirtd reaches it.
    pub(crate) peer_uri: String,
    /// Parameters by libvirt's names; a name may come several times.
    pub(crate) params: Vec<(&'static CStr, Value)>,
    /// Flags of virDomainMigrateFlags.
    pub(crate) flags: u32,
}

/// A parameter's value, in the type that libvirt wants for its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// String.
    Text(String),
    /// Unsigned long long.
    Long(u64),
    /// Int.
    Int(i32),
}

impl Domain {
    /// Takes over the reference.
    pub(super) const fn from_raw(raw: sys::virDomainPtr) -> Self {
        Self { raw }
    }

    /// The pointer, valid for as long as this is.
    pub(super) const fn raw(&self) -> sys::virDomainPtr {
        self.raw
    }

    /// Its UUID.
    pub(crate) fn uuid(&self) -> Option<GuestId> {
        // SAFETY: `self.raw` is a live reference.
        unsafe { uuid_of(self.raw) }
    }

    /// Live XML, or the stored one of a domain that is shut off.
    pub(crate) fn xml(&self) -> Result<String, LibvirtError> {
        // SAFETY: `self.raw` is a live reference; the returned string is ours to free.
        take_string(unsafe { sys::virDomainGetXMLDesc(self.raw, 0) })
    }

    /// XML as the domain would be started here, secrets included: the stored one, or the
    /// live one of a domain that has no other.
    pub(crate) fn definition(&self) -> Result<String, LibvirtError> {
        let kept = self.is_persistent();
        self.secure_xml(if kept {
            sys::VIR_DOMAIN_XML_INACTIVE
        } else {
            sys::VIR_DOMAIN_XML_MIGRATABLE
        })
    }

    /// Live XML as another host takes it, secrets included.
    pub(crate) fn live_definition(&self) -> Result<String, LibvirtError> {
        self.secure_xml(sys::VIR_DOMAIN_XML_MIGRATABLE)
    }

    /// Whether its memory was saved, to be gone on with at its next start.
    pub(crate) fn is_saved(&self) -> bool {
        // SAFETY: `self.raw` is a live reference.
        unsafe { sys::virDomainHasManagedSaveImage(self.raw, 0) == 1 }
    }

    fn secure_xml(&self, more: u32) -> Result<String, LibvirtError> {
        let flags = sys::VIR_DOMAIN_XML_SECURE | more;
        // SAFETY: `self.raw` is a live reference; the returned string is ours to free.
        take_string(unsafe { sys::virDomainGetXMLDesc(self.raw, flags) })
    }

    /// Starts a domain that is defined.
    pub(crate) fn create(&self) -> Result<(), LibvirtError> {
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainCreateWithFlags(self.raw, 0) })
    }

    /// State and reason.
    pub(crate) fn state(&self) -> Result<DomainState, LibvirtError> {
        let (mut state, mut reason): (c_int, c_int) = (0, 0);
        // SAFETY: `self.raw` is a live reference and both numbers outlive the call.
        let result =
            unsafe { sys::virDomainGetState(self.raw, &raw mut state, &raw mut reason, 0) };
        check(result)?;
        let number = |value: c_int| u32::try_from(value).unwrap_or_default();
        Ok(DomainState { state: number(state), reason: number(reason) })
    }

    /// Whether libvirt is at work on it at this moment, inside a migration or not. Asks libvirt
    /// alone, and needs no lock. (How long it has been is not told: the time is that of the whole
    /// migration.)
    pub(crate) fn is_busy(&self) -> Result<bool, LibvirtError> {
        let mut info = sys::virDomainControlInfo { state: 0, details: 0, stateTime: 0 };
        // SAFETY: `self.raw` is a live reference and `info` outlives the call.
        check(unsafe { sys::virDomainGetControlInfo(self.raw, &raw mut info, 0) })?;
        Ok([sys::VIR_DOMAIN_CONTROL_JOB, sys::VIR_DOMAIN_CONTROL_OCCUPIED].contains(&info.state))
    }

    /// Whether its definition is kept when it stops.
    pub(crate) fn is_persistent(&self) -> bool {
        // SAFETY: `self.raw` is a live reference.
        unsafe { sys::virDomainIsPersistent(self.raw) == 1 }
    }

    /// Sends the domain to a peer; returns when the job is over.
    pub(crate) fn migrate(&self, out: &MigrateOut) -> Result<(), LibvirtError> {
        let peer = c_string(&out.peer_uri)?;
        let mut list = ParamList::default();
        for (name, value) in &out.params {
            list.add(name, value)?;
        }
        // SAFETY: `self.raw` is a live reference; `peer` and the list outlive the call.
        check(unsafe {
            sys::virDomainMigrateToURI3(
                self.raw,
                peer.as_ptr(),
                list.raw,
                u32::try_from(list.count).unwrap_or_default(),
                out.flags,
            )
        })
    }

    /// Switches the running migration to post-copy.
    pub(crate) fn start_post_copy(&self) -> Result<(), LibvirtError> {
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainMigrateStartPostCopy(self.raw, 0) })
    }

    /// Cap on the running migration, MiB/s.
    pub(crate) fn set_max_speed(&self, mib_per_s: u64) -> Result<(), LibvirtError> {
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainMigrateSetMaxSpeed(self.raw, mib_per_s, 0) })
    }

    /// The same for what follows after a switch to post-copy.
    pub(crate) fn set_max_post_copy_speed(&self, mib_per_s: u64) -> Result<(), LibvirtError> {
        let flags = sys::VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY;
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainMigrateSetMaxSpeed(self.raw, mib_per_s, flags) })
    }

    /// Ends a post-copy migration whose connection hangs, so that it can be gone on with.
    pub(crate) fn abort_post_copy(&self) -> Result<(), LibvirtError> {
        let flags = sys::VIR_DOMAIN_ABORT_JOB_POSTCOPY;
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainAbortJobFlags(self.raw, flags) })
    }

    /// Longest pause of the switch-over, milliseconds.
    pub(crate) fn set_max_downtime(&self, millis: u64) -> Result<(), LibvirtError> {
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainMigrateSetMaxDowntime(self.raw, millis, 0) })
    }

    /// Type (virDomainJobType) and statistics of the running job.
    pub(crate) fn job(&self) -> Result<(u32, Params), LibvirtError> {
        let mut kind: c_int = 0;
        let mut list: sys::virTypedParameterPtr = ptr::null_mut();
        let mut count: c_int = 0;
        // SAFETY: `self.raw` is a live reference; on success libvirt allocated the list,
        // which is copied and then freed.
        unsafe {
            let result = sys::virDomainGetJobStats(
                self.raw,
                &raw mut kind,
                &raw mut list,
                &raw mut count,
                0,
            );
            check(result)?;
            let copied = params::copy(list, count);
            sys::virTypedParamsFree(list, count);
            Ok((u32::try_from(kind).unwrap_or_default(), copied))
        }
    }

    /// Ends the running job.
    pub(crate) fn abort_job(&self) -> Result<(), LibvirtError> {
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainAbortJob(self.raw) })
    }

    /// Pauses the domain.
    pub(crate) fn suspend(&self) -> Result<(), LibvirtError> {
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainSuspend(self.raw) })
    }

    /// Lets a paused domain run.
    pub(crate) fn resume(&self) -> Result<(), LibvirtError> {
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainResume(self.raw) })
    }

    /// Ends the domain's process.
    pub(crate) fn destroy(&self) -> Result<(), LibvirtError> {
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainDestroyFlags(self.raw, 0) })
    }

    /// Removes the definition.
    pub(crate) fn undefine(&self) -> Result<(), LibvirtError> {
        let flags = sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | sys::VIR_DOMAIN_UNDEFINE_KEEP_TPM;
        // SAFETY: `self.raw` is a live reference.
        check(unsafe { sys::virDomainUndefineFlags(self.raw, flags) })
    }
}

/// A list of typed parameters that libvirt allocated for us.
#[derive(Debug)]
struct ParamList {
    raw: sys::virTypedParameterPtr,
    count: c_int,
    room: c_int,
}

impl Default for ParamList {
    fn default() -> Self {
        Self { raw: ptr::null_mut(), count: 0, room: 0 }
    }
}

impl ParamList {
    fn add(&mut self, name: &CStr, value: &Value) -> Result<(), LibvirtError> {
        let (list, count, room) = (&raw mut self.raw, &raw mut self.count, &raw mut self.room);
        let name = name.as_ptr();
        // SAFETY: the three pointers are this list's, which libvirt grows; name and text are
        // NUL-terminated, outlive the call and are copied.
        let added = unsafe {
            match value {
                Value::Text(text) => {
                    let text = c_string(text)?;
                    sys::virTypedParamsAddString(list, count, room, name, text.as_ptr())
                }
                Value::Long(number) => {
                    sys::virTypedParamsAddULLong(list, count, room, name, *number)
                }
                Value::Int(number) => sys::virTypedParamsAddInt(list, count, room, name, *number),
            }
        };
        check(added)
    }
}

impl Drop for ParamList {
    fn drop(&mut self) {
        // SAFETY: the list is libvirt's own allocation of `count` parameters, or null, and
        // is not used afterwards.
        unsafe { sys::virTypedParamsFree(self.raw, self.count) };
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and is given back once, here.
        unsafe { sys::virDomainFree(self.raw) };
    }
}

/// The UUID of a domain.
///
/// # Safety
/// `raw` is a valid domain.
pub(super) unsafe fn uuid_of(raw: sys::virDomainPtr) -> Option<GuestId> {
    let mut bytes = [0u8; 16];
    // SAFETY: the buffer has VIR_UUID_BUFLEN = 16 bytes.
    let result = unsafe { sys::virDomainGetUUID(raw, bytes.as_mut_ptr()) };
    (result == 0).then(|| GuestId::from_bytes(bytes))
}

pub(super) fn check(result: c_int) -> Result<(), LibvirtError> {
    if result < 0 { Err(last_error()) } else { Ok(()) }
}
