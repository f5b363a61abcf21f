//! Only the guests that the rule names.

use super::{MovableCase, Verdict};

pub(super) fn check(case: &MovableCase<'_>) -> Verdict {
    let wanted = &case.policy.guests;
    Verdict::unless(wanted.is_empty() || wanted.contains(&case.guest.guest.id), || {
        "the rule does not name this guest".to_owned()
    })
}
