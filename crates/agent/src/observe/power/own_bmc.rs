//! What the host's own BMC says that the host draws.
//!
//! It is asked beside the samples: a BMC that is busy takes seconds for an answer, and a sample
//! does not wait for it. What it said last counts for a while.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drover_ports::{OwnBmc, PowerError};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Between two questions: BMCs measure once a second or more seldom, and the driver of some
/// keeps a core busy while it waits for the answer.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// After an answer that would be the same again, and while the host has no BMC: modules are
/// loaded and packages installed at any time.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// An answer counts for so long: a BMC may be busy for some questions.
const FRESH: Duration = Duration::from_secs(30);
/// An agent that starts waits for the first answer so long at most: a better source that comes a
/// moment later would look like a change of the load.
pub const FIRST_WAIT: Duration = Duration::from_secs(3);

/// See the module.
pub struct OwnBmcWatts {
    bmc: Arc<dyn OwnBmc>,
    last: Mutex<Option<(Instant, f64)>>,
    /// What was said of it in the log: a change is said again.
    said: Mutex<Option<String>>,
}

impl std::fmt::Debug for OwnBmcWatts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnBmcWatts").field("last", &self.last).finish_non_exhaustive()
    }
}

impl OwnBmcWatts {
    /// Of this BMC; nothing is asked yet.
    pub fn new(bmc: Arc<dyn OwnBmc>) -> Self {
        Self { bmc, last: Mutex::default(), said: Mutex::default() }
    }

    /// What it said last, where that is not too long ago.
    pub fn fresh(&self, now: Instant) -> Option<f64> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| now.saturating_duration_since(*at) < FRESH).map(|(_, watts)| watts)
    }

    /// Asks for ever.
    pub async fn run(&self) -> Infallible {
        loop {
            sleep(self.ask().await).await;
        }
    }

    /// Asks once, where there is a BMC; returns when to ask again.
    pub async fn ask(&self) -> Duration {
        if !self.bmc.is_there() {
            return LOOK_EVERY;
        }
        match self.bmc.reading().await {
            Ok(reading) => {
                let last = Some((Instant::now(), reading.watts));
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
                if self.is_news("") {
                    info!(watts = reading.watts, "the host's own BMC measures its power");
                }
                ASK_EVERY
            }
            Err(error) => {
                if self.is_news(&error.to_string()) {
                    warn!(%error, "the host has a BMC, which does not tell its power");
                }
                match error {
                    PowerError::Retry(_) => ASK_EVERY,
                    _ => LOOK_EVERY,
                }
            }
        }
    }

    fn is_news(&self, text: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let news = said.as_deref() != Some(text);
        *said = Some(text.to_owned());
        news
    }
}

#[cfg(test)]
mod tests {
    use drover_ports::memory::MemoryOwnBmc;

    use super::*;

    #[tokio::test]
    async fn what_it_said_last_counts_for_a_while_whatever_comes_then() {
        let bmc = MemoryOwnBmc::default();
        let watts = OwnBmcWatts::new(Arc::new(bmc.clone()));
        assert_eq!((watts.ask().await, watts.fresh(Instant::now())), (LOOK_EVERY, None));
        bmc.tell(Ok(137.0));
        assert_eq!(watts.ask().await, ASK_EVERY);
        let now = Instant::now();
        for (error, pause) in [
            (PowerError::Retry("busy".to_owned()), ASK_EVERY),
            (PowerError::Refused("no".to_owned()), LOOK_EVERY),
            (PowerError::Broken("no ipmitool".to_owned()), LOOK_EVERY),
        ] {
            bmc.tell(Err(error));
            assert_eq!(watts.ask().await, pause);
            assert_eq!(watts.fresh(now), Some(137.0));
        }
        assert_eq!(watts.fresh(now + FRESH), None);
    }
}
