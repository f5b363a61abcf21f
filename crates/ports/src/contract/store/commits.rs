//! Conditions, atomicity, generations, limits.

use std::sync::Arc;

use bytes::Bytes;

use super::{Subject, conflicts, put, value};
use crate::contract::report::{promise, promise_eq};
use crate::contract::{Kept, Unkept};
use crate::{
    Change, Expected, Generation, MAX_CHANGES, MAX_KEY_BYTES, MAX_VALUE_BYTES, StoreError,
};

pub(super) async fn what_was_committed_is_read(store: Subject) -> Kept {
    promise_eq!(store.get("k").await?, None, "a key nobody wrote");
    for bytes in [&b"text"[..], b"", b"\0\xff\0", &[7; 100_000]] {
        let generation = put(&store, "k", Expected::Any, bytes).await?;
        let Some(found) = store.get("k").await? else {
            return Err(Unkept(format!("{} bytes were not found again", bytes.len())));
        };
        promise!(found.value == bytes, "{} bytes came back changed", bytes.len());
        promise_eq!(found.generation, generation, "the generation of the key");
    }
    Ok(())
}

pub(super) async fn absent_holds_only_without_the_key(store: Subject) -> Kept {
    put(&store, "k", Expected::Absent, b"1").await?;
    conflicts(put(&store, "k", Expected::Absent, b"2").await, "k", "the key is there")?;
    promise_eq!(value(&store, "k").await?, Some(b"1".to_vec()), "after the conflict");
    Ok(())
}

pub(super) async fn at_holds_only_for_the_last_generation(store: Subject) -> Kept {
    let missing = put(&store, "k", Expected::At(Generation(1)), b"0").await;
    conflicts(missing, "k", "there is no key")?;
    let first = put(&store, "k", Expected::Absent, b"1").await?;
    let second = put(&store, "k", Expected::At(first), b"2").await?;
    conflicts(put(&store, "k", Expected::At(first), b"3").await, "k", "an older generation")?;
    let later = Expected::At(Generation(second.0 + 1));
    conflicts(put(&store, "k", later, b"3").await, "k", "a generation to come")?;
    conflicts(put(&store, "k", Expected::At(Generation(0)), b"3").await, "k", "generation 0")?;
    promise_eq!(value(&store, "k").await?, Some(b"2".to_vec()), "after the conflicts");
    // Another key's commit does not age this one.
    put(&store, "other", Expected::Any, b"").await?;
    put(&store, "k", Expected::At(second), b"3").await?;
    Ok(())
}

pub(super) async fn any_always_holds(store: Subject) -> Kept {
    put(&store, "k", Expected::Any, b"1").await?;
    put(&store, "k", Expected::Any, b"2").await?;
    store.commit(vec![Change::delete("k", Expected::Any)]).await?;
    store.commit(vec![Change::delete("k", Expected::Any)]).await?;
    promise_eq!(value(&store, "k").await?, None, "after deletion");
    Ok(())
}

pub(super) async fn a_commit_does_all_or_nothing(store: Subject) -> Kept {
    let both = store
        .commit(vec![
            Change::put("a", Expected::Absent, "1"),
            Change::put("b", Expected::Absent, "1"),
        ])
        .await?;
    let before = store.list("").await?;
    promise_eq!(before.len(), 2, "keys");
    let result = store
        .commit(vec![
            Change::put("a", Expected::At(both), "2"),
            Change::delete("b", Expected::At(both)),
            Change::put("new", Expected::Absent, "2"),
            Change::put("missing", Expected::At(both), "2"),
        ])
        .await;
    conflicts(result, "missing", "the last condition of four fails")?;
    promise_eq!(store.list("").await?, before, "after the conflict");
    store
        .commit(vec![
            Change::put("a", Expected::At(both), "2"),
            Change::delete("b", Expected::At(both)),
            Change::put("new", Expected::Absent, "2"),
        ])
        .await?;
    let keys: Vec<String> = store.list("").await?.into_iter().map(|(key, _)| key).collect();
    promise_eq!(keys, ["a", "new"], "after the commit");
    Ok(())
}

pub(super) async fn a_conflict_names_the_first_key_whose_condition_fails(store: Subject) -> Kept {
    put(&store, "a", Expected::Any, b"").await?;
    put(&store, "z", Expected::Any, b"").await?;
    let result = store
        .commit(vec![
            Change::put("free", Expected::Absent, ""),
            Change::put("z", Expected::Absent, ""),
            Change::put("a", Expected::Absent, ""),
        ])
        .await;
    conflicts(result, "z", "first in the commit, last by name")
}

