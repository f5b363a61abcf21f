//! Each way of moving is for guests in some states.

use drover_model::{GuestState as S, MigrationMode};

use super::{MovableCase, Verdict};

pub(super) fn check(case: &MovableCase<'_>) -> Verdict {
    let state = case.guest.guest.state;
    let fits = match case.policy.mode {
        MigrationMode::Live => matches!(state, S::Running),
        MigrationMode::Cold => matches!(state, S::ShutOff),
        // What it was before its host died does not matter.
        MigrationMode::Rescue => true,
    };
    Verdict::unless(fits, || format!("it is {}", state.as_str()))
}
