//! Whoever does not answer cannot be judged, and could not carry the move out either.

use super::{Facts, Told, Trouble};
use crate::constraint::Constraint;

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let (source, target) = (&facts.source.name, &facts.target.name);
    // Nobody expects a word of a host that sleeps, and that it does is told.
    let asleep = facts.refusals.iter().any(|refusal| refusal.constraint == Constraint::Asleep);
    let inspection = silent(&facts.inspection, source, "about the guest");
    let incoming = silent(&facts.incoming, target, "whether it can take the guest");
    let ports = silent(&facts.ports, source, "which ports it reaches");
    let of_target = incoming.into_iter().chain(ports).filter(|_| !asleep);
    inspection.map(Trouble::everywhere).into_iter().chain(of_target).collect()
}

fn silent<T: ?Sized>(told: &Told<'_, T>, host: &str, what: &str) -> Option<Trouble> {
    match told {
        Told::This(_) | Told::NotAsked => None,
        Told::Nothing(why) => Some(Trouble::blocks(
            format!("{host} does not tell {what}: {why}"),
            format!(
                "see that drover-agent and libvirtd run on {host}, in the controller's version"
            ),
        )),
        Told::Unable(version) => Some(Trouble::warns(
            format!("{host} cannot tell {what}: its agent is of version {version}"),
            format!("update drover-agent on {host}; until then libvirt alone checks the move"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Case;
    use super::super::{ANSWER, findings, is_clear};
    use super::*;

    #[test]
    fn silence_blocks_and_names_who_is_silent() {
        let case = Case::new();
        let mut facts = case.facts();
        facts.incoming = Told::Nothing("no answer");
        let told = check(&facts);
        assert!(told.len() == 1 && told[0].cause.starts_with("h2 "), "{told:?}");
        assert!(!told[0].everywhere, "another target may answer");
        facts.incoming = Told::NotAsked;
        assert_eq!(check(&facts), []);
        facts.inspection = Told::Nothing("no answer");
        assert!(check(&facts)[0].everywhere, "whoever the target is");
    }

    #[test]
    fn of_a_host_that_sleeps_no_word_is_missed() {
        let mut case = Case::new();
        case.refuse(Constraint::Asleep, "h2 is parked");
        let mut facts = case.facts();
        facts.incoming = Told::Nothing("the host's agent is not connected");
        facts.ports = Told::Nothing("h2 does not listen");
        let told: Vec<_> = findings(&facts).into_iter().map(|one| (one.check, one.cause)).collect();
        assert_eq!(told, [("asleep".to_owned(), "h2 is parked".to_owned())]);
        facts.inspection = Told::Nothing("no answer");
        assert_eq!(check(&facts).len(), 1, "the source is not asleep");
    }

    #[test]
    fn an_agent_that_is_too_old_to_be_asked_is_no_reason_to_stay() {
        let case = Case::new();
        let mut facts = case.facts();
        facts.incoming = Told::Unable("0.0.9");
        facts.ports = Told::Unable("0.0.9");
        let found = findings(&facts);
        assert!(is_clear(&found) && found.len() == 2, "{found:?}");
        assert!(found.iter().all(|one| one.check == ANSWER && one.cause.contains("0.0.9")));
    }
}
