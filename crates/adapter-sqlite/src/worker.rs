//! A thread that owns a connection and does jobs in order. SQLite blocks; async callers
//! wait for an answer, not for the disk.

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait: beyond it callers wait to get in line.
const QUEUE: usize = 1024;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// See the module. The thread ends when this is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Worker(mpsc::Sender<Job>);

/// The thread is gone: it panicked, a bug.
#[derive(Debug)]
pub(crate) struct WorkerGone;

impl Worker {
    /// Starts a thread with this name.
    pub(crate) fn start(name: &str, mut connection: Connection) -> std::io::Result<Self> {
        let (sender, mut jobs) = mpsc::channel::<Job>(QUEUE);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(job) = jobs.blocking_recv() {
                job(&mut connection);
            }
        })?;
        Ok(Self(sender))
    }

    /// Does a job on the thread and returns its answer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        let (answer, waiting) = oneshot::channel();
        let boxed: Job = Box::new(move |connection| {
            // A caller that no longer waits is no error.
            let _ = answer.send(job(connection));
        });
        self.0.send(boxed).await.map_err(|_| WorkerGone)?;
        waiting.await.map_err(|_| WorkerGone)
    }
}
