//! A small model of QEMU's pre-copy: what is sent, what is dirtied meanwhile, and when QEMU
//! ends by itself. It has no more of QEMU than what decides whether a migration ends.

use drover_model::{Bytes, MigrationProgress};

pub(crate) const MIB: f64 = (1 << 20) as f64;
/// One step of the model, milliseconds.
const STEP_MS: u64 = 10;
/// What the switch-over costs beside the last pages, milliseconds.
pub(crate) const SWITCH_OVER_MS: f64 = 30.0;
/// Progress is looked at so often, beside every pass.
const LOOK_MS: u64 = 500;

/// A guest and its link.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    /// Memory that is sent once at least, MiB.
    pub(crate) used: f64,
    /// The part that is written over and over, MiB.
    pub(crate) working_set: f64,
    /// How fast, MiB/s, while it works.
    pub(crate) rate: f64,
    /// It works for the first of these, of every second of these, milliseconds.
    pub(crate) busy_ms: u64,
    pub(crate) period_ms: u64,
    /// What may be sent, MiB/s, and what the link carries when no cap holds.
    pub(crate) bandwidth: f64,
    pub(crate) link: f64,
    /// QEMU slows the guest down.
    pub(crate) auto_converge: bool,
    /// Looks are told of a pass that begins; otherwise they only come in their own time.
    pub(crate) told_of_passes: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    Finished { at_ms: u64, downtime_ms: f64 },
    PostCopy { at_ms: u64 },
    Aborted { at_ms: u64 },
    Endless,
}

/// A migration of the scene.
#[derive(Debug, Clone)]
pub(crate) struct PreCopy {
    scene: Scene,
    now_ms: u64,
    /// To be sent as far as QEMU knows, and dirtied since it last looked, bytes.
    known: f64,
    fresh: f64,
    sent: f64,
    sent_at_sync: f64,
    synced_ms: u64,
    pass: u32,
    after_sync: f64,
    dirty_rate: f64,
    limit_ms: f64,
    bandwidth: f64,
    throttle: u8,
    bad_passes: u32,
    paused_ms: Option<u64>,
    end: Option<End>,
}

impl PreCopy {
    pub(crate) fn new(scene: Scene, limit_ms: u64) -> Self {
        Self {
            now_ms: 0,
            known: scene.used * MIB,
            fresh: 0.0,
            sent: 0.0,
            sent_at_sync: 0.0,
            synced_ms: 0,
            pass: 1,
            after_sync: scene.used * MIB,
            dirty_rate: 0.0,
            limit_ms: limit_ms as f64,
            bandwidth: scene.bandwidth * MIB / 1000.0,
            throttle: 0,
            bad_passes: 0,
            paused_ms: None,
            end: None,
            scene,
        }
    }

    pub(crate) fn set_limit(&mut self, ms: u64) {
        self.limit_ms = ms as f64;
    }

    pub(crate) fn set_bandwidth(&mut self, mib_s: u64) {
        self.bandwidth = mib_s as f64 * MIB / 1000.0;
    }

    pub(crate) fn pause(&mut self) {
        self.paused_ms = Some(self.now_ms);
    }

    pub(crate) const fn switch(&mut self) {
        self.end = Some(End::PostCopy { at_ms: self.now_ms });
    }

    pub(crate) const fn abort(&mut self) {
        self.end = Some(End::Aborted { at_ms: self.now_ms });
    }

    pub(crate) const fn end(&self) -> Option<End> {
        self.end
    }

    pub(crate) const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Goes on to the next look.
    pub(crate) fn run_to_look(&mut self) {
        let pass = self.pass;
        loop {
            self.advance();
            let told = self.scene.told_of_passes && self.pass != pass;
            if self.end.is_some() || told || self.now_ms.is_multiple_of(LOOK_MS) {
                return;
            }
        }
    }

    fn advance(&mut self) {
        self.now_ms += STEP_MS;
        let span = STEP_MS as f64;
        let works = self.now_ms % self.scene.period_ms.max(1) < self.scene.busy_ms;
        if works && self.paused_ms.is_none() {
            let rate = self.scene.rate * MIB / 1000.0 * f64::from(100 - self.throttle) / 100.0;
            self.fresh = (self.fresh + rate * span).min(self.scene.working_set * MIB);
        }
        let part = (self.bandwidth * span).min(self.known);
        self.known -= part;
        self.sent += part;
        let threshold = self.bandwidth * self.limit_ms;
        if self.known <= threshold {
            self.sync();
            if self.known <= threshold {
                self.finish();
            }
        }
    }

    /// QEMU asks the kernel which pages were dirtied.
    fn sync(&mut self) {
        let span = (self.now_ms - self.synced_ms).max(1) as f64;
        let sent = self.sent - self.sent_at_sync;
        self.dirty_rate = self.fresh * 1000.0 / span;
        self.bad_passes = if self.fresh > sent / 2.0 { self.bad_passes + 1 } else { 0 };
        if self.scene.auto_converge && self.bad_passes >= 2 {
            self.bad_passes = 0;
            self.throttle = if self.throttle == 0 { 20 } else { (self.throttle + 10).min(99) };
        }
        let most = self.known.max(self.scene.working_set * MIB);
        self.known = (self.known + self.fresh).min(most);
        self.fresh = 0.0;
        self.after_sync = self.known;
        self.sent_at_sync = self.sent;
        self.synced_ms = self.now_ms;
        self.pass += 1;
    }

    fn finish(&mut self) {
        let link = self.bandwidth.max(self.scene.link * MIB / 1000.0);
        let rest = self.known / link + SWITCH_OVER_MS;
        let paused = self.paused_ms.map_or(0, |since| self.now_ms - since);
        let downtime_ms = rest + paused as f64;
        self.end = Some(End::Finished { at_ms: self.now_ms, downtime_ms });
    }

    pub(crate) fn progress(&self) -> MigrationProgress {
        let bytes = |value: f64| Bytes(value as u64);
        MigrationProgress {
            elapsed_ms: self.now_ms,
            total: bytes(self.scene.used * MIB),
            processed: bytes(self.sent),
            remaining: bytes(self.known),
            dirty_rate: bytes(self.dirty_rate),
            throughput: bytes(self.bandwidth * 1000.0),
            iteration: self.pass,
            expected_downtime_ms: Some(if self.pass < 2 {
                300
            } else {
                (self.after_sync / self.bandwidth) as u64
            }),
            throttle_percent: (self.throttle > 0).then_some(self.throttle),
            ..MigrationProgress::default()
        }
    }

    /// To its end without anybody's advice.
    pub(crate) fn alone(mut self, within_ms: u64) -> End {
        while self.now_ms < within_ms {
            self.run_to_look();
            if let Some(end) = self.end {
                return end;
            }
        }
        End::Endless
    }
}
