//! A small safe layer over libvirt's C library. The only folder with unsafe code.
//!
//! libvirt's rules that this layer keeps: the event loop is registered before the first
//! connection is opened; connections and domains may be used from any thread; no libvirt
//! call is made from inside a callback (callbacks only send to a channel); what libvirt
//! hands out is freed exactly once.

#![allow(unsafe_code, reason = "this folder is the boundary to libvirt's C library")]

mod callbacks;
mod dirty_rate;
mod domain;
mod inspect;
mod params;
mod volume;

use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::Once;
use std::sync::mpsc::Sender;

use drover_model::GuestId;
use virt_sys as sys;

use crate::error::LibvirtError;

pub(crate) use callbacks::Notice;
pub(crate) use domain::{Domain, DomainState, MigrateOut, Value};
pub(crate) use params::{Param, Params};
pub(crate) use volume::Upload;

/// Keepalive probes go out so often, seconds.
const KEEPALIVE_INTERVAL: i32 = 5;
/// So many lost probes end the connection.
const KEEPALIVE_COUNT: u32 = 5;

/// A connection to one libvirtd. Usable from any thread.
#[derive(Debug)]
pub(crate) struct Connection {
    raw: sys::virConnectPtr,
}

// SAFETY: libvirt documents virConnectPtr as usable from several threads at once; it
// counts references itself and locks inside.
unsafe impl Send for Connection {}
// SAFETY: as above.
unsafe impl Sync for Connection {}

impl Connection {
    /// Opens the connection; `notices` gets events until it is closed.
    pub(crate) fn open(uri: &str, notices: Sender<Notice>) -> Result<Self, LibvirtError> {
        start_event_loop();
        let uri = c_string(uri)?;
        // SAFETY: `uri` is a NUL-terminated string that outlives the call.
        let raw = unsafe { sys::virConnectOpen(uri.as_ptr()) };
        if raw.is_null() {
            return Err(last_error());
        }
        let connection = Self { raw };
        callbacks::register(raw, notices)?;
        // SAFETY: `raw` is an open connection. The test driver has no keepalive and says
        // so with -1 or 1, which is fine: its connection cannot break.
        unsafe { sys::virConnectSetKeepAlive(raw, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT) };
        Ok(connection)
    }

    /// Capabilities XML.
    pub(crate) fn capabilities(&self) -> Result<String, LibvirtError> {
        // SAFETY: `self.raw` is open; the returned string is ours to free.
        take_string(unsafe { sys::virConnectGetCapabilities(self.raw) })
    }

    /// Host name as libvirtd knows it.
    pub(crate) fn hostname(&self) -> Result<String, LibvirtError> {
        // SAFETY: `self.raw` is open; the returned string is ours to free.
        take_string(unsafe { sys::virConnectGetHostname(self.raw) })
    }

    /// Versions of the hypervisor (QEMU) and of libvirtd, as `major * 1,000,000 + minor *
    /// 1,000 + release`.
    pub(crate) fn versions(&self) -> Result<(u64, u64), LibvirtError> {
        let (mut hypervisor, mut library) = (0, 0);
        // SAFETY: `self.raw` is open and both numbers outlive the calls.
        let failed = unsafe {
            sys::virConnectGetVersion(self.raw, &raw mut hypervisor) < 0
                || sys::virConnectGetLibVersion(self.raw, &raw mut library) < 0
        };
        if failed { Err(last_error()) } else { Ok((hypervisor, library)) }
    }

    /// Every domain that is active or defined.
    pub(crate) fn domains(&self) -> Result<Vec<Domain>, LibvirtError> {
        let mut list: *mut sys::virDomainPtr = ptr::null_mut();
        // SAFETY: `self.raw` is open; libvirt allocates the list.
        let count = unsafe { sys::virConnectListAllDomains(self.raw, &raw mut list, 0) };
        // SAFETY: on success `list` has `count` domains that are ours, and is ours to free.
        unsafe { take_list(list, count, Domain::from_raw) }
    }

    /// The domain with this UUID.
    pub(crate) fn domain(&self, guest: GuestId) -> Result<Domain, LibvirtError> {
        let uuid = c_string(&guest.to_string())?;
        // SAFETY: `self.raw` is open and `uuid` outlives the call.
        let raw = unsafe { sys::virDomainLookupByUUIDString(self.raw, uuid.as_ptr()) };
        if raw.is_null() { Err(last_error()) } else { Ok(Domain::from_raw(raw)) }
    }

    /// Statistics of every active domain in one call.
    pub(crate) fn stats(&self) -> Result<Vec<(GuestId, Params)>, LibvirtError> {
        let wanted = sys::VIR_DOMAIN_STATS_CPU_TOTAL
            | sys::VIR_DOMAIN_STATS_BALLOON
            | sys::VIR_DOMAIN_STATS_VCPU
            | sys::VIR_DOMAIN_STATS_INTERFACE
            | sys::VIR_DOMAIN_STATS_BLOCK;
        // A domain that is busy with another job is answered without waiting for it.
        let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
            | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
        let mut list: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
        // SAFETY: `self.raw` is open; libvirt allocates the list.
        let count =
            unsafe { sys::virConnectGetAllDomainStats(self.raw, wanted, &raw mut list, flags) };
        let Ok(count) = usize::try_from(count) else { return Err(last_error()) };
        let mut all = Vec::with_capacity(count);
        for index in 0..count {
            // SAFETY: the list has `count` valid records; each has a domain and `nparams`
            // parameters that live until the list is freed below.
            unsafe {
                let record = &**list.add(index);
                if let Some(guest) = domain::uuid_of(record.dom) {
                    all.push((guest, params::copy(record.params, record.nparams)));
                }
            }
        }
        // SAFETY: `list` came from virConnectGetAllDomainStats and is not used afterwards.
        unsafe { sys::virDomainStatsRecordListFree(list) };
        Ok(all)
    }

