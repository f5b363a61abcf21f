//! Patience that ends with the work, or with a clock.

use std::time::{Duration, Instant};

use drover_planner::search::{Patience, Trials};

/// Tells how much time has passed.
pub(crate) trait Clock: Copy + Send + 'static {
    /// Since some moment in the past, always the same one.
    fn elapsed(&self) -> Duration;
}

/// The time since it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since(Instant);

impl Since {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Since {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What is to end a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// So many trials, however long they take: the same answer on every machine. The clock
    /// stops only what might go on for ever.
    Work { trials: u64, at_most: Duration },
    /// A time that somebody asked for: another answer when the machine is busier.
    Time(Duration),
}

/// What ended a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndedBy {
    /// All the work was done.
    Work,
    /// The time that was asked for was over.
    Time,
    /// It went on for so long that the clock stopped it before its work was done.
    Clock,
}

/// Patience within a bound, from when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until<C> {
    clock: C,
    begun: Duration,
    bound: Bound,
    work: Trials,
    stopped: bool,
}

impl<C: Clock> Until<C> {
    pub(crate) fn new(clock: C, bound: Bound) -> Self {
        let work = match bound {
            Bound::Work { trials, .. } => Trials::new(trials),
            Bound::Time(_) => Trials::new(u64::MAX),
        };
        Self { clock, begun: clock.elapsed(), bound, work, stopped: false }
    }

    /// What ended the search that spent this patience.
    pub(crate) const fn ended_by(&self) -> EndedBy {
        match self.bound {
            Bound::Time(_) => EndedBy::Time,
            Bound::Work { .. } if self.stopped => EndedBy::Clock,
            Bound::Work { .. } => EndedBy::Work,
        }
    }
}

impl<C: Clock> Patience for Until<C> {
    fn spend(&mut self, trials: u64) -> f64 {
        let done = self.work.spend(trials);
        let passed = self.clock.elapsed().saturating_sub(self.begun);
        match self.bound {
            Bound::Time(limit) => (passed.as_secs_f64() / limit.as_secs_f64().max(1e-3)).min(1.0),
            Bound::Work { at_most, .. } if done < 1.0 && passed >= at_most => {
                self.stopped = true;
                1.0
            }
            Bound::Work { .. } => done,
        }
    }

    fn another(&self) -> Box<dyn Patience + Send> {
        Box::new(*self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A clock that goes on by so many milliseconds each time that it is looked at.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Ticking(&'static AtomicU64, u64);

    impl Ticking {
        pub(crate) fn by(ms: u64) -> Self {
            Self(Box::leak(Box::new(AtomicU64::new(0))), ms)
        }
    }

    impl Clock for Ticking {
        fn elapsed(&self) -> Duration {
            Duration::from_millis(self.0.fetch_add(self.1, Ordering::Relaxed))
        }
    }

    fn spent(patience: &mut Until<Ticking>, looks: usize) -> f64 {
        (0..looks).map(|_| patience.spend(10)).last().unwrap()
    }

    #[test]
    fn work_counts_trials_whatever_the_clock_says() {
        let bound = Bound::Work { trials: 100, at_most: Duration::from_secs(60) };
        for ms in [0, 5000] {
            let mut patience = Until::new(Ticking::by(ms), bound);
            assert_eq!(spent(&mut patience, 5), 0.5);
            assert_eq!(spent(&mut patience, 5), 1.0);
            assert_eq!(patience.ended_by(), EndedBy::Work);
        }
    }

    #[test]
    fn what_goes_on_for_ever_is_stopped_and_says_so() {
        let bound = Bound::Work { trials: u64::MAX, at_most: Duration::from_secs(60) };
        let mut patience = Until::new(Ticking::by(10_000), bound);
        assert!(spent(&mut patience, 5) < 1.0);
        assert_eq!(spent(&mut patience, 1), 1.0);
        assert_eq!(patience.ended_by(), EndedBy::Clock);
    }

    #[test]
    fn a_time_that_was_asked_for_is_kept() {
        let mut patience = Until::new(Ticking::by(100), Bound::Time(Duration::from_secs(1)));
        assert_eq!(spent(&mut patience, 5), 0.5);
        assert_eq!(spent(&mut patience, 5), 1.0);
        assert_eq!(patience.ended_by(), EndedBy::Time);
    }
}
