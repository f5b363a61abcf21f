//! A guest's XML with its copied disks where they lie on the target: pure.
//!
//! Only the bytes that must change are changed, so that nothing is lost that this code does
//! not know.

use std::ops::Range;

use drover_model::DiskCopy;
use roxmltree::{Document, Node};

use crate::error::LibvirtError;
use crate::parse::{attribute, child};

/// What a guest keeps in files of its host beside its disks; a guest that is shut off would
/// lose it.
const STATE_FILES: [(&str, &str); 2] =
    [("nvram", "its UEFI variables"), ("tpm", "its TPM's state")];

/// The XML as the target needs it; none where nothing has to be changed.
pub(crate) fn relocated(xml: &str, disks: &[DiskCopy]) -> Result<Option<String>, LibvirtError> {
    let document = parsed(xml)?;
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for copy in disks {
        edits.extend(edits_of(&document, copy)?);
    }
    if edits.is_empty() {
        return Ok(None);
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut text = xml.to_owned();
    for (range, replacement) in edits {
        text.replace_range(range, &replacement);
    }
    Ok(Some(text))
}

/// Why a guest that is shut off cannot leave with its definition and disks alone.
pub(crate) fn left_behind(xml: &str) -> Result<Option<String>, LibvirtError> {
    let document = parsed(xml)?;
    let all = || document.root_element().descendants();
    let emulated = |node: &Node<'_, '_>| {
        let backend = child(*node, "backend");
        backend.is_some_and(|backend| backend.attribute("type") == Some("emulator"))
    };
    let found = STATE_FILES.iter().find(|(tag, _)| {
        all().any(|node| node.has_tag_name(*tag) && (*tag == "nvram" || emulated(&node)))
    });
    Ok(found
        .map(|(_, what)| format!("{what} would stay behind: that is kept in files of this host")))
}

fn parsed(xml: &str) -> Result<Document<'_>, LibvirtError> {
    Document::parse(xml)
        .map_err(|error| LibvirtError::of_ours(format!("the domain XML is unreadable: {error}")))
}

fn edits_of(
    document: &Document<'_>,
    copy: &DiskCopy,
) -> Result<Vec<(Range<usize>, String)>, LibvirtError> {
    let named = |disk: &Node<'_, '_>| {
        child(*disk, "target").and_then(|target| attribute(target, "dev")).as_deref()
            == Some(&*copy.disk)
    };
    let disk = child(document.root_element(), "devices")
        .into_iter()
        .flat_map(|devices| devices.children())
        .find(|node| node.has_tag_name("disk") && named(node));
    let file = disk
        .and_then(|disk| child(disk, "source"))
        .and_then(|source| source.attribute_node("file"))
        .filter(|file| file.value() == copy.from);
    let (Some(disk), Some(file)) = (disk, file) else {
        return Err(LibvirtError::of_ours(format!(
            "disk {} is not {} any more",
            copy.disk, copy.from
        )));
    };
    let mut edits = Vec::new();
    if copy.from != copy.to {
        edits.push((file.range_value(), escaped(&copy.to)));
    }
    // What lies below the copy is read from the copy itself.
    if let Some(chain) = child(disk, "backingStore").filter(|chain| chain.has_children()) {
        edits.push((chain.range(), String::new()));
    }
    Ok(edits)
}

/// libvirt writes attributes in single quotes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '\'' => safe.push_str("&apos;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use drover_model::Bytes;

    use super::*;

    const XML: &str = "<domain><os/><devices>\
        <disk type='file'><driver name='qemu' type='qcow2'/><source file='/a/1' index='2'/>\
        <backingStore type='file'><source file='/a/base'/><backingStore/></backingStore>\
        <target dev='vda'/><vendor:odd xmlns:vendor='x'/></disk>\
        <disk type='file'><source file='/a/2'/><backingStore/><target dev='vdb'/></disk>\
        </devices></domain>";

    fn copy(disk: &str, from: &str, to: &str) -> DiskCopy {
        DiskCopy {
            disk: disk.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            format: "qcow2".to_owned(),
            capacity: Bytes(1),
            allocation: Bytes(1),
            backing: None,
        }
    }

    #[test]
    fn paths_change_and_nothing_else_but_the_chain() {
        let there = relocated(XML, &[copy("vda", "/a/1", "/b/it's"), copy("vdb", "/a/2", "/b/2")]);
        let there = there.unwrap().unwrap();
        let expected = XML.replace("'/a/1'", "'/b/it&apos;s'").replace("'/a/2'", "'/b/2'").replace(
            "<backingStore type='file'><source file='/a/base'/><backingStore/></backingStore>",
            "",
        );
        assert_eq!(there, expected);
    }

    #[test]
    fn what_stays_as_it_is_needs_no_other_xml() {
        assert_eq!(relocated(XML, &[]).unwrap(), None);
        assert_eq!(relocated(XML, &[copy("vdb", "/a/2", "/a/2")]).unwrap(), None);
    }

    #[test]
    fn a_disk_that_is_another_by_now_is_an_error() {
        for (disk, from) in [("vda", "/a/2"), ("vdc", "/a/1")] {
            let error = relocated(XML, &[copy(disk, from, "/b")]).unwrap_err();
            assert!(error.to_string().contains("any more"), "{error}");
        }
    }

    #[test]
    fn state_outside_of_disks_is_seen() {
        assert_eq!(left_behind(XML).unwrap(), None);
        let nvram = XML.replace("<os/>", "<os><nvram>/var/x</nvram></os>");
        assert!(left_behind(&nvram).unwrap().unwrap().contains("UEFI"));
        let tpm = |kind: &str| {
            XML.replace("</devices>", &format!("<tpm><backend type='{kind}'/></tpm></devices>"))
        };
        assert!(left_behind(&tpm("emulator")).unwrap().unwrap().contains("TPM"));
        assert_eq!(left_behind(&tpm("passthrough")).unwrap(), None);
    }
}
