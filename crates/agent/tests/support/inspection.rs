//! What the scripted hypervisor says of CPUs and guests.

use async_trait::async_trait;
use drover_model::{CpuFit, CpuPlatform, GuestId, GuestInspection, NamedCpu};
use drover_ports::{CpuCounts, HypervisorError, Inspection};

use super::HOST;
use super::hypervisor::Scripted;

/// The one feature that it lacks.
pub const LACKING: &str = "hle";

#[async_trait]
impl Inspection for Scripted {
    async fn inspect_guest(&self, guest: GuestId) -> Result<GuestInspection, HypervisorError> {
        let found = self.listed(guest)?.ok_or(HypervisorError::Gone(guest))?;
        Ok(GuestInspection {
            guest: found,
            host_uuid: Some(HOST),
            cpu_xml: Some(NamedCpu { model: "qemu64".into(), ..NamedCpu::default() }.xml()),
            cpu_features: Vec::new(),
            hugepages_kib: Vec::new(),
            media: Vec::new(),
            ties: Vec::new(),
            files: Vec::new(),
        })
    }

    async fn compare_cpu(
        &self,
        _platform: &CpuPlatform,
        cpu_xml: &str,
    ) -> Result<CpuFit, HypervisorError> {
        if !cpu_xml.contains(LACKING) {
            return Ok(CpuFit::Fits);
        }
        Ok(CpuFit::Lacks { features: vec![LACKING.to_owned()], said: "no".to_owned() })
    }

    async fn host_model_cpu(
        &self,
        _platform: &CpuPlatform,
    ) -> Result<Option<NamedCpu>, HypervisorError> {
        Ok(Some(NamedCpu { model: "qemu64".into(), ..NamedCpu::default() }))
    }

    async fn baseline_cpu(
        &self,
        _platform: &CpuPlatform,
        cpus: &[NamedCpu],
    ) -> Result<NamedCpu, HypervisorError> {
        cpus.first().cloned().ok_or_else(|| HypervisorError::Refused("none".to_owned()))
    }

    async fn define_cpu(
        &self,
        guest: GuestId,
        _cpu: &NamedCpu,
    ) -> Result<CpuCounts, HypervisorError> {
        self.listed(guest)?.ok_or(HypervisorError::Gone(guest))?;
        Ok(CpuCounts::AtNextStart)
    }
}
