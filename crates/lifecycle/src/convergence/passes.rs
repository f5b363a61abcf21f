//! What looks at a job tell of its passes over the guest's memory.

use drover_model::MigrationProgress;

/// Weight of the newest measurement in the bandwidth: old traffic on the link is forgotten
/// within a few looks, a single slow moment does not count for much.
const BANDWIDTH_WEIGHT: f64 = 0.4;
/// A shorter time between two looks is lengthened by the next one, milliseconds: QEMU sends
/// in bursts of 100 ms when it is capped.
const SHORTEST_LOOK_MS: u64 = 200;
/// A pass must leave at least this much less than the best so far to count as better.
const BETTER: f64 = 0.96;
/// And so much less that the limit would be reached within so many more passes at that pace:
/// a slower one only costs the link and the guest.
const PASSES_TO_COME: f64 = 10.0;
/// What is left over the limit when it counts as reached, as a part of the limit.
const REACHED: f64 = 0.04;
/// Passes that the lowest need is taken from: enough to see a guest that works in bursts at
/// its quietest, few enough to forget what it did long ago.
const REMEMBERED: usize = 12;

/// The passes of one job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Passes {
    /// Bytes a second; none until two looks lie apart.
    bandwidth: Option<f64>,
    /// Where the bandwidth is counted from.
    counted: Option<(u64, u64)>,
    /// The newest look.
    now_ms: u64,
    /// When bytes were last seen to be sent.
    sent_ms: u64,
    processed: u64,
    /// The newest pass, and when it was first seen.
    iteration: u32,
    begun_ms: u64,
    /// How long the first pass took.
    first_pass_ms: Option<u64>,
    /// The pause that each pass would have needed, milliseconds, the newest last.
    needs: Vec<f64>,
    /// The least that a pass since the last mark had over the limit, milliseconds.
    best_excess: Option<f64>,
    /// Passes since then, and when it was.
    since_best: u32,
    best_ms: u64,
    /// How far QEMU slows the guest down, percent.
    throttle: Option<u8>,
    throttle_rose_ms: u64,
}

impl Passes {
    pub(super) const fn new() -> Self {
        Self {
            bandwidth: None,
            counted: None,
            now_ms: 0,
            sent_ms: 0,
            processed: 0,
            iteration: 0,
            begun_ms: 0,
            first_pass_ms: None,
            needs: Vec::new(),
            best_excess: None,
            since_best: 0,
            best_ms: 0,
            throttle: None,
            throttle_rose_ms: 0,
        }
    }

    /// Takes a look at the job under a downtime limit of `limit_ms`.
    pub(super) fn look(&mut self, sample: &MigrationProgress, limit_ms: u64) {
        // Looks that overtake each other say nothing new.
        if sample.elapsed_ms < self.now_ms || sample.iteration < self.iteration {
            return;
        }
        self.now_ms = sample.elapsed_ms;
        self.count(sample);
        if sample.throttle_percent > self.throttle {
            self.throttle = sample.throttle_percent;
            self.throttle_rose_ms = self.now_ms;
        }
        if sample.iteration > self.iteration {
            self.new_pass(sample, limit_ms);
        } else if self.iteration > 1 {
            // The pass was seen late the first time, or less was measured to be sent.
            let need = self.need_of(sample);
            if let (Some(newest), Some(need)) = (self.needs.last_mut(), need) {
                *newest = newest.max(need);
            }
        }
    }

    fn count(&mut self, sample: &MigrationProgress) {
        let sent = sample.processed.0;
        if sent > self.processed {
            self.sent_ms = self.now_ms;
        }
        self.processed = sent;
        let Some((from_ms, from)) = self.counted else {
            self.counted = Some((self.now_ms, sent));
            return;
        };
        let span = self.now_ms - from_ms;
        if span < SHORTEST_LOOK_MS {
            return;
        }
        let measured = real(sent.saturating_sub(from)) * 1000.0 / real(span);
        let smooth = |before| BANDWIDTH_WEIGHT * measured + (1.0 - BANDWIDTH_WEIGHT) * before;
        self.bandwidth = Some(self.bandwidth.map_or(measured, smooth));
        self.counted = Some((self.now_ms, sent));
    }

