//! The one place that names adapters.

use std::sync::Arc;

use drover_adapter_libvirt::Libvirt;
use drover_adapter_power::OwnIpmi;
use drover_ports::{Hypervisor, OwnBmc};

use crate::config::Config;

/// The hypervisor that the configuration names. It connects, and connects again, by itself.
pub fn hypervisor(config: &Config) -> Arc<dyn Hypervisor> {
    Arc::new(Libvirt::connect(&config.libvirt_uri))
}

/// The host's own BMC, where it has one.
pub fn own_bmc() -> Arc<dyn OwnBmc> {
    Arc::new(OwnIpmi::default())
}
