//! Watches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;

use super::{Subject, conflicts, put};
use crate::contract::report::{promise, promise_eq};
use crate::contract::{Kept, Unkept};
use crate::{Change, Expected, Generation, StoreError, WatchEvent};

/// An event that takes longer is missing.
const PATIENCE: Duration = Duration::from_secs(10);

async fn next(receiver: &mut Receiver<WatchEvent>) -> Result<WatchEvent, Unkept> {
    tokio::time::timeout(PATIENCE, receiver.recv())
        .await
        .map_err(|_| Unkept("an event is missing".to_owned()))?
        .map_err(|error| Unkept(format!("the watch ended: {error}")))
}

pub(super) async fn every_commit_is_seen_in_order_and_no_conflict(store: Subject) -> Kept {
    let mut receiver = store.watch();
    put(&store, "taken", Expected::Absent, b"").await?;
    promise_eq!(next(&mut receiver).await?.key, "taken", "the first event");
    let mut tasks = Vec::new();
    for task in 0..4_u8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut done = Vec::new();
            for turn in 0..25_u8 {
                let (a, b) = (format!("{task}/a/{turn}"), format!("{task}/b/{turn}"));
                let changes = vec![
                    Change::put(&b, Expected::Absent, vec![turn]),
                    Change::put(&a, Expected::Absent, vec![turn]),
                ];
                done.push((store.commit(changes).await?, vec![b, a], turn));
                let never = Change::put("never", Expected::Any, "");
                let taken = Change::put("taken", Expected::Absent, "");
                conflicts(store.commit(vec![never, taken]).await, "taken", "on purpose")?;
            }
            Ok::<_, Unkept>(done)
        }));
    }
    let mut commits: Vec<(Generation, Vec<String>, u8)> = Vec::new();
    for task in tasks {
        commits.extend(task.await.map_err(|error| Unkept(format!("a task: {error}")))??);
    }
    commits.sort();
    for (generation, keys, turn) in commits {
        for key in keys {
            let wanted = WatchEvent { key, generation, value: Some(vec![turn].into()) };
            promise_eq!(next(&mut receiver).await?, wanted, "the next event");
        }
    }
    store.commit(vec![Change::delete("missing", Expected::Any)]).await?;
    let generation = store.commit(vec![Change::delete("taken", Expected::Any)]).await?;
    let wanted = WatchEvent { key: "taken".to_owned(), generation, value: None };
    promise_eq!(next(&mut receiver).await?, wanted, "the event of a deletion");
    Ok(())
}

pub(super) async fn every_receiver_sees_changes_from_its_start_on(store: Subject) -> Kept {
    let mut early = store.watch();
    put(&store, "1", Expected::Any, b"").await?;
    promise_eq!(next(&mut early).await?.key, "1", "the early receiver");
    let mut late = store.watch();
    put(&store, "2", Expected::Any, b"").await?;
    promise_eq!(next(&mut early).await?.key, "2", "the early receiver");
    promise_eq!(next(&mut late).await?.key, "2", "the late receiver");
    Ok(())
}

pub(super) async fn what_was_seen_can_be_read(store: Subject) -> Kept {
    const TURNS: u8 = 50;
    let mut receiver = store.watch();
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move {
        for turn in 0..TURNS {
            put(&writer, "k", Expected::Any, &[turn]).await?;
        }
        Ok::<_, StoreError>(())
    });
    for _ in 0..TURNS {
        let event = next(&mut receiver).await?;
        let found = store.get("k").await?.map(|found| found.generation);
        promise!(
            found.is_some_and(|found| found >= event.generation),
            "{:?} was seen, {found:?} was read",
            event.generation
        );
    }
    writing.await.map_err(|error| Unkept(format!("the writer: {error}")))??;
    Ok(())
}
