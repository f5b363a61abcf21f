//! libvirt's XML and statistics as the model's nouns: pure.

mod capabilities;
mod cpu;
mod domain;
mod inspection;
mod stats;

pub(crate) use capabilities::{capabilities, pool};
pub(crate) use cpu::{fit, host_model, named_cpu, with_cpu};
pub(crate) use domain::{guest, guest_state, is_half_here};
pub(crate) use inspection::{Parts, parts};
pub(crate) use stats::{dirty_window, guest_stats, outcome, progress};

use roxmltree::Node;

/// libvirt's `major * 1,000,000 + minor * 1,000 + release`.
pub(crate) fn version(number: u64) -> (u32, u32, u32) {
    let part = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    (part(number / 1_000_000), part(number / 1000 % 1000), part(number % 1000))
}

/// The first child with this name.
pub(crate) fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// The text of the first child with this name.
fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    node.children()
        .find(|child| child.has_tag_name(name))
        .and_then(|child| child.text())
        .map(|text| text.trim().to_owned())
}

/// An attribute as owned text.
pub(crate) fn attribute(node: Node<'_, '_>, name: &str) -> Option<String> {
    node.attribute(name).map(str::to_owned)
}
