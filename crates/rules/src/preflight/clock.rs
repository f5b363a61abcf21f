//! Clocks of two hosts that differ: the guest's real-time clock is QEMU's, which is the host's,
//! so the guest's time jumps with the move, and certificates and logs disagree.

use super::{Facts, Trouble};

/// From here on a guest notices: databases and Kerberos are set for less, but not for more.
const NOTABLE_MS: u64 = 1_000;
/// From here on a host keeps no time at all: one that does is within milliseconds.
const BROKEN_MS: u64 = 5_000;

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let Some(skew) = facts.skew_ms.filter(|_| facts.is_live()) else { return Vec::new() };
    let size = skew.unsigned_abs();
    if size <= NOTABLE_MS {
        return Vec::new();
    }
    let direction = if skew > 0 { "ahead of" } else { "behind" };
    let (seconds, tenths) = (size / 1000, size % 1000 / 100);
    let cause = format!(
        "the clock of {} is {seconds}.{tenths} s {direction} that of {}",
        facts.target.name, facts.source.name
    );
    let cure = "let both follow one time server (`chronyc tracking`, `chronyc makestep`)";
    vec![if size > BROKEN_MS { Trouble::blocks(cause, cure) } else { Trouble::warns(cause, cure) }]
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::fixture::Case;

    #[test]
    fn a_second_is_told_and_five_are_refused() {
        for (skew, severity) in [
            (None, None),
            (Some(1_000), None),
            (Some(-1_001), Some(Severity::Warns)),
            (Some(5_000), Some(Severity::Warns)),
            (Some(-5_001), Some(Severity::Blocks)),
            (Some(i64::MIN), Some(Severity::Blocks)),
        ] {
            let mut case = Case::new();
            case.skew_ms = skew;
            assert_eq!(case.says("clock").map(|(severity, _)| severity), severity, "{skew:?}");
        }
        let mut case = Case::new();
        case.skew_ms = Some(-2_340);
        let said = case.says("clock").unwrap().1;
        assert_eq!(said, "the clock of h2 is 2.3 s behind that of h1");
    }
}
