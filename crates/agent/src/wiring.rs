//! The one place that names the hypervisor's adapter.

use std::sync::Arc;

use drover_adapter_libvirt::Libvirt;
use drover_ports::Hypervisor;

use crate::config::Config;

/// The hypervisor that the configuration names. It connects, and connects again, by itself.
pub fn hypervisor(config: &Config) -> Arc<dyn Hypervisor> {
    Arc::new(Libvirt::connect(&config.libvirt_uri))
}
