//! One guest's commands act one after another, in the order in which they came.
//!
//! A turn is held for a decision and the single call that follows from it, never for the
//! length of a migration or of a wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use drover_model::GuestId;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Mutex as TurnLock, OwnedMutexGuard};

/// Held while one command of a guest acts.
pub type Turn = OwnedMutexGuard<()>;

/// Whose turn it is, by guest.
#[derive(Debug, Default)]
pub struct Turns {
    locks: Mutex<HashMap<GuestId, Arc<TurnLock<()>>>>,
}

impl Turns {
    /// Waits for the guest's turn.
    pub async fn take(&self, guest: GuestId) -> Turn {
        self.lock_of(guest).lock_owned().await
    }

    /// Takes a place in the line now; the answer is to be awaited by whoever acts. Must be
    /// called inside the runtime.
    pub fn line_up(&self, guest: GuestId) -> BoxFuture<'static, Turn> {
        // Unconstrained: a poll that the runtime's budget cuts short takes no place.
        let mut place = tokio::task::unconstrained(self.lock_of(guest).lock_owned()).boxed();
        match place.as_mut().now_or_never() {
            Some(turn) => futures::future::ready(turn).boxed(),
            None => place,
        }
    }

    fn lock_of(&self, guest: GuestId) -> Arc<TurnLock<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(guest).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_the_order_of_lining_up() {
        let turns = Turns::default();
        let guest = GuestId::from_u128(1);
        let first = turns.take(guest).await;
        let (second, third) = (turns.line_up(guest), turns.line_up(guest));
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (number, place) in [(3, third), (2, second)] {
            let sender = sender.clone();
            tokio::spawn(async move {
                let _turn = place.await;
                sender.send(number)
            });
        }
        tokio::task::yield_now().await;
        drop(turns.take(GuestId::from_u128(2)).await);
        drop(first);
        assert_eq!((order.recv().await, order.recv().await), (Some(2), Some(3)));
        assert_eq!(turns.locks.lock().unwrap().len(), 2);
    }
}
