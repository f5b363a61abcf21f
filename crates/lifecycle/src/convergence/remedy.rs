//! What is done about a migration that does not end by itself.

use drover_model::PostCopy;

use super::passes::{Passes, real};
use super::{Action, Advice, Convergence, Limits, Stage, WhenStuck};

/// Passes after the best one, none of them better, that make a stall: a single one may be
/// unlucky. Counted in passes, so that a small guest is not waited for and a large one is not
/// hurried.
const STALL_PASSES: u32 = 2;
/// A stall also lasts this long, milliseconds: passes of a tenth of a second follow each
/// other shortly before the end.
const STALL_MS: u64 = 2_000;
/// How much more than the quietest pass needed a limit allows, by the number of remedies
/// before: at first the guest has to be as quiet as it was, later less and less so.
const SLACK: [f64; 5] = [1.04, 1.25, 1.5, 2.0, 3.0];
/// A limit is raised by at least this, so that it is not raised for ever.
const LEAST_RAISE: f64 = 1.25;
/// Room above the need that a forced finish gives.
const FORCED_SLACK: f64 = 1.25;
/// Of what a link is known to carry, so much is reckoned with during the pause: others may
/// use it by then.
const LINK_PART: f64 = 0.7;
/// A limit is stretched by no more than this, whatever the link: what is known of it may be
/// old.
const MOST_STRETCH: f64 = 20.0;
/// Longest pause that a forced finish lets QEMU plan, milliseconds. A longer one is had by
/// pausing the guest: it lasts no longer, and it begins now.
const FORCED_CEILING_MS: u64 = 30_000;
/// Nothing sent for so long means that the link is dead, milliseconds: TCP itself gives up
/// only after a quarter of an hour.
const SILENCE_MS: u64 = 120_000;
/// Without a timeout a migration has the time of so many first passes: a tenth of what the
/// link carries is then all that it was good for.
const DEADLINE_PASSES: u64 = 10;
/// And never less than this, milliseconds: a guest's busy minute may pass.
const SHORTEST_DEADLINE_MS: u64 = 120_000;
/// The most that QEMU slows a guest down, percent.
const FULL_THROTTLE: u8 = 99;
/// Throttling that has not risen for so long will not help any more, milliseconds.
const THROTTLE_PATIENCE_MS: u64 = 20_000;

pub(super) fn deadline_ms(limits: &Limits, passes: &Passes) -> Option<u64> {
    limits.timeout_ms.or_else(|| {
        let first = passes.first_pass_ms()?;
        Some(first.saturating_mul(DEADLINE_PASSES).max(SHORTEST_DEADLINE_MS))
    })
}

impl Convergence {
    pub(super) fn decide(&mut self) -> Vec<Advice> {
        if self.stage == Stage::Done {
            return vec![];
        }
        if self.passes.silent_ms() >= SILENCE_MS {
            self.stage = Stage::Done;
            let reason = format!(
                "nothing has been sent for {}: the link to the target is down or full; try \
                 again when it is not",
                span(SILENCE_MS)
            );
            return vec![Advice { action: Action::Abort, reason }];
        }
        if self.stage == Stage::Paused {
            return vec![];
        }
        let late = self.deadline_ms().filter(|deadline| self.passes.now_ms() >= *deadline);
        if let Some(deadline) = late {
            return vec![self.out_of_time(deadline)];
        }
        if self.passes.first_pass_ms().is_none() {
            return vec![];
        }
        if self.limits.post_copy == PostCopy::Now {
            return vec![self.switch("the first pass is over, and post-copy was asked for")];
        }
        let (passes, for_ms) = self.passes.without_progress();
        if self.stage == Stage::Waiting || passes < STALL_PASSES || for_ms < STALL_MS {
            return vec![];
        }
        self.stalled().into_iter().collect()
    }

    fn stalled(&mut self) -> Option<Advice> {
        let need = self.passes.least_need_ms()?;
        let advice = if let Some(cap) = self.spare_bandwidth() {
            self.bandwidth_raised = true;
            let reason = format!(
                "passes do not get shorter: the quietest would need a pause of {}; the link has \
                 room for more",
                span_of(need)
            );
            Some(Advice { action: Action::SetBandwidth(cap), reason })
        } else if self.stage == Stage::Forcing {
            Some(self.pause("no pass was as quiet as before"))
        } else if let Some(limit) = self.next_limit(need) {
            Some(self.raise(limit, need))
        } else {
            self.beyond_the_maximum(need)
        };
        self.remedies += 1;
        self.passes.mark();
        advice
    }

    fn spare_bandwidth(&self) -> Option<u64> {
        self.limits.spare_bandwidth_mib_s.filter(|_| !self.bandwidth_raised)
    }

    /// A higher limit that the guest allows and that would do; none when there is none.
    fn next_limit(&self, need: f64) -> Option<u64> {
        let most = self.most_ms();
        if self.limit_ms >= most || need * SLACK[0] > real(most) {
            return None;
        }
        let steps = usize::try_from(self.remedies).unwrap_or(usize::MAX);
        let slack = SLACK[steps.min(SLACK.len() - 1)];
        let wanted = (need * slack).max(real(self.limit_ms) * LEAST_RAISE);
        Some(whole(wanted).clamp(self.limit_ms, most))
    }

    /// The guest's maximum in QEMU's reckoning, milliseconds.
    fn most_ms(&self) -> u64 {
        whole(real(self.limits.max_downtime_ms) * self.stretch())
    }

