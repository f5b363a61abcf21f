//! Threads that own connections. SQLite blocks; async callers wait for an answer, not
//! for the disk.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

/// Messages that may wait: beyond it senders wait to get in line.
const QUEUE: usize = 1024;

/// The thread is gone: it panicked, a bug.
#[derive(Debug)]
pub(crate) struct WorkerGone;

/// A bounded line of messages to one or more threads. Dropping it waits until they have
/// done what is in line, and ends them.
pub(crate) struct Line<M> {
    sender: Option<mpsc::Sender<M>>,
    threads: Vec<JoinHandle<()>>,
}

impl<M> std::fmt::Debug for Line<M> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Line").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

/// The threads' end of a line. Each message goes to one of them.
#[derive(Debug)]
pub(crate) struct Queue<M>(Arc<Mutex<mpsc::Receiver<M>>>);

impl<M> Queue<M> {
    /// The next message; none when the line has ended.
    pub(crate) fn next(&self) -> Option<M> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
    }

    /// The next message if there is one already.
    pub(crate) fn try_next(&self) -> Option<M> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
    }
}

impl<M: Send + 'static> Line<M> {
    /// Starts a thread for each of `states`, which runs `serve` until the line ends.
    pub(crate) fn start<S: Send + 'static>(
        name: &str,
        states: Vec<S>,
        serve: impl Fn(S, &Queue<M>) + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let queue = Arc::new(Mutex::new(receiver));
        let mut line = Self { sender: Some(sender), threads: Vec::new() };
        for state in states {
            let (queue, serve) = (Queue(Arc::clone(&queue)), serve.clone());
            let thread = std::thread::Builder::new().name(name.to_owned());
            line.threads.push(thread.spawn(move || serve(state, &queue))?);
        }
        Ok(line)
    }

    /// Gets in line.
    pub(crate) async fn send(&self, message: M) -> Result<(), WorkerGone> {
        let sender = self.sender.as_ref().ok_or(WorkerGone)?;
        sender.send(message).await.map_err(|_| WorkerGone)
    }

    /// One more way into the line. The line ends when all are gone.
    pub(crate) fn entrance(&self) -> Option<mpsc::Sender<M>> {
        self.sender.clone()
    }
}

impl<M> Drop for Line<M> {
    fn drop(&mut self) {
        self.sender = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Threads that do jobs on what they own.
#[derive(Debug)]
pub(crate) struct Worker<S>(Line<Job<S>>);

impl<S: Send + 'static> Worker<S> {
    /// Starts a thread for each of `states`.
    pub(crate) fn start(name: &str, states: Vec<S>) -> std::io::Result<Self> {
        let serve = |mut state: S, queue: &Queue<Job<S>>| {
            while let Some(job) = queue.next() {
                job(&mut state);
            }
        };
        Ok(Self(Line::start(name, states, serve)?))
    }

    /// Does a job on one of the threads and returns its answer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        let (answer, waiting) = oneshot::channel();
        let boxed: Job<S> = Box::new(move |state| {
            // A caller that no longer waits is no error.
            let _ = answer.send(job(state));
        });
        self.0.send(boxed).await?;
        waiting.await.map_err(|_| WorkerGone)
    }
}
