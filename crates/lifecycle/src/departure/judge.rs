//! What has become of a migration that nobody waits for. Pure.

use drover_model::{GuestState, MigrationProgress};

use crate::FailureKind;

/// How many looks in a row must find no job before it counts as over: between libvirt's
/// phases it may show none.
pub const QUIET_LOOKS: u32 = 5;

/// For so long, milliseconds, a guest that is shut off may still turn out to have left: when
/// its process dies after all of it has been sent, libvirt's job goes on, and says so by removing
/// the definition. Past libvirt's keepalive, 25 to 30 s, no such job is left.
/// (Found by the crash simulator.)
pub const MAY_HAVE_LEFT_MS: u64 = 35_000;

/// What one look found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// The guest's state; none when a hypervisor that is up says there is no such guest.
    pub state: Option<GuestState>,
    /// The running job.
    pub job: Option<MigrationProgress>,
    /// No process of the guest is left.
    pub process_gone: bool,
    /// Looks in a row, this one included, that found no job.
    pub quiet: u32,
    /// For how long it has been found shut off, milliseconds.
    pub off_ms: u64,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// The job runs.
    Runs(MigrationProgress),
    /// Not known yet.
    LookAgain,
    /// The guest has left.
    Left,
    /// The transfer broke after the switch to post-copy.
    Broke,
    /// The job is over and the guest did not leave; `Gone` where its process has ended.
    Stayed(FailureKind, &'static str),
}

/// Judges one look.
///
/// The end of its process alone proves nothing: when the answer to libvirt's last phase is lost,
/// the source's libvirtd lets the guest run again, and the copy on the target knows nothing of
/// what it writes until it ends for another reason. (Found by the crash simulator.)
pub fn judge(look: &Look) -> Verdict {
    let over = look.quiet >= QUIET_LOOKS;
    match (look.state, look.job) {
        (None | Some(GuestState::Departed), _) if look.process_gone => Verdict::Left,
        (None | Some(GuestState::Departed), _) => Verdict::LookAgain,
        (Some(GuestState::ShutOff), _) if look.off_ms < MAY_HAVE_LEFT_MS => Verdict::LookAgain,
        (Some(GuestState::ShutOff), _) => {
            Verdict::Stayed(FailureKind::Gone, "the guest stopped during its migration")
        }
        (Some(GuestState::PostCopyFailed), _) => Verdict::Broke,
        (Some(_), Some(progress)) => Verdict::Runs(progress),
        (Some(_), None) if !over => Verdict::LookAgain,
        // Its process has ended; libvirt is about to say what that means.
        (Some(_), None) if look.process_gone => Verdict::LookAgain,
        (Some(GuestState::PausedForMigration), None) => Verdict::Stayed(
            FailureKind::Conflict,
            "the job is over and the guest was left paused; it may have arrived at the target",
        ),
        (Some(GuestState::Crashed), None) => {
            Verdict::Stayed(FailureKind::Broken, "the guest crashed during its migration")
        }
        // After the switch only the transfer's end, or its break, says more.
        (Some(GuestState::ShuttingDown | GuestState::PostCopy), None) => Verdict::LookAgain,
        (Some(GuestState::Running | GuestState::Paused | GuestState::PausedByFault), None) => {
            Verdict::Stayed(FailureKind::Broken, "the job is over and the guest is still here")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_left_only_when_libvirt_and_the_process_table_agree() {
        use FailureKind as K;
        use GuestState as S;
        let job = Some(MigrationProgress::default());
        let stayed =
            |kind| move |verdict: Verdict| matches!(verdict, Verdict::Stayed(k, _) if k == kind);
        let is = |expected: Verdict| move |verdict: Verdict| verdict == expected;
        let again = || Box::new(is(Verdict::LookAgain)) as Box<dyn Fn(Verdict) -> bool>;
        for (state, job, process_gone, quiet, holds) in [
            (None, None, true, 1, Box::new(is(Verdict::Left)) as Box<dyn Fn(Verdict) -> bool>),
            (None, None, false, 99, again()),
            (Some(S::Departed), None, true, 1, Box::new(is(Verdict::Left))),
            (Some(S::Running), job, false, 0, Box::new(|v| matches!(v, Verdict::Runs(_)))),
            (
                Some(S::PausedForMigration),
                job,
                false,
                0,
                Box::new(|v| matches!(v, Verdict::Runs(_))),
            ),
            (Some(S::Running), None, false, 1, again()),
            (Some(S::Running), None, false, QUIET_LOOKS, Box::new(stayed(K::Broken))),
            (Some(S::Running), None, true, QUIET_LOOKS, again()),
            (Some(S::PausedForMigration), None, false, QUIET_LOOKS, Box::new(stayed(K::Conflict))),
            (Some(S::ShuttingDown), None, false, QUIET_LOOKS, again()),
            (Some(S::ShutOff), None, true, 1, Box::new(stayed(K::Gone))),
            (Some(S::Crashed), None, false, QUIET_LOOKS, Box::new(stayed(K::Broken))),
        ] {
            let look = Look { state, job, process_gone, quiet, off_ms: MAY_HAVE_LEFT_MS };
            let verdict = judge(&look);
            assert!(holds(verdict), "{look:?} is {verdict:?}");
        }
    }

    #[test]
    fn a_guest_that_is_shut_off_may_still_have_left() {
        let look = |state, off_ms| Look { state, job: None, process_gone: true, quiet: 9, off_ms };
        let off = Some(GuestState::ShutOff);
        assert_eq!(judge(&look(off, MAY_HAVE_LEFT_MS - 1)), Verdict::LookAgain);
        assert!(matches!(judge(&look(off, MAY_HAVE_LEFT_MS)), Verdict::Stayed(..)));
        assert_eq!(judge(&look(None, MAY_HAVE_LEFT_MS - 1)), Verdict::Left);
    }
}
