//! The rule by which QEMU sends memory and ends.

use super::{Shade, real};

/// Set-up and completion around the memory, milliseconds: libvirt's five phases and a QEMU
/// that starts, as measured on an idle guest.
const AROUND_MS: f64 = 350.0;
/// What the pause costs beside the last pages, milliseconds: devices, and the guest's clocks.
const SWITCH_OVER_MS: f64 = 30.0;
/// How fast memory that was never written is found to be empty, bytes a millisecond.
const SCAN: f64 = 2e6;
/// A pass shorter than this ends it, milliseconds: QEMU measures over 100 ms.
const SHORTEST_PASS_MS: f64 = 20.0;
/// Passes after which it is said not to end.
const MOST_PASSES: u32 = 200;
/// A pass must leave at least this much less, or more of them do not help.
const BETTER: f64 = 0.99;

/// What is to be sent, bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) used: f64,
    pub(super) untouched: f64,
    pub(super) disks: f64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    /// The limit under which it ended; none when it did not.
    pub(super) limit_ms: Option<u64>,
    pub(super) total_ms: f64,
    pub(super) pause_ms: f64,
    pub(super) rounds: u32,
    pub(super) bytes: f64,
}

/// Under post-copy from the start: everything is sent once, while the guest runs at the target.
pub(super) fn at_once(shade: Shade, sizes: Sizes) -> Run {
    let Sizes { used, untouched, disks } = sizes;
    let total_ms = AROUND_MS + (used + disks) / shade.sending + untouched / SCAN + SWITCH_OVER_MS;
    Run { limit_ms: Some(0), total_ms, pause_ms: SWITCH_OVER_MS, rounds: 1, bytes: used }
}

pub(super) fn run(shade: Shade, sizes: Sizes, limit_ms: u64) -> Run {
    let fits = shade.sending * real(limit_ms);
    let most = shade.curve.working_set();
    let mut left = sizes.used;
    let mut bytes = 0.0;
    let mut ms = AROUND_MS + sizes.disks / shade.sending + sizes.untouched / SCAN;
    let mut rounds = 1;
    let mut over_before = f64::INFINITY;
    let mut ended = left <= fits;
    while !ended && rounds < MOST_PASSES {
        // All but what fits; then QEMU looks what was dirtied meanwhile.
        let sent = left - fits;
        let pass_ms = sent / shade.sending;
        (bytes, ms, rounds) = (bytes + sent, ms + pass_ms, rounds + 1);
        left = (fits + shade.curve.within(pass_ms)).min(most.max(fits));
        let over = left - fits;
        ended = over <= 0.0 || over / shade.sending < SHORTEST_PASS_MS;
        if !ended && over > over_before * BETTER {
            break;
        }
        over_before = over;
    }
    let last = left.min(sizes.used);
    // No cap holds while the guest stands still.
    let pause_ms = SWITCH_OVER_MS + last / shade.pausing;
    Run {
        limit_ms: ended.then_some(limit_ms),
        total_ms: ms + pause_ms,
        pause_ms,
        rounds,
        bytes: bytes + last,
    }
}
