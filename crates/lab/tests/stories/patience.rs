//! How long a lane goes on: not for ever where all fails, so that whoever waits for it learns
//! why in time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

/// A lane of which so many stories failed tells no more of them.
const MAX_FAILURES: usize = 3;
/// A lane begins no story after this time. Either takes 13 minutes on two cores.
const LAST_BEGIN: Duration = Duration::from_secs(30 * 60);
/// What has not ended by then is given up, with its process. A story is bounded by what it waits
/// for; this is for one that is not.
const GIVEN_UP: Duration = Duration::from_secs(40 * 60);
/// Where more than what is of every run is asked for, all takes so much longer.
const LONGER: u32 = 6;

/// Every row of the crash table and a thousand moves take longer than those of every run.
fn limit(of_every_run: Duration) -> Duration {
    let longer = [super::crashes::ROWS, super::soundness::MOVES];
    let is_set = |name: &&str| std::env::var_os(name).is_some();
    if longer.iter().any(is_set) { of_every_run * LONGER } else { of_every_run }
}

/// What a story says; one that panics has failed.
pub(crate) fn caught(story: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    catch_unwind(AssertUnwindSafe(story)).unwrap_or_else(|why| {
        let why = why.downcast_ref::<String>().map(String::as_str);
        bail!("it panicked: {}", why.unwrap_or("its words are above"))
    })
}

/// Of one lane.
pub(crate) struct Patience {
    begun: Instant,
    failures: AtomicUsize,
    /// The story that is being told.
    telling: Mutex<String>,
}

impl Patience {
    /// Begins to count.
    pub(crate) fn new() -> Arc<Self> {
        let of_lane = Arc::new(Self {
            begun: Instant::now(),
            failures: AtomicUsize::new(0),
            telling: Mutex::new("no story".to_owned()),
        });
        let watched = Arc::clone(&of_lane);
        std::thread::spawn(move || watched.give_up_late());
        of_lane
    }

    /// Tells a story, if there is time for it and not too much has failed. A failure is shown
    /// when it happens, too: libtest-mimic tells of it at the end.
    pub(crate) fn hear(
        &self,
        name: &str,
        story: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let failed = self.failures.load(Ordering::Relaxed);
        ensure!(failed < MAX_FAILURES, "not told: {failed} stories of this lane failed");
        let passed = self.begun.elapsed();
        ensure!(passed < limit(LAST_BEGIN), "not told: this lane began {} s ago", passed.as_secs());
        name.clone_into(&mut self.telling.lock().unwrap_or_else(PoisonError::into_inner));
        let began = Instant::now();
        let told = caught(story);
        eprintln!("  {name}: {} s", began.elapsed().as_secs());
        if let Err(error) = &told {
            self.failures.fetch_add(1, Ordering::Relaxed);
            eprintln!("error: {name}: {}", format!("{error:#}").replace('\n', " / "));
        }
        told
    }

    fn give_up_late(&self) {
        std::thread::sleep(limit(GIVEN_UP));
        let name = self.telling.lock().unwrap_or_else(PoisonError::into_inner).clone();
        eprintln!(
            "error: {name} has not ended {} s after its lane began: its lab is left as it is",
            limit(GIVEN_UP).as_secs()
        );
        std::process::exit(1);
    }
}
