//! What takes as long as a BMC or an agent does, beside the turns: one thing at a time for each
//! host.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use drover_model::HostId;
use tokio::task::JoinHandle;

/// What is being done for which host.
#[derive(Debug, Default)]
pub struct HostTasks(Mutex<BTreeMap<HostId, JoinHandle<()>>>);

impl HostTasks {
    /// Nothing is being done.
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Begins this for a host, unless something is being done for it, or for `most` hosts.
    pub fn begin(
        &self,
        host: HostId,
        most: usize,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut busy = self.lock();
        busy.retain(|_, task| !task.is_finished());
        if busy.len() < most {
            busy.entry(host).or_insert_with(|| tokio::spawn(task));
        }
    }

    /// Waits until nothing is being done; `what` it was is told of a task that broke off.
    pub async fn idle(&self, what: &str) {
        let all = std::mem::take(&mut *self.lock());
        for (host, task) in all {
            if let Err(error) = task.await {
                tracing::error!(%host, %error, "{what} broke off");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostId, JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
