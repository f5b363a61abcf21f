//! Patience that ends with the clock.

use std::time::{Duration, Instant};

use drover_planner::search::Patience;

/// Ends so long after it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    begun: Instant,
    limit: Duration,
}

impl Until {
    pub(crate) fn seconds(seconds: f64) -> Self {
        Self { begun: Instant::now(), limit: Duration::from_secs_f64(seconds.max(0.001)) }
    }
}

impl Patience for Until {
    fn spend(&mut self, _trials: u64) -> f64 {
        (self.begun.elapsed().as_secs_f64() / self.limit.as_secs_f64()).min(1.0)
    }

    fn another(&self) -> Box<dyn Patience + Send> {
        Box::new(*self)
    }
}