pub(super) async fn generations_strictly_grow(store: Subject) -> Kept {
    let mut last = Generation(0);
    for turn in 0..20_u8 {
        let changes = vec![
            Change::put("a", Expected::Any, vec![turn]),
            Change::put(format!("k{turn}"), Expected::Any, vec![turn]),
        ];
        let generation = store.commit(changes).await?;
        promise!(generation > last, "{generation:?} came after {last:?}");
        for key in ["a".to_owned(), format!("k{turn}")] {
            let found = store.get(&key).await?.map(|found| found.generation);
            promise_eq!(found, Some(generation), format!("the generation of `{key}`"));
        }
        last = generation;
        conflicts(put(&store, "a", Expected::Absent, b"").await, "a", "the key is there")?;
    }
    Ok(())
}

pub(super) async fn a_deleted_key_is_gone_and_may_come_again(store: Subject) -> Kept {
    let first = put(&store, "k", Expected::Absent, b"1").await?;
    let wrong = Change::delete("k", Expected::At(Generation(first.0 + 1)));
    conflicts(store.commit(vec![wrong]).await, "k", "deleting another generation")?;
    store.commit(vec![Change::delete("k", Expected::At(first))]).await?;
    promise_eq!(store.get("k").await?, None, "after deletion");
    promise_eq!(store.list("").await?, vec![], "the list after deletion");
    let again = store.commit(vec![Change::delete("k", Expected::At(first))]).await;
    conflicts(again, "k", "deleting what is gone")?;
    store.commit(vec![Change::delete("k", Expected::Absent)]).await?;
    let second = put(&store, "k", Expected::Absent, b"2").await?;
    promise!(second > first, "{second:?} came after {first:?}");
    conflicts(put(&store, "k", Expected::At(first), b"3").await, "k", "its former life")
}

pub(super) async fn limits_are_refused_and_nothing_is_done(store: Subject) -> Kept {
    let change = |key: String| Change::put(key, Expected::Any, "");
    let many = |count: usize| (0..count).map(|number| change(format!("many/{number}"))).collect();
    let bytes = |count: usize| Bytes::from(vec![0x55; count]);
    let longest = "k".repeat(MAX_KEY_BYTES);
    let wrong: Vec<(&str, Vec<Change>)> = vec![
        ("a key that is too long", vec![change(format!("{longest}k"))]),
        ("a long key of long characters", vec![change("ü".repeat(MAX_KEY_BYTES / 2 + 1))]),
        ("an empty key", vec![change(String::new())]),
        (
            "a value that is too large",
            vec![Change::put("large", Expected::Any, bytes(MAX_VALUE_BYTES + 1))],
        ),
        ("too many changes", many(MAX_CHANGES + 1)),
        ("one key twice", vec![change("twice".into()), Change::delete("twice", Expected::Any)]),
        ("no change", Vec::new()),
    ];
    for (what, changes) in wrong {
        let mut changes = changes;
        if changes.len() == 1 {
            changes.insert(0, change("beside".into()));
        }
        let result = store.commit(changes).await;
        promise!(
            matches!(result, Err(StoreError::Refused(_))),
            "{what}: {result:?} instead of a refusal"
        );
    }
    promise_eq!(store.list("").await?, vec![], "after the refusals");
    store.commit(vec![change(longest.clone())]).await?;
    promise!(store.get(&longest).await?.is_some(), "the longest key is not found again");
    store.commit(vec![Change::put("large", Expected::Any, bytes(MAX_VALUE_BYTES))]).await?;
    let large = value(&store, "large").await?.map(|value| value.len());
    promise_eq!(large, Some(MAX_VALUE_BYTES), "the size of the largest value");
    store.commit(many(MAX_CHANGES)).await?;
    promise_eq!(store.list("many/").await?.len(), MAX_CHANGES, "keys of the longest commit");
    Ok(())
}

pub(super) async fn concurrent_increments_are_never_lost(store: Subject) -> Kept {
    const TASKS: u64 = 8;
    const TURNS: u64 = 25;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for turn in 0..TURNS {
                increment(&store, task, turn).await?;
            }
            Ok::<_, Unkept>(())
        }));
    }
    for task in tasks {
        task.await.map_err(|error| Unkept(format!("a task ended: {error}")))??;
    }
    let counted = value(&store, "count").await?;
    promise_eq!(counted, Some((TASKS * TURNS).to_le_bytes().to_vec()), "the counter");
    promise_eq!(store.list("by/").await?.len() as u64, TASKS * TURNS, "receipts");
    Ok(())
}

/// Adds one and leaves a receipt, until no one else was faster.
async fn increment(store: &Subject, task: u64, turn: u64) -> Kept {
    loop {
        let found = store.get("count").await?;
        let expected = found.as_ref().map_or(Expected::Absent, |f| Expected::At(f.generation));
        let count = match &found {
            Some(found) => u64::from_le_bytes(
                found.value[..].try_into().map_err(|_| Unkept("a torn counter".to_owned()))?,
            ),
            None => 0,
        };
        let changes = vec![
            Change::put("count", expected, (count + 1).to_le_bytes().to_vec()),
            Change::put(format!("by/{task}/{turn}"), Expected::Absent, ""),
        ];
        match store.commit(changes).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { key }) if key == "count" => {}
            Err(error) => return Err(error.into()),
        }
    }
}
