//! CPUs of hypervisors in memory: one model, and features by name.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use drover_model::{CpuFit, CpuPlatform, GuestId, GuestInspection, NamedCpu};

use super::MemoryHypervisor;
use super::hypervisor::{MODEL, listed};
use crate::{CpuCounts, HypervisorError, Inspection};

#[async_trait]
impl Inspection for MemoryHypervisor {
    async fn inspect_guest(&self, guest: GuestId) -> Result<GuestInspection, HypervisorError> {
        self.here(|host| {
            let copy = host.guests.get(&guest).ok_or(HypervisorError::Gone(guest))?;
            let cpu = if copy.state.is_active() { &copy.cpu } else { &copy.stored_cpu };
            Ok(GuestInspection {
                guest: listed(guest, copy, host.id),
                host_uuid: Some(host.id),
                cpu_xml: Some(cpu.xml()),
                cpu_features: required(&cpu.xml()).into_iter().collect(),
                hugepages_kib: Vec::new(),
                media: Vec::new(),
                ties: Vec::new(),
                files: Vec::new(),
            })
        })
    }

    async fn compare_cpu(
        &self,
        _platform: &CpuPlatform,
        cpu_xml: &str,
    ) -> Result<CpuFit, HypervisorError> {
        if !cpu_xml.contains(&format!(">{MODEL}</model>")) {
            let said = format!("Unknown CPU model; there is {MODEL}");
            return Ok(CpuFit::Lacks { features: Vec::new(), said });
        }
        let wanted = required(cpu_xml);
        let features: Vec<String> =
            self.here(|host| wanted.difference(&host.features).cloned().collect());
        if features.is_empty() {
            return Ok(CpuFit::Fits);
        }
        let said = format!("the CPU lacks features: {}", features.join(", "));
        Ok(CpuFit::Lacks { features, said })
    }

    async fn host_model_cpu(
        &self,
        _platform: &CpuPlatform,
    ) -> Result<Option<NamedCpu>, HypervisorError> {
        let features = self.here(|host| host.features.iter().map(|f| (f.clone(), true)).collect());
        Ok(Some(NamedCpu { model: MODEL.to_owned(), vendor: None, features }))
    }

    async fn baseline_cpu(
        &self,
        _platform: &CpuPlatform,
        cpus: &[NamedCpu],
    ) -> Result<NamedCpu, HypervisorError> {
        let Some(first) = cpus.first() else {
            return Err(HypervisorError::Refused("no CPU is given".to_owned()));
        };
        let in_all = |name: &String| cpus.iter().all(|cpu| cpu.features.get(name) == Some(&true));
        let features: BTreeMap<String, bool> = cpus
            .iter()
            .flat_map(|cpu| cpu.features.keys())
            .map(|name| (name.clone(), in_all(name)))
            .collect();
        Ok(NamedCpu { features, ..first.clone() })
    }

    async fn define_cpu(
        &self,
        guest: GuestId,
        cpu: &NamedCpu,
    ) -> Result<CpuCounts, HypervisorError> {
        self.of(guest, |copy| {
            copy.stored_cpu = cpu.clone();
            let active = copy.state.is_active();
            Ok(if active { CpuCounts::AtNextStart } else { CpuCounts::AtStart })
        })
    }
}

impl MemoryHypervisor {
    /// The CPU of a guest's stored definition.
    pub fn stored_cpu(&self, guest: GuestId) -> Option<NamedCpu> {
        self.of(guest, |copy| Ok(copy.stored_cpu.clone())).ok()
    }
}

/// Names of the features that [`NamedCpu::xml`] requires.
fn required(xml: &str) -> BTreeSet<String> {
    let name = |feature: &str| Some(feature.split_once("name='")?.1.split_once('\'')?.0.to_owned());
    xml.split("<feature ").skip(1).filter(|f| f.contains("'require'")).filter_map(name).collect()
}
