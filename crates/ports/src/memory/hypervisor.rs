//! In-memory hypervisor.
