//! What a hypervisor tells when a move is looked at before it begins: CPUs and guests.

use async_trait::async_trait;
use drover_model::{CpuFit, CpuPlatform, GuestId, GuestInspection, NamedCpu};

use crate::HypervisorError;

/// When a CPU that was written into a guest's definition begins to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuCounts {
    /// The guest is off: whenever it starts.
    AtStart,
    /// The guest is active and goes on as it is: when it is off and starts again.
    AtNextStart,
}

/// The part of a hypervisor that looks at CPUs and guests. Beside
/// [`Inspection::define_cpu`] nothing here changes anything.
#[async_trait]
pub trait Inspection: Send + Sync {
    /// A guest with all that checks need, live where it is active.
    async fn inspect_guest(&self, guest: GuestId) -> Result<GuestInspection, HypervisorError>;

    /// Whether this hypervisor can give a guest this CPU (a `<cpu>` element). Features that
    /// it cannot give are named. A CPU that it does not know at all does not fit.
    async fn compare_cpu(
        &self,
        platform: &CpuPlatform,
        cpu_xml: &str,
    ) -> Result<CpuFit, HypervisorError>;

    /// The richest CPU that this hypervisor can name and give; none where it has none.
    async fn host_model_cpu(
        &self,
        platform: &CpuPlatform,
    ) -> Result<Option<NamedCpu>, HypervisorError>;

    /// The richest CPU that fits each of these, with every feature spelled out and without
    /// those that cannot be migrated. Refused for none, and for CPUs that have nothing in
    /// common.
    async fn baseline_cpu(
        &self,
        platform: &CpuPlatform,
        cpus: &[NamedCpu],
    ) -> Result<NamedCpu, HypervisorError>;

    /// Writes a CPU into a guest's stored definition. What runs does not change. Refused for
    /// a guest whose definition is not kept.
    async fn define_cpu(
        &self,
        guest: GuestId,
        cpu: &NamedCpu,
    ) -> Result<CpuCounts, HypervisorError>;
}
