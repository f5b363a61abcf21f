//! Microcode switches CPU features off and on, and what libvirt compared may be of yesterday.

use super::{Facts, Trouble};

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let (from, to) = (&facts.source.capabilities.cpu, &facts.target.capabilities.cpu);
    // Between different processors the revisions mean nothing.
    let comparable = (&from.model, &from.vendor) == (&to.model, &to.vendor);
    match (&from.microcode, &to.microcode) {
        (Some(one), Some(other))
            if one != other && comparable && facts.is_live() && !facts.settings.skip_cpu_check =>
        {
            vec![Trouble::warns(
                format!(
                    "{} has microcode {one}, {} has {other}",
                    facts.source.name, facts.target.name
                ),
                "bring both to one revision; --skip-cpu-check silences this",
            )]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::fixture::Case;

    #[test]
    fn a_difference_is_told_between_equal_processors() {
        let mut case = Case::new();
        case.target.capabilities.cpu.microcode = Some("0x2".to_owned());
        assert_eq!(
            case.says("microcode"),
            Some((Severity::Warns, "h1 has microcode 0x1, h2 has 0x2".to_owned()))
        );
        let mut skipped = Case::new();
        skipped.target.capabilities.cpu.microcode = Some("0x2".to_owned());
        skipped.settings.skip_cpu_check = true;
        assert_eq!(skipped.says("microcode"), None);
        case.target.capabilities.cpu.model = "Skylake".to_owned();
        assert_eq!(case.says("microcode"), None);
        let mut unknown = Case::new();
        unknown.target.capabilities.cpu.microcode = None;
        assert_eq!(unknown.says("microcode"), None);
    }
}