    fn new_pass(&mut self, sample: &MigrationProgress, limit_ms: u64) {
        // The pass that has just ended is judged as a whole.
        self.judge(limit_ms);
        if sample.iteration >= 2 && self.first_pass_ms.is_none() {
            self.first_pass_ms = Some(self.now_ms);
            self.best_ms = self.now_ms;
        }
        self.iteration = sample.iteration;
        self.begun_ms = self.now_ms;
        if self.iteration < 2 {
            return;
        }
        if let Some(need) = self.need_of(sample) {
            if self.needs.len() == REMEMBERED {
                self.needs.remove(0);
            }
            self.needs.push(need);
        }
    }

    fn judge(&mut self, limit_ms: u64) {
        let Some(need) = self.needs.last() else { return };
        // A pass that needed less than the limit and was not the last is no better than one
        // that needed just as much.
        let limit = real(limit_ms);
        let excess = (need - limit).max(0.0);
        if self.best_excess.is_none_or(|best| excess < best * pace(best, limit)) {
            self.best_excess = Some(excess);
            self.since_best = 0;
            self.best_ms = self.now_ms;
        } else {
            self.since_best += 1;
        }
    }

    /// The pause in which what was dirty at the start of the pass could be sent. What is left
    /// tells it where the pass is seen from its start; QEMU's own expectation tells it later
    /// as well, and a look in mid-pass alone would make the guest look quieter than it is.
    fn need_of(&self, sample: &MigrationProgress) -> Option<f64> {
        let bandwidth = self.bandwidth.filter(|bandwidth| *bandwidth > 0.0)?;
        let left = real(sample.remaining.0) * 1000.0 / bandwidth;
        // QEMU divides by what it sent within the last 100 ms.
        let expected = sample
            .expected_downtime_ms
            .filter(|_| sample.throughput.0 > 0)
            .map(|ms| real(ms) * real(sample.throughput.0) / bandwidth);
        Some(expected.map_or(left, |expected| expected.max(left)))
    }

    /// From here on passes are compared anew: something was changed.
    pub(super) fn mark(&mut self) {
        self.best_excess = None;
        self.since_best = 0;
        self.best_ms = self.now_ms;
    }

    /// The newest look, in milliseconds of the job.
    pub(super) const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// For how long nothing has been sent, milliseconds.
    pub(super) const fn silent_ms(&self) -> u64 {
        self.now_ms - self.sent_ms
    }

    /// When the first pass was over.
    pub(super) const fn first_pass_ms(&self) -> Option<u64> {
        self.first_pass_ms
    }

    /// Passes since one was better, and how long ago that was, milliseconds.
    pub(super) const fn without_progress(&self) -> (u32, u64) {
        (self.since_best, self.now_ms - self.best_ms)
    }

    /// The least pause that one of the last passes would have needed, milliseconds.
    pub(super) fn least_need_ms(&self) -> Option<f64> {
        self.needs.iter().copied().min_by(f64::total_cmp)
    }

    /// What is sent, bytes a second.
    pub(super) const fn bandwidth(&self) -> Option<f64> {
        self.bandwidth
    }

    /// How far QEMU slows the guest down, percent, and for how long it has not slowed it
    /// down further, milliseconds.
    pub(super) fn throttle(&self) -> Option<(u8, u64)> {
        self.throttle.map(|percent| (percent, self.now_ms - self.throttle_rose_ms))
    }
}

/// The part of the best excess that a pass may leave to count as better.
fn pace(best: f64, limit: f64) -> f64 {
    if best <= 0.0 {
        return BETTER;
    }
    (REACHED * limit / best).powf(1.0 / PASSES_TO_COME).min(BETTER)
}

#[expect(clippy::cast_precision_loss, reason = "bytes and milliseconds: far below 2^53")]
pub(super) const fn real(number: u64) -> f64 {
    number as f64
}
