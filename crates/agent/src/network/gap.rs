//! How long a guest was silent. Pure.

use std::time::Duration;

/// Fewer answers than this before the switch-over tell nothing: perhaps the guest does not
/// answer such questions.
const MIN_BEFORE: usize = 3;

/// So many answers after the resume show that the guest is back, not only a frame of it. At
/// 20 ms each: half a second without a further hole.
const ENOUGH_AFTER: usize = 25;

/// When no answer comes for so long after the resume, the guest is cut off.
const CUT_OFF_AFTER: Duration = Duration::from_secs(60);

/// The answers to questions around a switch-over. Times are since any fixed moment.
#[derive(Debug, Default)]
pub struct Answers {
    before: usize,
    after: usize,
    last: Option<Duration>,
    longest: Duration,
    resumed: Option<Duration>,
}

/// What the answers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was silent for so long and is back.
    Silent(Duration),
    /// It has been silent for so long, and still is.
    StillSilent(Duration),
    /// It never answered, or too seldom.
    Unknown,
}

impl Answers {
    /// An answer came.
    pub fn answer(&mut self, at: Duration) {
        if self.resumed.is_some() {
            self.after += 1;
            if let Some(last) = self.last {
                self.longest = self.longest.max(at.saturating_sub(last));
            }
        } else {
            self.before += 1;
        }
        self.last = Some(at);
    }

    /// The target was told to let the guest run. The source's copy is gone by then: an
    /// answer that comes later is the target's.
    pub fn resume(&mut self, at: Duration) {
        self.resumed.get_or_insert(at);
    }

    /// The verdict, once there is one.
    pub fn verdict(&self, now: Duration) -> Option<Verdict> {
        let resumed = self.resumed?;
        let waited = now.saturating_sub(resumed);
        let known = self.before >= MIN_BEFORE;
        let silence = self.last.map_or(waited, |last| now.saturating_sub(last));
        match (known, self.after) {
            (false, _) => Some(Verdict::Unknown),
            (true, ENOUGH_AFTER..) => Some(Verdict::Silent(self.longest)),
            (true, _) if waited < CUT_OFF_AFTER => None,
            (true, 0) => Some(Verdict::StillSilent(silence)),
            // It answers now and then.
            (true, _) => Some(Verdict::Silent(self.longest.max(silence))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn answers(before: &[u64], resumed: u64, after: impl IntoIterator<Item = u64>) -> Answers {
        let mut answers = Answers::default();
        before.iter().for_each(|at| answers.answer(ms(*at)));
        answers.resume(ms(resumed));
        after.into_iter().for_each(|at| answers.answer(ms(at)));
        answers
    }

    #[test]
    fn the_silence_around_the_switch_over_is_measured() {
        let steady = |from: u64| (0..25).map(move |n| from + 20 * n);
        let answers = answers(&[0, 500, 520, 540], 700, steady(760));
        assert_eq!(answers.verdict(ms(1300)), Some(Verdict::Silent(ms(220))), "540 to 760");
    }

    #[test]
    fn a_hole_after_the_first_answer_counts_too() {
        let mut steady: Vec<u64> = (0..25).map(|n| 4000 + 20 * n).collect();
        steady.insert(0, 760);
        let answers = answers(&[500, 520, 540], 700, steady);
        assert_eq!(answers.verdict(ms(5000)), Some(Verdict::Silent(ms(3240))));
    }

    #[test]
    fn a_repeated_resume_changes_nothing() {
        let mut answers = answers(&[0, 20, 40], 100, [200]);
        answers.resume(ms(300));
        assert_eq!(answers.verdict(ms(400)), None, "not enough answers yet");
        assert_eq!(answers.verdict(ms(60_100)), Some(Verdict::Silent(ms(59_900))));
    }

    #[test]
    fn a_guest_that_stays_silent_is_told_and_one_that_never_answered_is_not() {
        assert_eq!(
            answers(&[0, 20, 40], 100, []).verdict(ms(60_100)),
            Some(Verdict::StillSilent(ms(60_060)))
        );
        assert_eq!(answers(&[0, 20, 40], 100, []).verdict(ms(60_000)), None);
        assert_eq!(answers(&[0, 20], 100, []).verdict(ms(110)), Some(Verdict::Unknown));
        assert_eq!(Answers::default().verdict(ms(99_999)), None, "not resumed");
    }
}
