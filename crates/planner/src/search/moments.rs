//! Mean and deviation of a load over the hosts, kept up by differences.

/// First and second moment of one imbalance.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    /// One by the number of hosts that count; 0 when none does.
    part: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    /// Of loads of nothing; `part` is one by the number of hosts that count.
    pub(super) fn of(part: f64) -> Self {
        Self { part, ..Self::default() }
    }

    pub(super) fn deviation(self) -> f64 {
        let mean = self.sum * self.part;
        (self.squares * self.part - mean * mean).max(0.0).sqrt()
    }

    pub(super) fn replaced(mut self, before: f64, after: f64) -> Self {
        self.sum += after - before;
        self.squares += (after - before) * (after + before);
        self
    }
}
