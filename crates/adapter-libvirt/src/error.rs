//! libvirt's errors by what the caller does next: pure.

use drover_model::GuestId;
use drover_ports::HypervisorError;
use virt_sys as sys;

/// An error of libvirt's, or of this layer (code 0).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct LibvirtError {
    /// virErrorNumber.
    pub(crate) code: u32,
    /// What libvirt said.
    pub(crate) message: String,
}

impl LibvirtError {
    pub(crate) const fn of_ours(message: String) -> Self {
        Self { code: 0, message }
    }

    /// The driver for this kind of object is not there.
    pub(crate) const fn is_missing_driver(&self) -> bool {
        matches!(self.code, sys::VIR_ERR_NO_SUPPORT | sys::VIR_ERR_NO_CONNECT)
    }

    /// A pool or volume is not there, or is busy.
    pub(crate) const fn is_of_storage(&self) -> bool {
        matches!(
            self.code,
            sys::VIR_ERR_NO_STORAGE_POOL
                | sys::VIR_ERR_NO_STORAGE_VOL
                | sys::VIR_ERR_OPERATION_INVALID
                | sys::VIR_ERR_OPERATION_FAILED
        )
    }

    /// The same of a call that may succeed another time, whatever libvirt calls it.
    pub(crate) fn not_for_good(self, guest: GuestId) -> Self {
        match self.clone().translate(Some(guest)) {
            HypervisorError::Refused(message) => {
                Self { code: sys::VIR_ERR_INTERNAL_ERROR, message }
            }
            _ => self,
        }
    }

    /// What the caller does next.
    pub(crate) fn translate(self, guest: Option<GuestId>) -> HypervisorError {
        use HypervisorError as H;
        let Self { code, message } = self;
        match (code, guest) {
            (sys::VIR_ERR_NO_DOMAIN, Some(guest)) => H::Gone(guest),
            (sys::VIR_ERR_OPERATION_ABORTED, _) => H::Cancelled(message),
            (
                sys::VIR_ERR_RPC
                | sys::VIR_ERR_SYSTEM_ERROR
                | sys::VIR_ERR_NO_CONNECT
                | sys::VIR_ERR_INVALID_CONN
                | sys::VIR_ERR_GNUTLS_ERROR,
                _,
            ) => H::Retry(message),
            // Also libvirt's "cannot acquire state change lock": another job runs.
            (sys::VIR_ERR_OPERATION_INVALID | sys::VIR_ERR_OPERATION_TIMEOUT, _) => {
                H::Conflict(message)
            }
            (0 | sys::VIR_ERR_INTERNAL_ERROR | sys::VIR_ERR_NO_MEMORY, _) => H::Broken(message),
            _ => H::Refused(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_says_what_to_do_next() {
        let guest = GuestId::from_u128(1);
        for (code, word) in [
            (sys::VIR_ERR_NO_DOMAIN, "no such guest"),
            (sys::VIR_ERR_OPERATION_ABORTED, "cancelled"),
            (sys::VIR_ERR_RPC, "out of reach"),
            (sys::VIR_ERR_OPERATION_INVALID, "in the way"),
            (sys::VIR_ERR_OPERATION_TIMEOUT, "in the way"),
            (sys::VIR_ERR_MIGRATE_UNSAFE, "refused"),
            (sys::VIR_ERR_CPU_INCOMPATIBLE, "refused"),
            (sys::VIR_ERR_INTERNAL_ERROR, "broken"),
        ] {
            let error = LibvirtError { code, message: "m".to_owned() };
            let shown = error.translate(Some(guest)).to_string();
            assert!(shown.contains(word), "{code}: {shown}");
        }
    }
}
