//! The one place that names the hypervisor's adapter.

use std::sync::Arc;

use anyhow::Result;
use drover_ports::Hypervisor;

use crate::config::Config;

/// The hypervisor that the configuration names.
pub fn hypervisor(config: &Config) -> Result<Arc<dyn Hypervisor>> {
    anyhow::bail!("no hypervisor adapter yet for {}", config.libvirt_uri)
}
