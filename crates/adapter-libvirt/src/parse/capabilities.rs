//! Capabilities and pools.

use std::collections::BTreeSet;

use drover_model::{CpuDescription, PoolDescription};
use drover_ports::HostDescription;
use roxmltree::Document;

use super::{attribute, child, text};

/// Reads `virsh capabilities`. Versions, pools and networks are added by the caller.
pub(crate) fn capabilities(xml: &str) -> Result<HostDescription, roxmltree::Error> {
    let document = Document::parse(xml)?;
    let root = document.root_element();
    let Some(host) = child(root, "host") else { return Ok(HostDescription::default()) };
    let cpu = child(host, "cpu");
    let arch = cpu.and_then(|cpu| text(cpu, "arch")).unwrap_or_default();
    let mut description = HostDescription {
        id: text(host, "uuid").and_then(|uuid| uuid.parse().ok()),
        ..HostDescription::default()
    };
    if let Some(cpu) = cpu {
        let mut features: Vec<String> = cpu
            .children()
            .filter(|node| node.has_tag_name("feature"))
            .filter_map(|node| attribute(node, "name"))
            .collect();
        features.sort();
        description.cpu = CpuDescription {
            arch: arch.clone(),
            model: text(cpu, "model").unwrap_or_default(),
            vendor: text(cpu, "vendor").unwrap_or_default(),
            features,
            microcode: child(cpu, "microcode").and_then(|node| attribute(node, "version")),
        };
    }
    description.cpus = host
        .descendants()
        .filter(|node| node.has_tag_name("cpu") && node.attribute("id").is_some())
        .count()
        .try_into()
        .unwrap_or_default();
    let mut machines = BTreeSet::new();
    let mut types = BTreeSet::new();
    for guest in root.children().filter(|node| node.has_tag_name("guest")) {
        let native = guest
            .children()
            .find(|node| node.has_tag_name("arch") && node.attribute("name") == Some(&arch));
        for node in native.iter().flat_map(|arch| arch.descendants()) {
            match node.tag_name().name() {
                "machine" => machines.extend(node.text().map(str::to_owned)),
                "domain" => types.extend(attribute(node, "type")),
                _ => {}
            }
            // An alias names the versioned machine that it stands for.
            machines.extend(attribute(node, "canonical"));
        }
    }
    description.machine_types = machines.into_iter().collect();
    description.virt_types = types.into_iter().collect();
    Ok(description)
}

/// Reads a storage pool.
pub(crate) fn pool(xml: &str, active: bool) -> Option<PoolDescription> {
    let document = Document::parse(xml).ok()?;
    let root = document.root_element();
    Some(PoolDescription {
        name: text(root, "name")?,
        kind: attribute(root, "type")?,
        path: child(root, "target").and_then(|target| text(target, "path")),
        active,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPABILITIES: &str = r"<capabilities>
      <host>
        <uuid>00000000-0000-4000-8000-000000000001</uuid>
        <cpu><arch>x86_64</arch><model>Broadwell-noTSX-IBRS</model><vendor>Intel</vendor>
          <microcode version='1'/><feature name='vme'/><feature name='arat'/></cpu>
        <topology><cells num='1'><cell id='0'><cpus num='2'>
          <cpu id='0' socket_id='0'/><cpu id='1' socket_id='0'/></cpus></cell></cells></topology>
      </host>
      <guest><os_type>hvm</os_type><arch name='i686'><machine>isapc</machine></arch></guest>
      <guest><os_type>hvm</os_type><arch name='x86_64'>
        <machine maxCpus='255'>pc-i440fx-7.2</machine>
        <machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine>
        <domain type='qemu'/></arch></guest>
    </capabilities>";

    #[test]
    fn capabilities_are_read() {
        let host = capabilities(CAPABILITIES).unwrap();
        assert_eq!(host.id.unwrap().to_string(), "00000000-0000-4000-8000-000000000001");
        assert_eq!(host.cpu.model, "Broadwell-noTSX-IBRS");
        assert_eq!(host.cpu.features, ["arat", "vme"]);
        assert_eq!(host.cpu.microcode.as_deref(), Some("1"));
        assert_eq!(host.cpus, 2);
        assert_eq!(host.machine_types, ["pc-i440fx-7.2", "pc-q35-7.2", "q35"]);
        assert_eq!(host.virt_types, ["qemu"]);
    }

    #[test]
    fn a_pool_is_read() {
        let xml =
            "<pool type='dir'><name>default</name><target><path>/srv/p</path></target></pool>";
        let pool = pool(xml, true).unwrap();
        assert_eq!((pool.name.as_str(), pool.path.as_deref()), ("default", Some("/srv/p")));
    }
}
