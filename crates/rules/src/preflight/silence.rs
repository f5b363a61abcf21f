//! Whoever does not answer cannot be judged, and could not carry the move out either.

use super::{Facts, Told, Trouble};

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let (source, target) = (&facts.source.name, &facts.target.name);
    let inspection = silent(&facts.inspection, source, "about the guest");
    let incoming = silent(&facts.incoming, target, "whether it can take the guest");
    let ports = silent(&facts.ports, source, "which ports it reaches");
    inspection.into_iter().chain(incoming).chain(ports).collect()
}

fn silent<T: ?Sized>(told: &Told<'_, T>, host: &str, what: &str) -> Option<Trouble> {
    let Told::Nothing(why) = told else { return None };
    Some(Trouble::blocks(
        format!("{host} does not tell {what}: {why}"),
        format!("see that drover-agent and libvirtd run on {host}, in the controller's version"),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Case;
    use super::*;

    #[test]
    fn silence_blocks_and_names_who_is_silent() {
        let case = Case::new();
        let mut facts = case.facts();
        facts.incoming = Told::Nothing("no answer");
        let told = check(&facts);
        assert!(told.len() == 1 && told[0].cause.starts_with("h2 "), "{told:?}");
        facts.incoming = Told::NotAsked;
        assert_eq!(check(&facts), []);
    }
}
