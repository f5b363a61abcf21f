//! Contract of the store port: each promise is one function; [`run`] keeps them all.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Change, Expected, Generation, MAX_CHANGES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Store, StoreError,
};

/// Checks every promise. `make` gives a new, empty store each time.
///
/// # Panics
/// When a promise is broken; the message says which.
pub async fn run(make: impl Fn() -> Arc<dyn Store>) {
    compare_and_swap(make().as_ref()).await;
    all_or_nothing(make().as_ref()).await;
    lists_are_ordered_and_exact(make().as_ref()).await;
    limits_are_refused(make().as_ref()).await;
    watchers_see_commits_in_order(make().as_ref()).await;
    writers_lose_nothing(make()).await;
}

fn put(key: &str, expected: Expected, value: &'static str) -> Change {
    Change::put(key, expected, Bytes::from_static(value.as_bytes()))
}

async fn commit(store: &dyn Store, change: Change) -> Result<Generation, StoreError> {
    store.commit(vec![change]).await
}

fn conflict_on(result: Result<Generation, StoreError>, key: &str, what: &str) {
    match result {
        Err(StoreError::Conflict { key: found }) => assert_eq!(found, key, "{what}"),
        other => panic!("{what}: {other:?} is no conflict"),
    }
}

async fn compare_and_swap(store: &dyn Store) {
    let first = commit(store, put("a", Expected::Absent, "1")).await.expect("absent key");
    conflict_on(commit(store, put("a", Expected::Absent, "2")).await, "a", "absent, but there");
    let second = commit(store, put("a", Expected::At(first), "2")).await.expect("right generation");
    assert!(second > first, "generations grow");
    conflict_on(commit(store, put("a", Expected::At(first), "3")).await, "a", "old generation");
    let read = store.get("a").await.expect("get").expect("it is there");
    assert_eq!((read.generation, read.value), (second, Bytes::from_static(b"2")));
    let third = commit(store, put("a", Expected::Any, "3")).await.expect("any");
    conflict_on(commit(store, Change::delete("a", Expected::At(second))).await, "a", "old delete");
    commit(store, Change::delete("a", Expected::At(third))).await.expect("delete");
    assert_eq!(store.get("a").await.expect("get"), None, "deleted");
    let again = commit(store, put("a", Expected::Absent, "4")).await.expect("absent again");
    assert!(again > third, "a deleted key's generation is not used again");
}

async fn all_or_nothing(store: &dyn Store) {
    commit(store, put("x", Expected::Absent, "1")).await.expect("x");
    let mixed = vec![
        put("y", Expected::Absent, "1"),
        put("x", Expected::Absent, "2"),
        put("z", Expected::Absent, "1"),
    ];
    conflict_on(store.commit(mixed).await, "x", "the first failing key is named");
    assert_eq!(store.list("").await.expect("list").len(), 1, "nothing of a failed commit is kept");
    let both = vec![put("y", Expected::Absent, "1"), put("z", Expected::Absent, "1")];
    let generation = store.commit(both).await.expect("both");
    for key in ["y", "z"] {
        let read = store.get(key).await.expect("get").expect("kept");
        assert_eq!(read.generation, generation, "keys of one commit have one generation");
    }
}

async fn lists_are_ordered_and_exact(store: &dyn Store) {
    for key in ["a/2", "a/1", "ab", "a/%", "a_1", "b/1", "a/é"] {
        commit(store, put(key, Expected::Absent, "v")).await.expect("put");
    }
    let keys = |rows: Vec<(String, crate::Versioned)>| -> Vec<String> {
        rows.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(store.list("a/").await.expect("list")), ["a/%", "a/1", "a/2", "a/é"]);
    assert_eq!(keys(store.list("a_").await.expect("list")), ["a_1"], "no wildcards");
    assert_eq!(keys(store.list("c").await.expect("list")), Vec::<String>::new());
    assert_eq!(keys(store.list_last("a/", 2).await.expect("list")), ["a/é", "a/2"]);
    assert_eq!(store.list("").await.expect("list").len(), 7);
}

async fn limits_are_refused(store: &dyn Store) {
    let refused = |result: Result<Generation, StoreError>, what: &str| {
        assert!(matches!(result, Err(StoreError::Refused(_))), "{what}: {result:?}");
    };
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    refused(commit(store, put(&long, Expected::Any, "v")).await, "a long key");
    refused(commit(store, put("", Expected::Any, "v")).await, "an empty key");
    let large = Change::put("k", Expected::Any, Bytes::from(vec![0; MAX_VALUE_BYTES + 1]));
    refused(commit(store, large).await, "a large value");
    let many = (0..=MAX_CHANGES).map(|n| put(&format!("k{n}"), Expected::Any, "v")).collect();
    refused(store.commit(many).await, "a long commit");
    let twice = vec![put("k", Expected::Any, "1"), put("k", Expected::Any, "2")];
    refused(store.commit(twice).await, "one key twice");
    assert_eq!(store.list("").await.expect("list"), vec![], "nothing of it is kept");
}

async fn watchers_see_commits_in_order(store: &dyn Store) {
    let mut watch = store.watch();
    commit(store, put("a", Expected::Any, "1")).await.expect("put");
    commit(store, Change::delete("a", Expected::Any)).await.expect("delete");
    let _ = commit(store, put("a", Expected::At(Generation(0)), "x")).await;
    commit(store, put("b", Expected::Any, "2")).await.expect("put");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = watch.recv().await.expect("an event for each change");
        seen.push((event.key, event.value.is_some()));
    }
    let expected = [("a", true), ("a", false), ("b", true)];
    assert_eq!(seen, expected.map(|(key, kept)| (key.to_owned(), kept)));
    assert!(watch.try_recv().is_err(), "a failed commit is no event");
}

async fn writers_lose_nothing(store: Arc<dyn Store>) {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let count = |store: Arc<dyn Store>| async move {
        for _ in 0..EACH {
            loop {
                let read = store.get("counter").await.expect("get");
                let (expected, value) = read.map_or((Expected::Absent, 0), |read| {
                    let text = String::from_utf8_lossy(&read.value).into_owned();
                    (Expected::At(read.generation), text.parse::<usize>().expect("a number"))
                });
                let next = Change::put("counter", expected, (value + 1).to_string());
                match store.commit(vec![next]).await {
                    Ok(_) => break,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(count(Arc::clone(&store)))).collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    let read = store.get("counter").await.expect("get").expect("counted");
    assert_eq!(read.value, Bytes::from((WRITERS * EACH).to_string()), "an increment was lost");
}
