//! A guest that was moved stays for a while: no ping-pong.

use super::{MovableCase, Verdict};

pub(super) fn check(case: &MovableCase<'_>) -> Verdict {
    let Some(moved) = case.guest.last_moved else { return Verdict::Allowed };
    let rested = case.projection.view().at.since(moved);
    let cooldown = case.policy.cooldown;
    Verdict::unless(rested >= cooldown, || {
        format!(
            "it was moved {:.0} s ago and stays for {:.0} s",
            rested.as_secs_f64(),
            cooldown.as_secs_f64()
        )
    })
}