    /// How many times as much the link carries while no cap holds.
    fn stretch(&self) -> f64 {
        let link = self.limits.link_mib_s.map(|link| real(link << 20) * LINK_PART);
        match (link, self.passes.bandwidth()) {
            (Some(link), Some(sent)) if sent > 0.0 => (link / sent).clamp(1.0, MOST_STRETCH),
            _ => 1.0,
        }
    }

    fn raise(&mut self, limit: u64, need: f64) -> Advice {
        let mut reason = format!(
            "passes do not get shorter: the quietest would need a pause of {}, the limit was {} \
             and the guest allows {}",
            span_of(need),
            span(self.limit_ms),
            span(self.limits.max_downtime_ms)
        );
        if limit > self.limits.max_downtime_ms {
            let pause = span_of(real(limit) / self.stretch());
            reason += &format!("; no cap holds during the pause, so it lasts {pause} at most");
        }
        self.before_ms = self.limit_ms;
        self.limit_ms = limit;
        Advice { action: Action::SetDowntime(limit), reason }
    }

    /// No limit that the guest allows would do, as it is now.
    fn beyond_the_maximum(&mut self, need: f64) -> Option<Advice> {
        if let Some((percent, _)) = self.passes.throttle().filter(|&still| is_rising(still)) {
            // Slowing it down further comes before what costs it more, and goes less far with
            // the pause that the guest allows.
            if self.limit_ms < self.most_ms() {
                return Some(self.raise(self.most_ms(), need));
            }
            if std::mem::replace(&mut self.told_throttle, true) {
                return None;
            }
            let reason = format!(
                "the quietest pass would need a pause of {}; QEMU slows the guest down, by \
                 {percent} % so far",
                span_of(need)
            );
            return Some(Advice { action: Action::Wait, reason });
        }
        if self.limits.post_copy != PostCopy::Never {
            let why = format!(
                "the quietest pass would need a pause of {}, the guest allows {}, and post-copy",
                span_of(need),
                span(self.limits.max_downtime_ms)
            );
            return Some(self.switch(&why));
        }
        if self.limits.when_stuck == WhenStuck::ForceFinish {
            return Some(self.force(need));
        }
        if self.limit_ms < self.most_ms() {
            // For a quieter moment than those that were seen.
            return Some(self.raise(self.most_ms(), need));
        }
        self.stage = Stage::Waiting;
        let until = self.deadline_ms().map(|at| at.saturating_sub(self.passes.now_ms()));
        let reason = format!(
            "the quietest pass would need a pause of {} and the guest allows {}: waiting for a \
             quieter moment, for {} at most",
            span_of(need),
            span(self.limits.max_downtime_ms),
            until.map_or_else(|| "as long as it takes".to_owned(), span)
        );
        Some(Advice { action: Action::Wait, reason })
    }

    /// The limit is set beyond the guest's maximum: QEMU still chooses the moment, and the
    /// guest works until then.
    fn force(&mut self, need: f64) -> Advice {
        let wanted = whole(need * FORCED_SLACK);
        if wanted > FORCED_CEILING_MS {
            return self.pause(&format!("the quietest pass would need {}", span_of(need)));
        }
        self.stage = Stage::Forcing;
        self.before_ms = self.limit_ms;
        self.limit_ms = wanted.max(self.limit_ms);
        let reason = format!(
            "the quietest pass would need a pause of {}, more than the {} that the guest \
             allows; it is to finish nevertheless",
            span_of(need),
            span(self.limits.max_downtime_ms)
        );
        Advice { action: Action::SetDowntime(self.limit_ms), reason }
    }

    fn pause(&mut self, why: &str) -> Advice {
        self.stage = Stage::Paused;
        let reason = format!("{why}; it is to finish, so the guest stands still for the rest");
        Advice { action: Action::Pause, reason }
    }

    fn switch(&mut self, why: &str) -> Advice {
        self.stage = Stage::Done;
        Advice { action: Action::SwitchToPostCopy, reason: why.to_owned() }
    }

    fn out_of_time(&mut self, deadline: u64) -> Advice {
        let passed = format!("not finished within {}", span(deadline));
        let sending = self.passes.first_pass_ms().is_some();
        if self.limits.post_copy != PostCopy::Never && sending {
            return self.switch(&format!("{passed}, and the guest allows post-copy"));
        }
        if self.limits.when_stuck == WhenStuck::ForceFinish {
            return self.pause(&passed);
        }
        self.stage = Stage::Done;
        let reason = match self.passes.least_need_ms() {
            Some(need) => format!(
                "{passed}: the quietest pass would need a pause of {} and the guest allows {}; \
                 try again when it writes less, or allow a longer pause, throttling or post-copy",
                span_of(need),
                span(self.limits.max_downtime_ms)
            ),
            None => format!(
                "{passed}: the first pass over its memory was not over; try again on a faster \
                 link or with a longer timeout"
            ),
        };
        Advice { action: Action::Abort, reason }
    }
}

const fn is_rising((percent, for_ms): (u8, u64)) -> bool {
    percent < FULL_THROTTLE && for_ms < THROTTLE_PATIENCE_MS
}

/// Milliseconds, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded up and held within what fits"
)]
fn whole(ms: f64) -> u64 {
    ms.ceil().clamp(1.0, 1e15) as u64
}

fn span_of(ms: f64) -> String {
    span(whole(ms))
}

/// `850 ms`, `3.1 s`, `12 min`.
fn span(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=119_999 => format!("{:.1} s", real(ms) / 1000.0),
        _ => format!("{:.0} min", real(ms) / 60_000.0),
    }
}
