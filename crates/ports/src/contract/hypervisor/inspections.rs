//! What is told when a move is looked at beforehand.

use drover_model::{CpuFit, CpuPlatform, GuestId, GuestState, HostId, NamedCpu};

use super::Rig;
use crate::contract::report::{promise, promise_eq};
use crate::contract::{Kept, Unkept};
use crate::{CpuCounts, HypervisorError};

/// No guest has it.
const NOBODY: GuestId = GuestId::from_u128(0xdead_0000_0000_4000_8000_0000_0000_0002);

impl Rig {
    /// What the guest's CPU is compared for.
    async fn platform(&self) -> Result<CpuPlatform, HypervisorError> {
        let guest = self.source.inspect_guest(self.guest).await?.guest;
        Ok(CpuPlatform { virt_type: guest.virt_type, arch: guest.arch, machine: guest.machine })
    }
}

fn plain() -> NamedCpu {
    NamedCpu { model: "qemu64".to_owned(), ..NamedCpu::default() }
}

pub(super) async fn a_guest_is_told_with_its_live_cpu(rig: Rig) -> Kept {
    let found = rig.source.inspect_guest(rig.guest).await?;
    promise_eq!(found.guest.id, rig.guest, "whose inspection");
    promise_eq!(found.guest.state, GuestState::Running, "the state");
    let host = rig.source.describe().await?.id;
    promise!(host.is_some(), "a host without UUID");
    promise_eq!(found.host_uuid, host, "the host's UUID");
    promise_eq!(found.guest.host, host.unwrap_or(HostId::from_u128(0)), "where the guest is");
    promise_eq!(found.media.len(), found.guest.disks.len(), "disks and their media");
    let Some(cpu) = found.cpu_xml else {
        return Err(Unkept("a guest without CPU".to_owned()));
    };
    promise!(cpu.starts_with("<cpu") && cpu.ends_with("</cpu>"), "no CPU element: {cpu}");
    let platform = rig.platform().await?;
    for host in [&rig.source, &rig.target] {
        promise_eq!(host.compare_cpu(&platform, &cpu).await?, CpuFit::Fits, "its own CPU");
    }
    let gone = rig.target.inspect_guest(rig.guest).await;
    promise!(matches!(gone, Err(HypervisorError::Gone(_))), "inspected elsewhere: {gone:?}");
    Ok(())
}

pub(super) async fn a_missing_feature_is_named(rig: Rig) -> Kept {
    let platform = rig.platform().await?;
    let mut cpu = plain();
    cpu.features.insert(rig.missing_feature.clone(), true);
    match rig.target.compare_cpu(&platform, &cpu.xml()).await? {
        CpuFit::Lacks { features, said } => {
            promise_eq!(features, vec![rig.missing_feature.clone()], "features that are missing");
            promise!(said.contains(&rig.missing_feature), "not said: {said}");
        }
        other => return Err(Unkept(format!("{} is {other:?}", rig.missing_feature))),
    }
    cpu.features.insert(rig.missing_feature.clone(), false);
    let without = rig.target.compare_cpu(&platform, &cpu.xml()).await?;
    promise_eq!(without, CpuFit::Fits, "a CPU that must not have it");
    Ok(())
}

pub(super) async fn a_cpu_that_nobody_knows_does_not_fit(rig: Rig) -> Kept {
    let platform = rig.platform().await?;
    let unknown = NamedCpu { model: "no-such-model".to_owned(), ..NamedCpu::default() };
    let fit = rig.target.compare_cpu(&platform, &unknown.xml()).await?;
    promise!(matches!(fit, CpuFit::Lacks { .. }), "an unknown model is {fit:?}");
    Ok(())
}

pub(super) async fn a_baseline_fits_every_host(rig: Rig) -> Kept {
    let platform = rig.platform().await?;
    let (one, other) =
        (rig.source.host_model_cpu(&platform).await?, rig.target.host_model_cpu(&platform).await?);
    let (Some(one), Some(other)) = (one, other) else {
        return Err(Unkept("a host without host-model CPU".to_owned()));
    };
    let baseline = rig.source.baseline_cpu(&platform, &[one.clone(), other.clone()]).await?;
    let given = baseline.features.iter().find(|(_, required)| **required);
    let Some((feature, _)) = given else {
        return Err(Unkept(format!("features are not spelled out: {baseline:?}")));
    };
    for host in [&rig.source, &rig.target] {
        let fit = host.compare_cpu(&platform, &baseline.xml()).await?;
        promise_eq!(fit, CpuFit::Fits, "the baseline");
    }
    let mut poorer = baseline.clone();
    poorer.features.insert(feature.clone(), false);
    let common = rig.target.baseline_cpu(&platform, &[one, other, poorer]).await?;
    promise!(common.features.get(feature) != Some(&true), "{feature}, which one has not");
    let none = rig.source.baseline_cpu(&platform, &[]).await;
    promise!(matches!(none, Err(HypervisorError::Refused(_))), "of nothing: {none:?}");
    Ok(())
}

pub(super) async fn a_defined_cpu_counts_from_the_next_start(rig: Rig) -> Kept {
    let before = rig.source.inspect_guest(rig.guest).await?.cpu_xml;
    let mut cpu = plain();
    cpu.features.insert(rig.missing_feature.clone(), false);
    for _ in 0..2 {
        let counts = rig.source.define_cpu(rig.guest, &cpu).await?;
        promise_eq!(counts, CpuCounts::AtNextStart, "for a guest that runs");
    }
    promise_eq!(rig.source.inspect_guest(rig.guest).await?.cpu_xml, before, "the live CPU");
    promise_eq!(rig.state(&rig.source).await?, Some(GuestState::Running), "the guest");
    let gone = rig.source.define_cpu(NOBODY, &cpu).await;
    promise!(matches!(gone, Err(HypervisorError::Gone(_))), "of nobody: {gone:?}");
    Ok(())
}
