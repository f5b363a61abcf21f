//! Keys, bytes and compare-and-swap. The store knows nothing of guests or rules.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

/// Counts the commits of a store. A key's generation is that of the commit which wrote
/// it last; it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// A value with the generation of its last write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// When it was written last.
    pub generation: Generation,
    /// What was written.
    pub value: Bytes,
}

/// What must hold of a key for a commit to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// There is no such key.
    Absent,
    /// The key was last written at this generation.
    At(Generation),
}

/// One write of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// At most [`MAX_KEY_BYTES`] bytes of UTF-8, parts separated by `/`.
    pub key: String,
    /// The condition; if it fails for one change, the whole commit does nothing.
    pub expected: Expected,
    /// The new value, or none to delete the key.
    pub value: Option<Bytes>,
}

impl Change {
    /// Writes `value` if `expected` holds.
    pub fn put(key: impl Into<String>, expected: Expected, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), expected, value: Some(value.into()) }
    }

    /// Deletes the key if `expected` holds.
    pub fn delete(key: impl Into<String>, expected: Expected) -> Self {
        Self { key: key.into(), expected, value: None }
    }
}

/// A key was written or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// Which key.
    pub key: String,
    /// By which commit.
    pub generation: Generation,
    /// The new value; none when it was deleted.
    pub value: Option<Bytes>,
}

/// Why the store did not do it, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Busy or out of reach; the same call may succeed later. A commit may yet have
    /// happened: read again before deciding anew.
    #[error("the store is out of reach: {0}")]
    Retry(String),
    /// Somebody else wrote `key` first: read again and decide anew.
    #[error("`{key}` was changed by someone else")]
    Conflict {
        /// The first key whose condition failed.
        key: String,
    },
    /// A limit of the store: the key or value is too large, or the commit too long.
    #[error("the store refused: {0}")]
    Refused(String),
    /// The store is damaged or full; an operator has to look. Whether a commit happened
    /// is not known.
    #[error("the store is broken: {0}")]
    Broken(String),
}

/// Durable keys and values with atomic multi-key compare-and-swap.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads one key.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;

    /// Reads all keys that begin with `prefix`, in the order of their bytes: one picture
    /// that no commit is half in. Nothing in `prefix` is a wildcard.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError>;

    /// Reads at most `limit` keys that begin with `prefix`, the last first.
    async fn list_last(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError>;

    /// Carries out all changes or none, durably, and returns the new generation.
    ///
    /// A commit of one key twice is refused, and so is one of nothing. To delete what is
    /// not there changes nothing.
    async fn commit(&self, changes: Vec<Change>) -> Result<Generation, StoreError>;

    /// Every change from now on, in the order of the commits. A receiver that lags is told
    /// so by the channel and must read again: watches wake, they do not tell.
    fn watch(&self) -> broadcast::Receiver<WatchEvent>;
}

/// Longest key, bytes. etcd has no limit of its own; this keeps indexes small.
pub const MAX_KEY_BYTES: usize = 512;
/// Largest value, bytes. Below etcd's default request limit of 1.5 MiB.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// Most changes in one commit. etcd's default is 128 operations in a transaction.
pub const MAX_CHANGES: usize = 128;
