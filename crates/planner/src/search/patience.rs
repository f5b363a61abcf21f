//! How long a search may go on.

/// Tells a search how much of its allowance is spent.
///
/// A pure crate has no clock: programs that plan against time bring one. Counting trials
/// makes the same plan on every machine.
pub trait Patience {
    /// Part that is spent after `trials` more trials, 0 to 1; the search ends at 1.
    fn spend(&mut self, trials: u64) -> f64;

    /// The same allowance for another core.
    fn another(&self) -> Box<dyn Patience + Send>;
}

/// So many trials, whatever time they take.
#[derive(Debug, Clone, Copy)]
pub struct Trials {
    most: u64,
    done: u64,
}

impl Trials {
    /// At most `most` trials.
    pub const fn new(most: u64) -> Self {
        Self { most, done: 0 }
    }
}

impl Patience for Trials {
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn spend(&mut self, trials: u64) -> f64 {
        self.done += trials;
        if self.most == 0 { 1.0 } else { (self.done as f64 / self.most as f64).min(1.0) }
    }

    fn another(&self) -> Box<dyn Patience + Send> {
        Box::new(*self)
    }
}
