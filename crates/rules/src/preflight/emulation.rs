//! A live move of an emulated guest by a QEMU that does not send all of its memory.
//!
//! Post-copy begins with a pass over memory as it is, and is concerned as well.

use super::{Facts, Trouble};
use crate::Initiative;
use crate::emulation::loss;

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    if !facts.is_live() {
        return Vec::new();
    }
    let found = loss(facts.guest, facts.source).map(|found| match facts.initiative {
        Initiative::Own => Trouble::blocks(found.cause, found.cure),
        Initiative::Request => Trouble::warns(
            format!("{}; rules and policies leave it where it is", found.cause),
            found.cure,
        ),
    });
    found.map(Trouble::everywhere).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use drover_model::{GuestState, MigrationMode, PostCopy, RunningQemu};

    use super::super::fixture::Case;
    use super::super::{Severity, findings, is_clear};
    use super::*;

    use GuestState::{Paused, Running, ShutOff};
    use Initiative::{Own, Request};
    use MigrationMode::{Cold, Live, Rescue};

    #[test]
    fn a_person_is_warned_and_drover_itself_does_not_do_it() {
        let (blocks, warns) = (Some(Severity::Blocks), Some(Severity::Warns));
        for (kind, state, mode, version, initiative, severity) in [
            ("qemu", Running, Live, "7.2.22", Own, blocks),
            ("qemu", Running, Live, "7.2.22", Request, warns),
            ("qemu", Running, Live, "8.2.2", Own, blocks),
            ("qemu", Running, Live, "9.0.0", Own, None),
            ("qemu", Running, Live, "10.0.13", Request, None),
            ("qemu", Running, Cold, "7.2.22", Own, None),
            ("qemu", ShutOff, Cold, "7.2.22", Request, None),
            ("qemu", ShutOff, Live, "7.2.22", Own, None),
            ("qemu", Paused, Live, "7.2.22", Own, None),
            ("qemu", Running, Rescue, "7.2.22", Own, None),
            ("xen", Running, Live, "7.2.22", Own, blocks),
            ("kvm", Running, Live, "7.2.22", Own, None),
            ("kvm", Running, Live, "7.2.22", Request, None),
            ("", Running, Live, "7.2.22", Own, None),
        ] {
            let mut case = Case::new();
            case.guest.virt_type = kind.to_owned();
            case.guest.state = state;
            case.settings.mode = mode;
            case.guest.qemu = Some(RunningQemu::Known { version: version.to_owned() });
            case.initiative = initiative;
            for post_copy in [PostCopy::Never, PostCopy::Allow, PostCopy::Now] {
                case.settings.post_copy = post_copy;
                let told = case.says(crate::EMULATED_MEMORY).map(|(severity, _)| severity);
                let what = format!("{kind} {state:?} {mode:?} {version} {initiative:?}");
                assert_eq!(told, severity, "{what} {post_copy:?}");
            }
        }
    }

    #[test]
    fn no_other_target_and_no_newer_target_would_help() {
        let mut case = Case::new();
        case.guest.virt_type = "qemu".to_owned();
        case.target.capabilities.qemu = "10.0.13".to_owned();
        case.initiative = Own;
        let found = findings(&case.facts());
        assert!(found.len() == 1 && found[0].everywhere && !is_clear(&found), "{found:?}");
        assert!(!found[0].cause.is_empty() && !found[0].cure.is_empty());
        case.initiative = Request;
        assert!(is_clear(&findings(&case.facts())));
    }
}
