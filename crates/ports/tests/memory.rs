//! The in-memory twins keep the contracts.

use std::sync::Arc;

use drover_model::{GuestId, HostId};
use drover_ports::contract;
use drover_ports::contract::history::{Step, rollups_agree_with_recomputation};
use drover_ports::contract::hypervisor::Rig;
use drover_ports::memory::{MemoryHistory, MemoryHosts, MemoryStore};
use drover_ports::{History, Store};
use proptest::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_store_keeps_the_contract() {
    contract::store::run(async || Arc::new(MemoryStore::default()) as Arc<dyn Store>).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_history_keeps_the_contract() {
    contract::history::run(async || Arc::new(MemoryHistory::default()) as Arc<dyn History>).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_hypervisor_keeps_the_contract() {
    contract::hypervisor::run(async || {
        let hosts = MemoryHosts::default();
        let guest = GuestId::from_u128(9);
        let source = hosts.add("memory://h1", HostId::from_u128(1));
        let target = hosts.add("memory://h2", HostId::from_u128(2));
        source.start(guest, "vm1");
        Rig {
            source: Arc::new(source),
            target: Arc::new(target),
            guest,
            peer_uri: "memory://h2".to_owned(),
            dead_peer_uri: "memory://nobody".to_owned(),
            migration_address: "memory".to_owned(),
            missing_feature: "hle".to_owned(),
        }
    })
    .await;
}

fn step() -> impl Strategy<Value = Step> {
    let moment = 0..7_200_000_u32;
    prop_oneof![
        20 => (0..3_u8, moment.clone(), -1e12..1e12).prop_map(|(e, at, v)| Step::Sample(e, at, v)),
        1 => moment.prop_map(Step::Compact),
    ]
}

proptest! {
    #[test]
    fn invariant_rollups_agree_with_recomputation(
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let history = Arc::new(MemoryHistory::default());
        let kept = runtime.block_on(rollups_agree_with_recomputation(history, &steps));
        prop_assert!(kept.is_ok(), "{}", kept.unwrap_err());
    }
}
