//! In-memory store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::{
    Change, Expected, Generation, MAX_CHANGES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Store, StoreError,
    Versioned, WatchEvent,
};

/// Commits that a slow watcher may be behind.
const WATCH_BACKLOG: usize = 1024;

/// A store that is forgotten with the process.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    bus: broadcast::Sender<WatchEvent>,
}

#[derive(Debug, Default)]
struct Inner {
    generation: Generation,
    keys: BTreeMap<String, Versioned>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { inner: Mutex::default(), bus: broadcast::channel(WATCH_BACKLOG).0 }
    }
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what is beyond the store's limits; the same for every implementation.
pub fn check_limits(changes: &[Change]) -> Result<(), StoreError> {
    if changes.is_empty() || changes.len() > MAX_CHANGES {
        let count = changes.len();
        return Err(StoreError::Refused(format!("{count} changes, 1 to {MAX_CHANGES} may be")));
    }
    for (index, change) in changes.iter().enumerate() {
        if change.key.is_empty() || change.key.len() > MAX_KEY_BYTES {
            return Err(StoreError::Refused(format!("a key has 1 to {MAX_KEY_BYTES} bytes")));
        }
        if change.value.as_ref().is_some_and(|value| value.len() > MAX_VALUE_BYTES) {
            let key = &change.key;
            return Err(StoreError::Refused(format!(
                "the value of `{key}` has more than {MAX_VALUE_BYTES} bytes"
            )));
        }
        if changes[..index].iter().any(|other| other.key == change.key) {
            return Err(StoreError::Refused(format!("`{}` is changed twice", change.key)));
        }
    }
    Ok(())
}

fn matches(expected: Expected, found: Option<Generation>) -> bool {
    match expected {
        Expected::Any => true,
        Expected::Absent => found.is_none(),
        Expected::At(generation) => found == Some(generation),
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.lock().keys.get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError> {
        Ok(self
            .lock()
            .keys
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    async fn list_last(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let mut all = self.list(prefix).await?;
        all.reverse();
        all.truncate(limit);
        Ok(all)
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Generation, StoreError> {
        check_limits(&changes)?;
        let mut inner = self.lock();
        for change in &changes {
            let found = inner.keys.get(&change.key).map(|value| value.generation);
            if !matches(change.expected, found) {
                return Err(StoreError::Conflict { key: change.key.clone() });
            }
        }
        let generation = Generation(inner.generation.0 + 1);
        inner.generation = generation;
        for change in changes {
            match &change.value {
                Some(value) => {
                    let versioned = Versioned { generation, value: value.clone() };
                    inner.keys.insert(change.key.clone(), versioned);
                }
                None if inner.keys.remove(&change.key).is_none() => continue,
                None => {}
            }
            // Sent under the lock, so watchers see commits in their order.
            let _ = self.bus.send(WatchEvent { key: change.key, generation, value: change.value });
        }
        Ok(generation)
    }

    fn watch(&self) -> broadcast::Receiver<WatchEvent> {
        self.bus.subscribe()
    }
}
