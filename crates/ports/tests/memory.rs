//! The in-memory twins keep the contracts.

use std::sync::Arc;
use std::time::Duration;

use drover_model::{BmcAddress, BmcProtocol, BmcTls, GuestId, HostId, PowerState};
use drover_ports::contract;
use drover_ports::contract::history::{Step, rollups_agree_with_recomputation};
use drover_ports::contract::hypervisor::Rig;
use drover_ports::contract::power::PowerRig;
use drover_ports::memory::{BmcFault, MemoryHistory, MemoryHosts, MemoryPower, MemoryStore};
use drover_ports::{Bmc, History, POWER_TIMEOUT_S, Power, PowerError, Secret, Store};
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

fn bmc() -> Bmc {
    let address = BmcAddress {
        protocol: BmcProtocol::Ipmi,
        host: "bmc1".to_owned(),
        port: 623,
        user: "drover".to_owned(),
        cipher_suite: None,
        system: None,
        tls: BmcTls::System,
    };
    Bmc { address, password: Secret::new("right") }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_power_keeps_the_contract() {
    for (watts, protocol) in [(Some(120.0), BmcProtocol::Ipmi), (None, BmcProtocol::Redfish)] {
        contract::power::run(async || {
            let (power, mut bmc) = (MemoryPower::default(), bmc());
            bmc.address.protocol = protocol;
            power.add(&bmc, PowerState::On, watts);
            let (machines, address) = (power.clone(), bmc.address.clone());
            let other = BmcTls::Pinned { sha256: "ab".repeat(32) };
            let untrusted = BmcAddress { tls: other, ..address.clone() };
            PowerRig {
                power: Arc::new(power),
                nobody: BmcAddress { host: "bmc2".to_owned(), ..address.clone() },
                untrusted: (protocol == BmcProtocol::Redfish).then_some(untrusted),
                bmc,
                measures: watts.is_some(),
                is_on: Arc::new(move || machines.is(&address) == Some(PowerState::On)),
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_bmc_in_memory_has_every_fault() {
    let (power, bmc) = (MemoryPower::default(), bmc());
    power.add(&bmc, PowerState::Off, Some(120.0));
    power.set_fault(&bmc.address, BmcFault::IgnoresSwitches);
    power.switch_on(&bmc).await.unwrap();
    assert_eq!(power.state(&bmc).await, Ok(PowerState::Off));
    assert_eq!(power.orders(&bmc.address), [PowerState::On]);
    power.set_fault(&bmc.address, BmcFault::Denies);
    assert!(matches!(power.state(&bmc).await, Err(PowerError::Denied(_))));
    power.set_fault(&bmc.address, BmcFault::None);
    power.set_delay(&bmc.address, Duration::from_secs(3));
    let begun = tokio::time::Instant::now();
    assert_eq!(power.state(&bmc).await, Ok(PowerState::Off));
    assert_eq!(begun.elapsed().as_secs(), 3);
    power.set_delay(&bmc.address, Duration::from_secs(300));
    assert!(matches!(power.state(&bmc).await, Err(PowerError::Retry(_))));
    assert_eq!(begun.elapsed().as_secs(), 3 + POWER_TIMEOUT_S);
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
