//! The part of the port that looks at CPUs and guests.

use async_trait::async_trait;
use drover_model::{Bytes, CpuFit, CpuPlatform, GuestId, GuestInspection, HostId, NamedCpu};
use drover_ports::{CpuCounts, HypervisorError, Inspection};

use crate::Libvirt;
use crate::connection::{Connection, Domain};
use crate::error::LibvirtError;
use crate::parse;

#[async_trait]
impl Inspection for Libvirt {
    async fn inspect_guest(&self, guest: GuestId) -> Result<GuestInspection, HypervisorError> {
        let processes = self.processes.clone();
        self.call(Some(guest), move |connection| {
            let mut found = inspect(connection, guest)?;
            processes.fill_in(std::slice::from_mut(&mut found.guest));
            Ok(found)
        })
        .await
    }

    async fn compare_cpu(
        &self,
        platform: &CpuPlatform,
        cpu_xml: &str,
    ) -> Result<CpuFit, HypervisorError> {
        let (platform, cpu_xml) = (platform.clone(), cpu_xml.to_owned());
        self.call(None, move |connection| parse::fit(connection.compare_cpu(&platform, &cpu_xml)))
            .await
    }

    async fn host_model_cpu(
        &self,
        platform: &CpuPlatform,
    ) -> Result<Option<NamedCpu>, HypervisorError> {
        let platform = platform.clone();
        self.call(None, move |connection| {
            Ok(parse::host_model(&connection.domain_capabilities(&platform)?))
        })
        .await
    }

    async fn baseline_cpu(
        &self,
        platform: &CpuPlatform,
        cpus: &[NamedCpu],
    ) -> Result<NamedCpu, HypervisorError> {
        if cpus.is_empty() {
            return Err(HypervisorError::Refused("no CPU is given".to_owned()));
        }
        let platform = platform.clone();
        let cpus: Vec<String> = cpus.iter().map(NamedCpu::xml).collect();
        self.call(None, move |connection| {
            let xml = connection.baseline_cpu(&platform, &cpus)?;
            parse::named_cpu(&xml)
                .ok_or_else(|| LibvirtError::of_ours(format!("a CPU without model: {xml}")))
        })
        .await
    }

    async fn define_cpu(
        &self,
        guest: GuestId,
        cpu: &NamedCpu,
    ) -> Result<CpuCounts, HypervisorError> {
        let cpu = cpu.clone();
        let written =
            self.call(Some(guest), move |connection| define(connection, guest, &cpu)).await?;
        written.ok_or_else(|| {
            HypervisorError::Refused("the guest's definition is not kept: it has none".to_owned())
        })
    }
}

fn inspect(connection: &Connection, id: GuestId) -> Result<GuestInspection, LibvirtError> {
    let domain = connection.domain(id)?;
    let state = parse::guest_state(domain.state()?);
    let xml = if state.is_active() { domain.migratable_xml()? } else { domain.stored_xml()? };
    let unreadable = || LibvirtError::of_ours("the guest's XML is unreadable".to_owned());
    let host = parse::capabilities(&connection.capabilities()?)
        .map_err(|error| LibvirtError::of_ours(format!("capabilities are unreadable: {error}")))?;
    // The caller knows which host this is; libvirt's word for it is `host_uuid`.
    let of = host.id.unwrap_or(HostId::from_u128(0));
    let guest = parse::guest(&xml, id, of, state, domain.is_persistent()).ok_or_else(unreadable)?;
    let parse::Parts { cpu_xml, cpu_features, hugepages_kib, mut media, ties, files } =
        parse::parts(&xml).ok_or_else(unreadable)?;
    for medium in &mut media {
        medium.capacity = capacity(&domain, &medium.target);
    }
    Ok(GuestInspection {
        guest,
        host_uuid: host.id,
        cpu_xml,
        cpu_features,
        hugepages_kib,
        media,
        ties,
        files,
    })
}

/// None for an empty drive, and for a disk that cannot be read now.
fn capacity(domain: &Domain, target: &str) -> Option<Bytes> {
    domain.capacity(target).ok().filter(|bytes| *bytes > 0).map(Bytes)
}

/// None when the guest has no stored definition.
fn define(
    connection: &Connection,
    id: GuestId,
    cpu: &NamedCpu,
) -> Result<Option<CpuCounts>, LibvirtError> {
    let domain = connection.domain(id)?;
    if !domain.is_persistent() {
        return Ok(None);
    }
    let xml = parse::with_cpu(&domain.stored_xml()?, cpu)
        .ok_or_else(|| LibvirtError::of_ours("the guest's XML is unreadable".to_owned()))?;
    connection.define(&xml)?;
    let active = parse::guest_state(domain.state()?).is_active();
    Ok(Some(if active { CpuCounts::AtNextStart } else { CpuCounts::AtStart }))
}