    /// XML and activity of every storage pool; empty where the driver is missing.
    pub(crate) fn pools(&self) -> Result<Vec<(String, bool)>, LibvirtError> {
        let mut list: *mut sys::virStoragePoolPtr = ptr::null_mut();
        // SAFETY: `self.raw` is open; libvirt allocates the list.
        let count = unsafe { sys::virConnectListAllStoragePools(self.raw, &raw mut list, 0) };
        // SAFETY: on success `list` has `count` pools that are ours; each is freed after
        // its XML was taken.
        let all = unsafe {
            take_list(list, count, |pool| {
                let xml = take_string(sys::virStoragePoolGetXMLDesc(pool, 0));
                let active = sys::virStoragePoolIsActive(pool) == 1;
                sys::virStoragePoolFree(pool);
                xml.ok().map(|xml| (xml, active))
            })
        };
        none_if_unsupported(all).map(|all| all.into_iter().flatten().collect())
    }

    /// Name and activity of every libvirt network; empty where the driver is missing.
    pub(crate) fn networks(&self) -> Result<Vec<(String, bool)>, LibvirtError> {
        let mut list: *mut sys::virNetworkPtr = ptr::null_mut();
        // SAFETY: `self.raw` is open; libvirt allocates the list.
        let count = unsafe { sys::virConnectListAllNetworks(self.raw, &raw mut list, 0) };
        // SAFETY: on success `list` has `count` networks that are ours; each is freed after
        // its name, which it owns, was copied.
        let all = unsafe {
            take_list(list, count, |network| {
                let name = copy_string(sys::virNetworkGetName(network));
                let active = sys::virNetworkIsActive(network) == 1;
                sys::virNetworkFree(network);
                name.map(|name| (name, active))
            })
        };
        none_if_unsupported(all).map(|all| all.into_iter().flatten().collect())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        callbacks::unregister(self.raw);
        // SAFETY: `self.raw` was opened by us and is closed once, here.
        unsafe { sys::virConnectClose(self.raw) };
    }
}

/// Starts libvirt's default event loop in a thread of its own, once for the process.
fn start_event_loop() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // SAFETY: called once, before any connection is opened; the error function does
        // nothing and never unwinds.
        let registered = unsafe {
            sys::virSetErrorFunc(ptr::null_mut(), Some(callbacks::ignore_error));
            sys::virEventRegisterDefaultImpl()
        };
        if registered < 0 {
            tracing::error!("libvirt's event loop cannot be registered");
            return;
        }
        callbacks::keep_loop_awake();
        let spawned = std::thread::Builder::new().name("libvirt-events".to_owned()).spawn(|| {
            loop {
                // SAFETY: the default implementation is registered; this thread is the
                // only one that runs it.
                if unsafe { sys::virEventRunDefaultImpl() } < 0 {
                    tracing::error!(error = %last_error(), "libvirt's event loop failed");
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for libvirt's event loop");
        }
    });
}

/// Frees the array of `count` elements after each was turned into a value.
///
/// # Safety
/// `list` is what a virConnectListAll… call filled in, and `count` what it returned.
unsafe fn take_list<P: Copy, T>(
    list: *mut P,
    count: i32,
    mut take: impl FnMut(P) -> T,
) -> Result<Vec<T>, LibvirtError> {
    let Ok(count) = usize::try_from(count) else { return Err(last_error()) };
    let mut all = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: the list has `count` elements.
        all.push(take(unsafe { *list.add(index) }));
    }
    // SAFETY: the array was allocated with malloc by libvirt and is not used afterwards.
    unsafe { libc_free(list.cast()) };
    Ok(all)
}

unsafe extern "C" {
    #[link_name = "free"]
    unsafe fn libc_free(pointer: *mut std::ffi::c_void);
}

/// Copies and frees a string that libvirt allocated; null is its last error.
fn take_string(raw: *mut std::ffi::c_char) -> Result<String, LibvirtError> {
    let copied = copy_string(raw).ok_or_else(last_error)?;
    // SAFETY: not null, allocated with malloc by libvirt, and not used afterwards.
    unsafe { libc_free(raw.cast()) };
    Ok(copied)
}

/// Copies a string that stays libvirt's; null is none.
fn copy_string(raw: *const std::ffi::c_char) -> Option<String> {
    if raw.is_null() {
        return None;
    }
    // SAFETY: not null, and libvirt's strings are NUL-terminated.
    Some(unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned())
}

fn c_string(text: &str) -> Result<CString, LibvirtError> {
    CString::new(text).map_err(|_| LibvirtError::of_ours(format!("`{text:?}` contains a NUL")))
}

/// libvirt's last error in this thread.
fn last_error() -> LibvirtError {
    // SAFETY: the pointer is valid until the thread's next libvirt call; all is copied.
    unsafe {
        let error = sys::virGetLastError();
        if error.is_null() {
            return LibvirtError::of_ours("libvirt failed without saying why".to_owned());
        }
        let message = copy_string((*error).message).unwrap_or_default();
        LibvirtError { code: u32::try_from((*error).code).unwrap_or_default(), message }
    }
}

fn none_if_unsupported<T>(result: Result<Vec<T>, LibvirtError>) -> Result<Vec<T>, LibvirtError> {
    match result {
        Err(error) if error.is_missing_driver() => Ok(Vec::new()),
        other => other,
    }
}
