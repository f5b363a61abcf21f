//! libvirt takes two hosts with one UUID for one host and refuses to migrate between them.

use super::{Facts, Trouble};

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let (Some(source), Some(target)) = (facts.inspection.this(), facts.incoming.this()) else {
        return Vec::new();
    };
    match (source.host_uuid, target.host_uuid) {
        (Some(one), Some(other)) if one == other => vec![Trouble::blocks(
            format!(
                "{} and {} both have the host UUID {one}, as copied machines do",
                facts.source.name, facts.target.name
            ),
            "set another `host_uuid` in /etc/libvirt/libvirtd.conf of one of them, restart its \
             libvirtd and join it again",
        )],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Case;
    use super::super::{Severity, findings};

    #[test]
    fn copied_machines_are_found() {
        let mut case = Case::new();
        case.incoming.host_uuid = case.inspection.host_uuid;
        let (severity, cause) = case.says("host-uuid").unwrap();
        assert!(severity == Severity::Blocks && cause.contains("h1 and h2"), "{cause}");
        case.incoming.host_uuid = None;
        assert_eq!(case.says("host-uuid"), None);
    }

    #[test]
    fn the_guests_own_host_is_no_copy_of_itself() {
        let mut case = Case::new();
        case.incoming.host_uuid = case.inspection.host_uuid;
        case.target = case.source.clone();
        case.refuse(crate::constraint::Constraint::Place, "it is on h1 already");
        let found: Vec<String> = findings(&case.facts()).into_iter().map(|one| one.check).collect();
        assert_eq!(found, ["place"]);
    }
}
