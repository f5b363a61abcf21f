//! How fast a domain dirties its memory.

use std::ffi::c_int;
use std::ptr;

use virt_sys as sys;

use super::domain::check;
use super::{Domain, Params, last_error, params};
use crate::error::LibvirtError;

impl Domain {
    /// Begins to measure over a window, by a sample of pages. The other modes write-protect
    /// memory or need a dirty ring, and QEMU 7.2 dies of `dirty-bitmap` under emulation.
    pub(crate) fn start_dirty_rate(&self, seconds: u32) -> Result<(), LibvirtError> {
        let seconds = c_int::try_from(seconds).unwrap_or(c_int::MAX);
        let flags = sys::VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING;
        // SAFETY: `self.raw()` is a live reference.
        check(unsafe { sys::virDomainStartDirtyRateCalc(self.raw(), seconds, flags) })
    }

    /// The `dirtyrate.` statistics of this domain.
    pub(crate) fn dirty_rate(&self) -> Result<Params, LibvirtError> {
        let mut domains = [self.raw(), ptr::null_mut()];
        let mut list: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
        let wanted = sys::VIR_DOMAIN_STATS_DIRTYRATE;
        // SAFETY: the array of domains ends with null and outlives the call; libvirt allocates
        // the list, whose records are read before it is freed.
        unsafe {
            let count = sys::virDomainListGetStats(domains.as_mut_ptr(), wanted, &raw mut list, 0);
            if count < 0 {
                return Err(last_error());
            }
            let read = if count == 0 {
                Params::new()
            } else {
                let record = &**list;
                params::copy(record.params, record.nparams)
            };
            sys::virDomainStatsRecordListFree(list);
            Ok(read)
        }
    }
}
