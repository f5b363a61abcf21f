//! The in-memory twins keep the contracts.

use std::sync::Arc;

use drover_ports::contract;
use drover_ports::memory::{MemoryHistory, MemoryStore};

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    contract::store::run(|| Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn the_memory_history_keeps_the_contract() {
    contract::history::run(|| Arc::new(MemoryHistory::default())).await;
}
