//! What a migration that this agent does not know begins with. Pure.

use drover_model::GuestState;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// Send it.
    Depart,
    /// It is on its way, has gone, or has stopped: find out which.
    Follow,
    /// It must not be sent.
    Refuse(String),
}

/// Decides by what the hypervisor says of the guest: nothing, or a state, and whether a job runs;
/// and by whether this host has begun it before, whatever came of that. A second try could be taken
/// for the first, whose copy may stand on the target; and the command may be a late one, of what
/// has long been told to be over. (Found by the crash simulator.)
pub fn beginning(state: Option<GuestState>, job_runs: bool, begun_before: bool) -> Beginning {
    match state {
        _ if begun_before => Beginning::Follow,
        None | Some(GuestState::ShutOff | GuestState::Departed) => Beginning::Follow,
        Some(GuestState::PostCopy | GuestState::PostCopyFailed) => Beginning::Follow,
        Some(_) if job_runs => Beginning::Follow,
        Some(GuestState::Running | GuestState::Paused | GuestState::PausedByFault) => {
            Beginning::Depart
        }
        // Its memory came from or went to another host, where it may run by now: sent off
        // again, it could run twice.
        Some(
            state @ (GuestState::PausedForMigration
            | GuestState::ShuttingDown
            | GuestState::Crashed),
        ) => Beginning::Refuse(format!("it is {} here, which nothing may migrate", state.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_certainly_lives_here_is_sent() {
        use GuestState as S;
        for (state, job, expected) in [
            (Some(S::Running), false, Beginning::Depart),
            (Some(S::Paused), false, Beginning::Depart),
            (Some(S::Running), true, Beginning::Follow),
            (Some(S::PausedForMigration), true, Beginning::Follow),
            (Some(S::ShutOff), false, Beginning::Follow),
            (Some(S::PostCopyFailed), false, Beginning::Follow),
            (None, false, Beginning::Follow),
        ] {
            assert_eq!(beginning(state, job, false), expected, "{state:?} {job}");
            assert_eq!(beginning(state, job, true), Beginning::Follow);
        }
        for state in [S::PausedForMigration, S::ShuttingDown, S::Crashed] {
            assert!(
                matches!(beginning(Some(state), false, false), Beginning::Refuse(_)),
                "{state:?}"
            );
        }
    }
}
