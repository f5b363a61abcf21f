//! CPUs in libvirt's XML.

use std::collections::BTreeMap;

use drover_model::{CpuFit, NamedCpu};
use roxmltree::{Document, Node};
use virt_sys as sys;

use super::{attribute, child, text};
use crate::error::LibvirtError;

/// Parts of a guest's `<cpu>` that say how its processors are arranged and not what they are:
/// they stay when the CPU is written anew.
const ARRANGEMENT: [&str; 4] = ["topology", "numa", "cache", "maxphysaddr"];

/// A `<cpu>` element by model and features. None when it names no model.
pub(crate) fn named_cpu(xml: &str) -> Option<NamedCpu> {
    named(Document::parse(xml).ok()?.root_element())
}

/// The host-model CPU in domain capabilities, where there is one.
pub(crate) fn host_model(xml: &str) -> Option<NamedCpu> {
    let document = Document::parse(xml).ok()?;
    let cpu = child(document.root_element(), "cpu")?;
    let mode = cpu.children().find(|mode| {
        mode.has_tag_name("mode")
            && mode.attribute("name") == Some("host-model")
            && mode.attribute("supported") == Some("yes")
    })?;
    named(mode)
}

fn named(node: Node<'_, '_>) -> Option<NamedCpu> {
    Some(NamedCpu {
        model: text(node, "model")?,
        vendor: text(node, "vendor"),
        features: features(node),
    })
}

/// Features by whether they are required; one that may be either way is neither.
pub(super) fn features(node: Node<'_, '_>) -> BTreeMap<String, bool> {
    let feature = |node: Node<'_, '_>| {
        let required = match node.attribute("policy") {
            Some("require" | "force") | None => true,
            Some("disable" | "forbid") => false,
            Some(_) => return None,
        };
        Some((attribute(node, "name")?, required))
    };
    node.children().filter(|node| node.has_tag_name("feature")).filter_map(feature).collect()
}

/// What libvirt's answer to a comparison means.
pub(crate) fn fit(answer: Result<(), LibvirtError>) -> Result<CpuFit, LibvirtError> {
    match answer {
        Ok(()) => Ok(CpuFit::Fits),
        Err(LibvirtError { code: sys::VIR_ERR_CPU_INCOMPATIBLE, message }) => {
            Ok(CpuFit::Lacks { features: named_in(&message), said: message })
        }
        // A model or feature that this libvirt has never heard of: libvirt 9.0 has no
        // error code of its own for it.
        Err(LibvirtError { code: sys::VIR_ERR_INTERNAL_ERROR, message })
            if message.contains("Unknown CPU") =>
        {
            Ok(CpuFit::Lacks { features: Vec::new(), said: message })
        }
        // Nothing to compare with: another architecture, or a hypervisor that says nothing.
        Err(LibvirtError {
            code: sys::VIR_ERR_CONFIG_UNSUPPORTED | sys::VIR_ERR_NO_SUPPORT,
            message,
        }) => Ok(CpuFit::Unknown { why: message }),
        Err(other) => Err(other),
    }
}

/// libvirt lists them after the last colon: "Host CPU does not provide required features:
/// hle, avx512f".
fn named_in(message: &str) -> Vec<String> {
    let Some((before, list)) = message.rsplit_once(':') else { return Vec::new() };
    if !before.ends_with("features") {
        return Vec::new();
    }
    list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// A domain's definition with another CPU; everything else stays as it is written.
pub(crate) fn with_cpu(xml: &str, cpu: &NamedCpu) -> Option<String> {
    let document = Document::parse(xml).ok()?;
    let root = document.root_element();
    let old = child(root, "cpu");
    let kept: String = old
        .iter()
        .flat_map(|old| old.children())
        .filter(|part| ARRANGEMENT.contains(&part.tag_name().name()))
        .map(|part| format!("  {}\n", &xml[part.range()]))
        .collect();
    let new = cpu.xml();
    let new = format!("{}{kept}</cpu>", new.strip_suffix("</cpu>")?);
    let place = match old {
        Some(old) => old.range(),
        None => {
            let at = child(root, "devices")?.range().start;
            at..at
        }
    };
    Some(format!("{}{new}{}", &xml[..place.start], &xml[place.end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_taken_from_what_libvirt_said() {
        for (message, features) in [
            (
                "the CPU is incompatible with host CPU: Host CPU does not provide required \
                 features: hle, avx512f",
                vec!["hle", "avx512f"],
            ),
            ("the CPU is incompatible with host CPU: CPU vendors do not match", vec![]),
            ("the CPU is incompatible with host CPU", vec![]),
        ] {
            let code = sys::VIR_ERR_CPU_INCOMPATIBLE;
            let answer = fit(Err(LibvirtError { code, message: message.to_owned() }));
            let Ok(CpuFit::Lacks { features: named, .. }) = answer else { panic!("{answer:?}") };
            assert_eq!(named, features, "{message}");
        }
    }

    #[test]
    fn other_errors_are_told_apart() {
        let answer = |code, message: &str| fit(Err(LibvirtError { code, message: message.into() }));
        let unknown = answer(sys::VIR_ERR_INTERNAL_ERROR, "internal error: Unknown CPU model x");
        assert!(matches!(unknown, Ok(CpuFit::Lacks { .. })));
        assert!(answer(sys::VIR_ERR_INTERNAL_ERROR, "internal error: boom").is_err());
        assert!(answer(sys::VIR_ERR_RPC, "gone").is_err());
        let cannot = answer(sys::VIR_ERR_CONFIG_UNSUPPORTED, "not for this arch");
        assert!(matches!(cannot, Ok(CpuFit::Unknown { .. })));
        assert_eq!(fit(Ok(())), Ok(CpuFit::Fits));
    }

    #[test]
    fn a_host_model_is_read() {
        let xml = "<domainCapabilities><cpu>
          <mode name='host-passthrough' supported='yes'/>
          <mode name='host-model' supported='yes'><model fallback='forbid'>EPYC</model>
            <vendor>AMD</vendor><feature policy='require' name='acpi'/>
            <feature policy='disable' name='vme'/></mode></cpu></domainCapabilities>";
        let cpu = host_model(xml).unwrap();
        assert_eq!((cpu.model.as_str(), cpu.vendor.as_deref()), ("EPYC", Some("AMD")));
        assert_eq!(cpu.features, [("acpi".into(), true), ("vme".into(), false)].into());
        assert_eq!(named_cpu(&cpu.xml()), Some(cpu));
        assert_eq!(host_model(&xml.replace("supported='yes'", "supported='no'")), None);
    }

    #[test]
    fn a_definition_keeps_everything_but_its_cpu() {
        let cpu = NamedCpu { model: "qemu64".into(), ..NamedCpu::default() };
        let xml = "<domain><name>a</name><cpu mode='host-model'><topology sockets='2'/>\
                   <feature policy='require' name='avx'/></cpu><devices/></domain>";
        let new = with_cpu(xml, &cpu).unwrap();
        assert!(new.contains("<topology sockets='2'/>") && !new.contains("avx"), "{new}");
        assert!(new.contains(">qemu64<") && new.contains("<name>a</name>"), "{new}");
        assert_eq!(new.matches("<cpu").count(), 1);
        let without = with_cpu("<domain><devices/></domain>", &cpu).unwrap();
        assert!(without.contains("</cpu><devices/>"), "{without}");
    }
}
