//! What a live migration will take, before its first byte.
//!
//! The guest's dirty-rate curve and the link are put through the rule by which QEMU ends a
//! migration: it sends until no more is left than fits into the downtime limit, looks what was
//! dirtied meanwhile, and stops the guest when both together still fit. The measured rate is a
//! sample of pages and may be wrong by a factor of four; what past moves of the same guest took
//! corrects it ([`Correction`]), and the range says how sure it is.

mod curve;
mod score;
mod transfer;
mod words;

use drover_model::{Bytes, DirtyWindow};
use serde::{Deserialize, Serialize};

pub use score::{Correction, Past, Score, median};

use curve::Curve;
use transfer::{Run, run};

/// A page sample is off by at most so much in either direction, as far as is known: on a busy
/// machine it said 76 MB/s where the transfer then saw 20.
const SAMPLE_FACTOR: f64 = 4.0;
/// What a link carries changes by so much between measuring and moving.
const LINK_FACTOR: f64 = 1.25;
/// One TLS stream fills one core: about 300 MB/s is published for it, and the same was seen.
const TLS_STREAM: f64 = 300e6;
/// Set-up, scheduling and sending are never steadier than this.
const UNSTEADY: f64 = 1.1;
/// Where no link was ever measured: a gigabit, less what Ethernet and TCP take.
const UNKNOWN_LINK: f64 = 117e6;
/// How unsure that is.
const UNKNOWN_LINK_FACTOR: f64 = 10.0;
/// The longest pause that is tried, milliseconds: a forced finish plans no longer one.
const LONGEST_PAUSE_MS: u64 = 30_000;

/// What is known of a migration before it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Prospect {
    /// The guest's memory.
    pub memory: Bytes,
    /// Of it, what was ever written: QEMU sends a page of zeros as one byte. None where it is
    /// not known.
    pub used: Option<Bytes>,
    /// Measured dirtying, in any order; empty where it was not measured.
    pub dirtied: Vec<DirtyWindow>,
    /// Disks that are copied.
    pub disks: Bytes,
    /// What the link carries, bytes a second, beside what it carries already; none where it was
    /// never measured.
    pub link: Option<u64>,
    /// Cap on the transfer, bytes a second.
    pub cap: Option<u64>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// Connections.
    pub streams: u32,
    /// The downtime limit it begins with, milliseconds.
    pub first_downtime_ms: u64,
    /// The guest's maximum, milliseconds.
    pub max_downtime_ms: u64,
    /// Whether something else ends it where the maximum is not enough.
    pub otherwise: Otherwise,
    /// Whether it is switched to post-copy as soon as it has begun: then it ends, whatever the
    /// guest writes.
    pub at_once: bool,
}

/// What ends a migration that the guest's maximum downtime does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// Nothing: it is given up.
    Nothing,
    /// The guest goes on at the target before its memory is there.
    PostCopy,
    /// The guest is slowed down.
    Throttle,
    /// The guest is paused.
    ForceFinish,
}

/// A value with what it may be instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// If all goes well.
    pub low: u64,
    /// Most likely.
    pub expected: u64,
    /// If it goes badly.
    pub high: u64,
}

/// Whether it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// Within the guest's maximum downtime.
    Converges,
    /// Only with a longer pause than the guest allows.
    OnlyWithDowntime {
        /// The shortest that would do, milliseconds.
        needed_ms: u64,
    },
    /// With no pause of half a minute.
    Never,
}

/// What a migration is expected to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// All of it, milliseconds; of one that does not converge, until it is clear.
    pub total_ms: Range,
    /// The pause, milliseconds.
    pub downtime_ms: Range,
    /// Passes over the memory.
    pub rounds: u32,
    /// Bytes sent.
    pub bytes: Bytes,
    /// Whether it ends.
    pub verdict: Verdict,
    /// What it was made of and what would help, in words.
    pub reason: String,
    /// Past moves of the guest that it was corrected by.
    pub learned_from: u32,
}

/// What the rule of QEMU is fed with, in one shade of certainty.
#[derive(Debug, Clone, Copy)]
struct Shade {
    curve: Curve,
    /// Bytes a millisecond: while it is sent, and during the pause, when no cap holds.
    sending: f64,
    pausing: f64,
}

