//! The wish that the agent end.

use std::time::Duration;

use tokio::sync::watch;

/// Tells whether the agent is to end.
#[derive(Debug, Clone)]
pub struct Shutdown {
    asked: watch::Receiver<bool>,
}

/// Asks the agent to end.
#[derive(Debug)]
pub struct ShutdownTrigger {
    asked: watch::Sender<bool>,
}

/// A wish and who may express it.
pub fn shutdown() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger { asked: sender }, Shutdown { asked: receiver })
}

impl ShutdownTrigger {
    /// Asks.
    pub fn ask(&self) {
        self.asked.send_replace(true);
    }
}

impl Shutdown {
    /// Whether it has been asked for.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until it is asked for; for ever if nobody can ask any more.
    pub async fn asked(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until it is asked for, and then some.
    pub async fn asked_and(&mut self, then: Duration) {
        self.asked().await;
        tokio::time::sleep(then).await;
    }
}
