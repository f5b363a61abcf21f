//! Contract of the hypervisor port.