impl Prospect {
    /// The forecast, corrected by what past moves of the guest took.
    pub fn forecast(&self, past: &Correction) -> Forecast {
        let used = self.used.unwrap_or(self.memory).0.min(self.memory.0);
        let measured = Curve::through(&self.dirtied, real(used));
        let curve = measured.unwrap_or(Curve::NOTHING);
        let unsure = past.narrowed(SAMPLE_FACTOR);
        let link_factor = if self.link.is_some() { LINK_FACTOR } else { UNKNOWN_LINK_FACTOR };
        let worst = if measured.is_some() { curve.times(unsure) } else { self.unmeasured(used) };
        let run_of = |shade: Shade| self.run(shade, used);
        let expected = run_of(self.shade(curve, 1.0));
        let low = run_of(self.shade(curve.times(1.0 / unsure), link_factor));
        let high = run_of(self.shade(worst, 1.0 / link_factor));
        let verdict = match expected.limit_ms {
            Some(limit) if limit <= self.max_downtime_ms => Verdict::Converges,
            Some(needed_ms) => Verdict::OnlyWithDowntime { needed_ms },
            None => Verdict::Never,
        };
        let total = range(past.total, [low.total_ms, expected.total_ms, high.total_ms]);
        let downtime = range(past.downtime, [low.pause_ms, expected.pause_ms, high.pause_ms]);
        Forecast {
            total_ms: total,
            downtime_ms: downtime,
            rounds: expected.rounds,
            bytes: Bytes(whole(expected.bytes) + self.disks.0),
            verdict,
            reason: words::reason(self, curve, measured.is_some(), self.link(), &expected, verdict),
            learned_from: past.moves,
        }
    }

    /// A guest of which nothing was measured may write as fast as half of it is sent.
    fn unmeasured(&self, used: u64) -> Curve {
        let second = DirtyWindow { window_ms: 1000, dirtied: Bytes(whole(self.link() / 2.0)) };
        Curve::through(&[second], real(used)).unwrap_or(Curve::NOTHING)
    }

    /// Bytes a second that the link carries.
    fn link(&self) -> f64 {
        let link = self.link.map_or(UNKNOWN_LINK, real);
        let streams = f64::from(self.streams.max(1));
        if self.tls { link.min(TLS_STREAM * streams) } else { link }.max(1.0)
    }

    fn shade(&self, curve: Curve, link_factor: f64) -> Shade {
        let link = self.link() * link_factor;
        let sending = self.cap.map_or(link, |cap| link.min(real(cap).max(1.0)));
        Shade { curve, sending: sending / 1000.0, pausing: link / 1000.0 }
    }

    /// With the lowest downtime limit that ends it, as it would be raised step by step.
    fn run(&self, shade: Shade, used: u64) -> Run {
        let sizes = transfer::Sizes {
            used: real(used),
            untouched: real(self.memory.0 - used),
            disks: real(self.disks.0),
        };
        if self.at_once {
            return transfer::at_once(shade, sizes);
        }
        let mut limit = self.first_downtime_ms.min(self.max_downtime_ms).max(1);
        loop {
            let tried = run(shade, sizes, limit);
            if tried.limit_ms.is_some() || limit >= LONGEST_PAUSE_MS {
                return tried;
            }
            let most = if limit < self.max_downtime_ms { self.max_downtime_ms } else { u64::MAX };
            let raised = limit.saturating_mul(11) / 10;
            limit = raised.max(limit + 1).min(most).min(LONGEST_PAUSE_MS);
        }
    }
}

fn range(factor: f64, [low, expected, high]: [f64; 3]) -> Range {
    let of = |ms: f64| whole(ms * factor);
    let expected = of(expected);
    // Runs of different shades need not be in order: one that needs a longer pause may be
    // over sooner.
    Range {
        low: of(low / UNSTEADY).min(expected),
        expected,
        high: of(high * UNSTEADY).max(expected),
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes and milliseconds: far below 2^53")]
const fn real(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded and held within what fits"
)]
fn whole(number: f64) -> u64 {
    number.round().clamp(0.0, 9e15) as u64
}
