//! Live migration is for guests that run.

use drover_model::GuestState;

use super::{MovableCase, Verdict};

pub(super) fn check(case: &MovableCase<'_>) -> Verdict {
    let state = case.guest.guest.state;
    Verdict::unless(state == GuestState::Running, || format!("it is {}", state.as_str()))
}
