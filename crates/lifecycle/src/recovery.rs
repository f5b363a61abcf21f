//! A transfer that broke after the switch to post-copy: how long QEMU's stream is left alone.
//!
//! libvirt calls a transfer broken when its own connection to the target is. QEMU's stream is
//! another one, and TCP holds it for a quarter of an hour: it goes on by itself once the line
//! is back. To go on by libvirt's hand it must be severed first, and a QEMU that waits for a page
//! with its one lock held then hears nothing of the new one. So it is left alone for as long as
//! TCP may take to send again.

use drover_model::BrokenStream;

/// How long a stream is left alone once the target is heard again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// However short the break was, milliseconds.
    pub at_least_ms: u64,
    /// However long it was, milliseconds.
    pub at_most_ms: u64,
}

impl Default for Patience {
    /// A sender that gets no answer doubles its wait each time, up to 120 s (TCP_RTO_MAX), so
    /// that it sends again within as long as the line was dead. libvirt notices a dead line
    /// after some 35 s; 10 s are for the machine.
    fn default() -> Self {
        Self { at_least_ms: 45_000, at_most_ms: 130_000 }
    }
}

/// A transfer that broke after the switch. Times are milliseconds of any clock that never
/// goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// Nothing has come over since; none where the break was not seen.
    since: Option<u64>,
    /// The target has been heard since.
    heard: Option<u64>,
}

impl Broken {
    /// It broke now.
    #[must_use]
    pub const fn new(now: u64) -> Self {
        Self { since: Some(now), heard: None }
    }

    /// It broke some time ago, before anybody looked.
    #[must_use]
    pub const fn unseen() -> Self {
        Self { since: None, heard: None }
    }

    /// For how long nothing has come over; none where that is not known.
    #[must_use]
    pub fn still_for(&self, now: u64) -> Option<u64> {
        self.since.map(|since| now.saturating_sub(since))
    }

    /// More of the guest's memory has come over.
    pub const fn moved(&mut self, now: u64) {
        self.since = Some(now);
        if self.heard.is_some() {
            self.heard = Some(now);
        }
    }

    /// The target's hypervisor answers.
    pub const fn target_answers(&mut self, now: u64) {
        if self.heard.is_none() {
            self.heard = Some(now);
        }
    }

    /// It does not.
    pub const fn target_is_silent(&mut self) {
        self.heard = None;
    }

    /// What becomes of the stream when it is gone on with now.
    #[must_use]
    pub fn stream(&self, now: u64, patience: Patience) -> BrokenStream {
        let Some(heard) = self.heard else { return BrokenStream::Leave };
        let outage = self.since.map_or(u64::MAX, |since| heard.saturating_sub(since));
        let wait = outage.saturating_add(patience.at_least_ms).min(patience.at_most_ms);
        if now.saturating_sub(heard) < wait { BrokenStream::Leave } else { BrokenStream::Sever }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { at_least_ms: 45_000, at_most_ms: 130_000 };

    #[test]
    fn a_stream_is_left_alone_for_as_long_as_the_line_was_dead() {
        for (heard, severed) in [(0, 45_000), (20_000, 85_000), (600_000, 730_000)] {
            let mut broken = Broken::new(0);
            broken.target_answers(heard);
            // Heard again and again is heard since the first time.
            broken.target_answers(heard + 5_000);
            assert_eq!(broken.stream(severed - 1, PATIENCE), BrokenStream::Leave, "{heard}");
            assert_eq!(broken.stream(severed, PATIENCE), BrokenStream::Sever, "{heard}");
        }
    }

    #[test]
    fn a_target_that_is_silent_leaves_it_alone_for_ever() {
        let mut broken = Broken::new(0);
        assert_eq!(broken.stream(10_000_000, PATIENCE), BrokenStream::Leave);
        broken.target_answers(1_000);
        broken.target_is_silent();
        assert_eq!(broken.stream(10_000_000, PATIENCE), BrokenStream::Leave);
        // The line was dead for all that time.
        broken.target_answers(10_000_000);
        assert_eq!(broken.stream(10_129_999, PATIENCE), BrokenStream::Leave);
    }

    #[test]
    fn one_whose_break_was_not_seen_may_have_been_dead_for_long() {
        let mut broken = Broken::unseen();
        broken.target_answers(1_000);
        assert_eq!(broken.stream(130_999, PATIENCE), BrokenStream::Leave);
        assert_eq!(broken.stream(131_000, PATIENCE), BrokenStream::Sever);
        broken.moved(131_000);
        assert_eq!(broken.stream(175_999, PATIENCE), BrokenStream::Leave);
        assert_eq!(broken.stream(176_000, PATIENCE), BrokenStream::Sever);
    }

    #[test]
    fn one_that_moves_is_not_severed() {
        let mut broken = Broken::new(0);
        broken.target_answers(30_000);
        broken.moved(70_000);
        assert_eq!(broken.stream(114_999, PATIENCE), BrokenStream::Leave);
        assert_eq!(broken.stream(115_000, PATIENCE), BrokenStream::Sever);
    }
}
