//! What goes to the controller, whichever session there is.
//!
//! Sending never waits: a guest may be standing still until the message is out. Without a
//! session the message is dropped, since the controller asks again in the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drover_agent_api::v1::{
    CommandResult, ContinuityReport, FromAgent, Hello, Inventory, MigrationUpdate, Samples,
    from_agent::Body,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, error};

/// Messages that may wait for a slow connection. Commands, samples and progress are limited
/// at their sources far below this; a session that reaches it is stuck and is ended.
const QUEUE: usize = 1024;

/// The way out.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    present: Arc<Mutex<Option<Present>>>,
}

#[derive(Debug)]
struct Present {
    sender: mpsc::Sender<FromAgent>,
    stuck: Arc<Notify>,
}

/// A session's hold on the outbox: when it is dropped, the session's stream ends.
#[derive(Debug)]
pub(super) struct Attachment {
    outbox: Outbox,
    stuck: Arc<Notify>,
}

impl Outbox {
    /// Sends a message by the present session, if there is one.
    pub fn send(&self, message: impl Into<Message>) {
        let present = self.present();
        let Some(Present { sender, stuck }) = present.as_ref() else {
            debug!("no session; a message is dropped and will be asked for again");
            return;
        };
        match sender.try_send(FromAgent { body: Some(message.into().0) }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                error!("the controller does not read; ending the session");
                stuck.notify_one();
            }
            Err(TrySendError::Closed(_)) => debug!("the session is over; a message is dropped"),
        }
    }

    /// Makes a new session the present one; `first` is its first message.
    pub(super) fn attach(&self, first: Hello) -> (Attachment, mpsc::Receiver<FromAgent>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let stuck = Arc::new(Notify::new());
        *self.present() = Some(Present { sender, stuck: Arc::clone(&stuck) });
        self.send(first);
        (Attachment { outbox: self.clone(), stuck }, receiver)
    }

    fn present(&self) -> MutexGuard<'_, Option<Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attachment {
    /// Waits until the session is found to be stuck.
    pub(super) async fn stuck(&self) {
        self.stuck.notified().await;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        *self.outbox.present() = None;
    }
}

/// Anything an agent says.
#[derive(Debug)]
pub struct Message(Body);

macro_rules! messages {
    ($($kind:ident => $variant:ident),+ $(,)?) => {$(
        impl From<$kind> for Message {
            fn from(message: $kind) -> Self {
                Self(Body::$variant(message))
            }
        }
    )+};
}

messages! {
    Hello => Hello,
    Samples => Samples,
    Inventory => Inventory,
    CommandResult => Result,
    MigrationUpdate => Migration,
    ContinuityReport => Continuity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_go_to_the_present_session_only() {
        let outbox = Outbox::default();
        outbox.send(CommandResult::default());
        let (attachment, mut receiver) = outbox.attach(Hello::default());
        outbox.send(Inventory::default());
        drop(attachment);
        outbox.send(CommandResult::default());
        assert!(matches!(receiver.recv().await.unwrap().body, Some(Body::Hello(_))));
        assert!(matches!(receiver.recv().await.unwrap().body, Some(Body::Inventory(_))));
        assert!(receiver.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_session_that_nobody_reads_is_found_stuck() {
        let outbox = Outbox::default();
        let (attachment, _receiver) = outbox.attach(Hello::default());
        for _ in 0..QUEUE {
            outbox.send(CommandResult::default());
        }
        attachment.stuck().await;
    }
}
