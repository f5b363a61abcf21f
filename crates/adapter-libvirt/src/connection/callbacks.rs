//! Callbacks from libvirt's event loop: each only sends a notice to a channel.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::mpsc::Sender;

use drover_model::GuestId;
use virt_sys as sys;

use super::{Params, domain::uuid_of, last_error, params};
use crate::error::LibvirtError;

/// What the event loop tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Notice {
    /// A domain was defined, started, paused, resumed, stopped, ….
    Lifecycle(GuestId),
    /// A migration finished a pass.
    Iteration(GuestId, u32),
    /// A job ended, with its statistics.
    Job(GuestId, Params),
    /// A device came or went.
    Device(GuestId),
    /// The connection is lost.
    Closed,
}

/// The loop wakes up at least so often, milliseconds, so that handles registered by other
/// threads are noticed at once even where no file descriptor wakes it.
const WAKE_EVERY_MS: c_int = 1000;

/// Registers every callback. Each gets its own boxed sender, which libvirt frees through
/// `free_sender` when the callback is removed or the connection is closed.
pub(super) fn register(
    raw: sys::virConnectPtr,
    notices: Sender<Notice>,
) -> Result<(), LibvirtError> {
    // SAFETY: the opaque pointer is a leaked box that `free_sender` takes back, once, when
    // libvirt says so; the close callback has the signature that libvirt expects.
    let closed = unsafe {
        let opaque = leak(notices.clone());
        let result =
            sys::virConnectRegisterCloseCallback(raw, Some(on_close), opaque, Some(free_sender));
        if result < 0 {
            free_sender(opaque);
        }
        result
    };
    if closed < 0 {
        // The test driver has no close callback; its connection cannot break.
        tracing::debug!(error = %last_error(), "no close callback");
    }
    let lifecycle: sys::virConnectDomainEventCallback = Some(on_lifecycle);
    let iteration: sys::virConnectDomainEventMigrationIterationCallback = Some(on_iteration);
    let job: sys::virConnectDomainEventJobCompletedCallback = Some(on_job);
    let device: sys::virConnectDomainEventDeviceAddedCallback = Some(on_device);
    // SAFETY: libvirt takes every callback as the generic type and calls it with the
    // arguments of its event id; each function here has the signature of its id.
    unsafe {
        let all = [
            (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, generic(lifecycle)),
            (sys::VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, generic(iteration)),
            (sys::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, generic(job)),
            (sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, generic(device)),
            (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, generic(device)),
        ];
        for (id, callback) in all {
            let opaque = leak(notices.clone());
            let id = c_int::try_from(id).unwrap_or_default();
            let number = sys::virConnectDomainEventRegisterAny(
                raw,
                ptr::null_mut(),
                id,
                callback,
                opaque,
                Some(free_sender),
            );
            if number < 0 {
                free_sender(opaque);
                return Err(last_error());
            }
        }
    }
    Ok(())
}

/// Removes the close callback; closing removes the others.
pub(super) fn unregister(raw: sys::virConnectPtr) {
    // SAFETY: `raw` is open; removing a callback that is not registered is refused.
    unsafe { sys::virConnectUnregisterCloseCallback(raw, Some(on_close)) };
}

/// A timer without a task, see [`WAKE_EVERY_MS`].
pub(super) fn keep_loop_awake() {
    unsafe extern "C" fn nothing(_timer: c_int, _opaque: *mut c_void) {}
    // SAFETY: the default event loop is registered and the callback does nothing.
    unsafe { sys::virEventAddTimeout(WAKE_EVERY_MS, Some(nothing), ptr::null_mut(), None) };
}

/// libvirt would print errors to stderr; they are returned to callers instead.
pub(super) unsafe extern "C" fn ignore_error(_data: *mut c_void, _error: sys::virErrorPtr) {}

fn leak(sender: Sender<Notice>) -> *mut c_void {
    Box::into_raw(Box::new(sender)).cast()
}

/// # Safety
/// `callback` is null or a function whose arguments begin with a connection and a domain,
/// as those of every event id do.
unsafe fn generic<F: Copy>(callback: F) -> sys::virConnectDomainEventGenericCallback {
    // SAFETY: both are nullable C function pointers of the same size; libvirt's own macro
    // VIR_DOMAIN_EVENT_CALLBACK makes the same cast.
    unsafe { std::mem::transmute_copy::<F, sys::virConnectDomainEventGenericCallback>(&callback) }
}

unsafe extern "C" fn free_sender(opaque: *mut c_void) {
    // SAFETY: `opaque` came from `leak` and libvirt frees it once.
    drop(unsafe { Box::from_raw(opaque.cast::<Sender<Notice>>()) });
}

/// # Safety
/// `opaque` came from `leak` and has not been freed.
unsafe fn send(opaque: *mut c_void, notice: Notice) {
    // SAFETY: as above; the box is only borrowed.
    let sender = unsafe { &*opaque.cast::<Sender<Notice>>() };
    // A receiver that is gone means that the connection is being closed.
    let _ = sender.send(notice);
}

unsafe extern "C" fn on_close(_c: sys::virConnectPtr, _reason: c_int, opaque: *mut c_void) {
    // SAFETY: libvirt hands back the pointer that was registered.
    unsafe { send(opaque, Notice::Closed) };
}

unsafe extern "C" fn on_lifecycle(
    _connection: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _event: c_int,
    _detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: libvirt hands a valid domain and the pointer that was registered.
    unsafe {
        if let Some(guest) = uuid_of(domain) {
            send(opaque, Notice::Lifecycle(guest));
        }
    }
    0
}

unsafe extern "C" fn on_iteration(
    _connection: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    iteration: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt hands a valid domain and the pointer that was registered.
    unsafe {
        if let Some(guest) = uuid_of(domain) {
            send(opaque, Notice::Iteration(guest, u32::try_from(iteration).unwrap_or_default()));
        }
    }
}

unsafe extern "C" fn on_job(
    _connection: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    list: sys::virTypedParameterPtr,
    count: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt hands a valid domain, `count` parameters that stay its own, and the
    // pointer that was registered.
    unsafe {
        if let Some(guest) = uuid_of(domain) {
            send(opaque, Notice::Job(guest, params::copy(list, count)));
        }
    }
}

unsafe extern "C" fn on_device(
    _connection: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _alias: *const std::ffi::c_char,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt hands a valid domain and the pointer that was registered.
    unsafe {
        if let Some(guest) = uuid_of(domain) {
            send(opaque, Notice::Device(guest));
        }
    }
}
