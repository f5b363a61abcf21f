//! Checks and CPU baselines for people.

use drover_api::v1;

use crate::output::{ago, fields, table};

/// Every host with yes or no, and below each what was found and what helps.
pub(crate) fn matrix(check: &v1::GuestCheck) -> String {
    let mut text = format!("{} on {}, {}\n", check.guest, check.host, check.mode);
    let rows = check
        .targets
        .iter()
        .map(|target| {
            let blocks = target.findings.iter().filter(|finding| finding.blocks).count();
            let warns = target.findings.len() - blocks;
            vec![
                target.host.clone(),
                if target.allowed { "yes" } else { "no" }.to_owned(),
                blocks.to_string(),
                warns.to_string(),
            ]
        })
        .collect();
    text.push_str(&table(&["HOST", "CAN GO", "BLOCKS", "WARNINGS"], rows));
    for target in &check.targets {
        for finding in &target.findings {
            let weight = if finding.blocks { "blocks" } else { "warns" };
            text.push_str(&format!(
                "\n\n{} {weight} ({}): {}\n  cure: {}",
                target.host, finding.check, finding.cause, finding.cure
            ));
        }
    }
    if check.targets.is_empty() {
        text.push_str("\nthere is no other host");
    }
    text
}

/// What was found of moves that begin all the same, a line each; empty without any.
pub(crate) fn warnings<'w>(of: impl Iterator<Item = (&'w str, &'w v1::Finding)>) -> String {
    let line = |(of, finding): (&str, &v1::Finding)| {
        let (check, cause, cure) = (&finding.check, &finding.cause, &finding.cure);
        format!("\nwarning: {of} ({check}): {cause}\n  cure: {cure}")
    };
    of.map(line).collect()
}

/// The same of several guests.
pub(crate) fn all_warnings(of: &[v1::MoveWarnings]) -> String {
    let each = |one: &v1::MoveWarnings| {
        let of = format!("{} to {}", one.guest, one.host);
        warnings(one.findings.iter().map(|finding| (of.as_str(), finding)))
    };
    of.iter().map(each).collect()
}

pub(crate) fn baselines(baselines: &[v1::Baseline]) -> String {
    if baselines.is_empty() {
        return "no baseline is kept; `drover baseline compute` makes one".to_owned();
    }
    baselines.iter().map(baseline).collect::<Vec<String>>().join("\n\n")
}

pub(crate) fn baseline(of: &v1::Baseline) -> String {
    let hosts: Vec<String> = of.hosts.iter().map(host).collect();
    let state = if of.outdated { "outdated: compute it anew" } else { "current" };
    let shown = fields(&[
        ("baseline", of.group.clone()),
        ("generation", of.generation.to_string()),
        ("computed", ago(&of.computed)),
        ("state", state.to_owned()),
        ("for", of.virt_type.clone()),
        ("model", of.model.clone()),
        ("features", of.features.len().to_string()),
        ("hosts", hosts.join("\n")),
    ]);
    format!("{shown}\n{}", of.xml)
}

fn host(of: &v1::BaselineHost) -> String {
    match (of.changed.as_slice(), of.answered) {
        ([], true) => format!("{} as it was", of.host),
        ([], false) => format!("{} does not answer", of.host),
        (changed, _) => format!("{} changed: {}", of.host, changed.join(", ")),
    }
}

pub(crate) fn applied(applied: &[v1::AppliedCpu]) -> String {
    let row = |one: &v1::AppliedCpu| {
        vec![one.guest.clone(), one.counts.clone(), one.why.clone().unwrap_or_default()]
    };
    table(&["GUEST", "COUNTS", "WHY"], applied.iter().map(row).collect())
}

pub(crate) fn trapped(trapped: &[v1::TrappedGuest]) -> String {
    if trapped.is_empty() {
        return "no guest is trapped".to_owned();
    }
    let row =
        |one: &v1::TrappedGuest| vec![one.guest.clone(), one.host.clone(), one.why.join("; ")];
    table(&["GUEST", "HOST", "WHY"], trapped.iter().map(row).collect())
}
