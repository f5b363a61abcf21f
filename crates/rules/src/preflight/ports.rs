//! The ports of a migration, as the source really reached them.

use drover_model::{PortOutcome, PortPurpose};

use super::{Facts, Trouble};

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let Some(probes) = facts.ports.this() else { return Vec::new() };
    let (source, target) = (&facts.source.name, &facts.target.name);
    let trouble = |probe: &drover_model::PortProbe| {
        let what = match &probe.outcome {
            PortOutcome::Open => return None,
            PortOutcome::Refused => "is refused".to_owned(),
            PortOutcome::NoAnswer => "does not answer".to_owned(),
            PortOutcome::Failed { why } => format!("cannot be reached: {why}"),
        };
        let (purpose, cure) = match probe.purpose {
            PortPurpose::MigrationData => (
                "migration data",
                format!("let TCP ports 49152 to 49215 of {target} be reached from {source}"),
            ),
            PortPurpose::Libvirt => (
                "libvirtd",
                format!(
                    "let libvirtd of {target} listen there (`listen_tls`, or its socket unit), and the firewall let {source} through"
                ),
            ),
        };
        let (address, port) = (&probe.address, probe.port);
        Some(Trouble::blocks(
            format!("port {port} of {address} ({purpose}) {what}, tried from {source}"),
            cure,
        ))
    };
    probes.iter().filter_map(trouble).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Case;
    use super::*;

    #[test]
    fn a_port_that_is_not_open_is_told_with_what_it_is_for() {
        let failed = PortOutcome::Failed { why: "no route".to_owned() };
        for outcome in [PortOutcome::Refused, PortOutcome::NoAnswer, failed] {
            let mut case = Case::new();
            case.ports[0].outcome = outcome.clone();
            let told = case.told_by("port");
            assert!(told.len() == 1 && told[0].1.contains("49215"), "{told:?}");
            case.ports[1].outcome = outcome;
            let told = case.told_by("port");
            assert!(told.len() == 2 && told[1].1.contains("libvirtd"), "{told:?}");
        }
    }
}
