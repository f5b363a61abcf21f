//! When announcements and questions are sent. Pure.

use std::time::Duration;

/// QEMU's own times (`announce-initial` 50 ms, `announce-step` 100 ms, `announce-max`
/// 550 ms): most switches learn from the first, and one that was busy from the next.
const FIRST_MS: [u64; 5] = [0, 50, 150, 300, 550];

/// From then on.
const THEN_EVERY: Duration = Duration::from_secs(1);

/// A guest that says nothing for so long has nothing to say; its switches know by then, the
/// slowest by a spanning tree's 2 × 15 s of forward delay.
pub const ANNOUNCE_LIMIT: Duration = Duration::from_secs(30);

/// When the announcement of this number (from 0) is due, since the guest runs; none beyond
/// the limit.
pub fn announcement_due(number: usize) -> Option<Duration> {
    let due = match FIRST_MS.get(number) {
        Some(millis) => Duration::from_millis(*millis),
        None => {
            let later = u32::try_from(number - FIRST_MS.len() + 1).ok()?;
            Duration::from_millis(FIRST_MS[FIRST_MS.len() - 1]) + THEN_EVERY * later
        }
    };
    (due <= ANNOUNCE_LIMIT).then_some(due)
}

/// Time between two questions: the resolution of the measured blackout. 50 frames of 60
/// octets in a second are 24 kbit/s.
pub const QUESTION_EVERY: Duration = Duration::from_millis(20);

/// IPv6 answers go to all nodes: fewer of them.
pub const QUESTION_EVERY_V6: Duration = Duration::from_millis(100);

/// A copy that takes longer than this is asked at the slow pace.
const QUICK_FOR: Duration = Duration::from_secs(600);

/// Pace in a long copy: a guest of terabytes should not answer 50 times a second for hours.
const SLOW_EVERY: Duration = Duration::from_millis(100);

/// How long to wait before the next question, when asking has gone on for so long.
pub fn question_pause(asking: Duration, v6: bool) -> Duration {
    if v6 {
        QUESTION_EVERY_V6
    } else if asking < QUICK_FOR {
        QUESTION_EVERY
    } else {
        SLOW_EVERY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_close_at_first_and_end() {
        let due: Vec<u128> = (0..).map_while(announcement_due).map(|due| due.as_millis()).collect();
        assert_eq!(due[..7], [0, 50, 150, 300, 550, 1550, 2550]);
        assert_eq!(due.last(), Some(&29550));
    }

    #[test]
    fn questions_are_fewer_in_a_long_copy_and_for_ipv6() {
        let at = |seconds, v6| question_pause(Duration::from_secs(seconds), v6).as_millis();
        assert_eq!((at(0, false), at(599, false), at(600, false)), (20, 20, 100));
        assert_eq!((at(0, true), at(9999, true)), (100, 100));
    }
}
