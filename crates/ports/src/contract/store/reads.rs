//! Lists.

use std::sync::Arc;

use super::{Subject, put};
use crate::contract::Kept;
use crate::contract::report::{promise, promise_eq};
use crate::{Change, Expected, Generation};

/// Keys in the order of their bytes.
const KEYS: &[&str] = &[
    "A/1",
    "a",
    "a%",
    "a%/1",
    "a*",
    "a/",
    "a/1",
    "a/10",
    "a/2",
    "a/é",
    "a/\u{d7ff}",
    "a/\u{e000}",
    "a/\u{10ffff}",
    "a/\u{10ffff}x",
    "a/\u{10ffff}\u{10ffff}",
    "a0",
    "a\\_",
    "a_",
    "a_/1",
    "ab",
    "ab/1",
    "b",
    "\u{d7ff}",
    "\u{e000}",
    "\u{10ffff}",
];

async fn fill(store: &Subject) -> Result<(), crate::StoreError> {
    // Not in order, so that the order of a list is the store's doing.
    for key in KEYS.iter().rev().step_by(2).chain(KEYS.iter().rev().skip(1).step_by(2)) {
        put(store, key, Expected::Absent, key.as_bytes()).await?;
    }
    Ok(())
}

fn with_prefix(prefix: &str) -> Vec<&'static str> {
    KEYS.iter().copied().filter(|key| key.starts_with(prefix)).collect()
}

pub(super) async fn a_list_is_in_byte_order_and_knows_its_prefix(store: Subject) -> Kept {
    fill(&store).await?;
    let prefixes =
        ["", "a", "a/", "a/1", "ab", "b", "c", "a/\u{10ffff}", "\u{10ffff}", "\u{d7ff}", "a/é"];
    for prefix in prefixes {
        let found = store.list(prefix).await?;
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        promise_eq!(keys, with_prefix(prefix), format!("keys that begin with {prefix:?}"));
        for (key, versioned) in &found {
            promise!(versioned.value == key.as_bytes(), "the value of {key:?} is another's");
            promise!(versioned.generation > Generation(0), "{key:?} has no generation");
        }
    }
    Ok(())
}

pub(super) async fn wildcards_in_keys_mean_nothing(store: Subject) -> Kept {
    fill(&store).await?;
    for prefix in ["a%", "a_", "a*", "%", "_", "*", "?", "a?", "[ab]", "a\\", "a\\_", "a%/"] {
        let found = store.list(prefix).await?;
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        promise_eq!(keys, with_prefix(prefix), format!("keys that begin with {prefix:?}"));
        let last = store.list_last(prefix, 100).await?;
        promise_eq!(last.len(), keys.len(), format!("the last keys that begin with {prefix:?}"));
        let exact = store.get(prefix).await?.is_some();
        promise_eq!(exact, KEYS.contains(&prefix), format!("whether there is a key {prefix:?}"));
    }
    Ok(())
}

pub(super) async fn the_last_of_a_list_come_last_first(store: Subject) -> Kept {
    fill(&store).await?;
    for prefix in ["", "a/", "ab", "c"] {
        for limit in [0, 1, 3, 1000] {
            let found = store.list_last(prefix, limit).await?;
            let mut wanted = store.list(prefix).await?;
            wanted.reverse();
            wanted.truncate(limit);
            promise_eq!(found, wanted, format!("the last {limit} that begin with {prefix:?}"));
        }
    }
    Ok(())
}

pub(super) async fn a_list_is_one_picture(store: Subject) -> Kept {
    const KEYS_A_COMMIT: usize = 20;
    const COMMITS: u8 = 40;
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move {
        for turn in 0..COMMITS {
            let changes = (0..KEYS_A_COMMIT)
                .map(|number| Change::put(format!("p/{number}"), Expected::Any, vec![turn]))
                .collect();
            writer.commit(changes).await?;
        }
        Ok::<_, crate::StoreError>(())
    });
    loop {
        let over = writing.is_finished();
        let found = store.list("p/").await?;
        let same = found.windows(2).all(|pair| pair[0].1 == pair[1].1);
        promise!(same, "a list shows half a commit");
        promise!([0, KEYS_A_COMMIT].contains(&found.len()), "a list of {} keys", found.len());
        if over {
            break;
        }
        tokio::task::yield_now().await;
    }
    writing.await.map_err(|error| crate::contract::Unkept(format!("the writer: {error}")))??;
    Ok(())
}
