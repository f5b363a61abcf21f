//! What every kind of record promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drover_api::v1::Role;
use drover_lifecycle::Migration;
use drover_model::{
    BaselineId, CpuPlatform, Epoch, Metric, MigrationLimits, MigrationSettings, NamedCpu,
    OperationId, OwnerPhase, OwnerRecord, PlanId, RuleId, Timestamp, TokenId,
};
use drover_planner::power::{PowerLevel, PowerPolicy, State};
use drover_planner::{Level, Plan, PlanReport};
use drover_ports::memory::MemoryStore;
use drover_rules::{
    Aggregate, Comparison, Condition, PlacementKind, PlacementRule, Rule, Strength,
};
use drover_testkit::{guest, guest_id, host, host_id};

use super::table::{Edit, PREFIXES, Table, Write};
use super::*;

/// Calls a check for every kind: a name, how to make one of which all have the same id and
/// each number its own content, and where it is kept. Returns the prefixes that it went through.
macro_rules! of_every_kind {
    ($check:ident) => {{
        let mut seen = BTreeSet::new();
        macro_rules! kind {
            ($make:expr, $table:ident) => {
                seen.insert($check($make, |tables| &tables.$table).await);
            };
        }
        kind!(|n| HostRecord { host: host(1, 4.0, 16), disturbed: Some(at(n)) }, hosts);
        kind!(
            |n| GuestRecord { guest: guest(1, 1, 512), last_moved: Some(at(n)), absent: false },
            guests
        );
        kind!(owner, owners);
        kind!(
            |n| DefinitionRecord { guest: guest_id(1), xml: n.to_string(), at: at(0) },
            definitions
        );
        kind!(rule, rules);
        kind!(|n| FiringRecord { rule: rule_id(), hosts: firing(n) }, firings);
        kind!(placement, placement);
        kind!(guest_policy, guest_policies);
        kind!(|n| LabelsRecord { host: host_id(1), labels: labels(n) }, labels);
        kind!(balance, balance);
        kind!(power_policy, power_policy);
        kind!(power_turn, power_turn);
        kind!(baseline, baselines);
        kind!(maintenance, maintenance);
        kind!(refusal, refusals);
        kind!(|n| LimitsRecord { limits: limits(n) }, limits);
        kind!(power_cap, power_caps);
        kind!(|n| ParkedRecord { host: host_id(1), spans: vec![(at(n), None)] }, parked);
        kind!(
            |n| PowerLineRecord { host: host_id(1), lines: BTreeMap::new(), learned: at(n) },
            power_lines
        );
        kind!(|n| PowerRecord::new(host_id(1), at(n)), power);
        kind!(host_secret, host_secrets);
        kind!(
            |n| ReserveRecord { min_awake: u32::try_from(n).unwrap(), survive_failures: 0 },
            reserve
        );
        kind!(operation, operations);
        kind!(plan, plans);
        kind!(token, tokens);
        kind!(join, joins);
        kind!(
            |n| AgentRecord { host: host_id(1), name: "h".to_owned(), sha256: n.to_string() },
            agents
        );
        assert_eq!(seen, PREFIXES.iter().copied().collect(), "a kind is missing above");
    }};
}

#[tokio::test]
async fn of_two_writes_of_one_record_the_last_counts_whatever_its_kind() {
    of_every_kind!(the_last_counts);
}

async fn the_last_counts<R>(make: fn(u64) -> R, table: fn(&Tables) -> &Table<R>) -> &'static str
where
    R: Record + std::fmt::Debug,
    Write: From<Edit<R>>,
{
    let records = Records::load(Arc::new(MemoryStore::default())).await.unwrap();
    let id = make(1).id();
    let twice = |_: &Tables| {
        let mut txn = Txn::none();
        txn.add(make(1));
        txn.put(make(2));
        let len = txn.len();
        (txn, len)
    };
    let len = records.update(twice).await;
    assert_eq!(len.unwrap(), 1, "{}", R::PREFIX);
    assert_eq!(table(&records.read()).get(id), Some(&make(2)), "{}", R::PREFIX);
    let then_deleted = |_: &Tables| {
        let mut txn = Txn::none();
        txn.put(make(3));
        txn.delete::<R>(id);
        (txn, ())
    };
    records.update(then_deleted).await.unwrap();
    assert_eq!(table(&records.read()).get(id), None, "{}", R::PREFIX);
    records.update(then_deleted).await.unwrap();
    let kept = records.store().list(R::PREFIX).await.unwrap();
    assert!(kept.is_empty(), "{}", R::PREFIX);
    R::PREFIX
}

#[tokio::test]
async fn a_copy_that_was_read_before_somebody_elses_write_is_refused_whatever_its_kind() {
    of_every_kind!(a_stale_copy_is_refused);
}

async fn a_stale_copy_is_refused<R>(
    make: fn(u64) -> R,
    table: fn(&Tables) -> &Table<R>,
) -> &'static str
where
    R: Record + std::fmt::Debug,
    Write: From<Edit<R>>,
{
    let records = Records::load(Arc::new(MemoryStore::default())).await.unwrap();
    let id = make(1).id();
    let write = async |before: Option<R>, after: R| {
        records
            .update(|_| {
                let mut txn = Txn::none();
                txn.change(before.as_ref(), after);
                (txn, ())
            })
            .await
    };
    let stored = || table(&records.read()).get(id).cloned();
    write(None, make(1)).await.unwrap();
    let copy = stored();
    write(copy.clone(), make(2)).await.unwrap();
    for stale in [copy, None] {
        let refused = write(stale, make(3)).await;
        let is_stale = matches!(refused, Err(RecordError::Stale { .. }));
        assert!(is_stale, "{}: {refused:?}", R::PREFIX);
        assert_eq!(stored(), Some(make(2)), "{}", R::PREFIX);
    }
    write(stored(), make(3)).await.unwrap();
    assert_eq!(stored(), Some(make(3)), "{}", R::PREFIX);
    R::PREFIX
}

const fn at(n: u64) -> Timestamp {
    Timestamp::from_millis(n.cast_signed())
}

const fn rule_id() -> RuleId {
    RuleId::from_u128(1)
}

fn who(n: u64) -> Cause {
    Cause::Request { who: format!("user {n}") }
}

fn owner(n: u64) -> OwnerRecord {
    let (guest, host) = (guest_id(1), host_id(1));
    OwnerRecord { guest, host, epoch: Epoch(n), phase: OwnerPhase::Settled }
}

fn rule(n: u64) -> Rule {
    Rule {
        id: rule_id(),
        name: format!("rule {n}"),
        enabled: true,
        condition: Condition {
            metric: Metric::CpuUsageActive,
            comparison: Comparison::Above,
            threshold: 80.0,
        },
        clear: 70.0,
        period: Duration::from_secs(60),
        aggregate: Aggregate::Mean,
        evaluations: 3,
        source_hosts: vec![],
        target_hosts: vec![],
        guests: vec![],
        max_moves: 1,
        cooldown: Duration::ZERO,
        dry_run: false,
        wake: false,
        created: at(0),
    }
}

fn firing(n: u64) -> BTreeMap<HostId, drover_rules::HostFiring> {
    [(host_id(u128::from(n)), drover_rules::HostFiring::Clear)].into()
}

fn placement(n: u64) -> PlacementRecord {
    let kind = PlacementKind::On { guests: vec![guest_id(1)], hosts: vec![host_id(1)] };
    let rule = PlacementRule { name: "pin".to_owned(), kind, strength: Strength::Required };
    PlacementRecord { id: rule_id(), rule, created: at(n) }
}

fn guest_policy(n: u64) -> GuestPolicyRecord {
    GuestPolicyRecord {
        guest: guest_id(1),
        max_downtime_ms: Some(n),
        auto_converge: None,
        post_copy: None,
        priority: None,
        probe: None,
    }
}

fn labels(n: u64) -> BTreeMap<String, String> {
    [("rack".to_owned(), n.to_string())].into()
}

fn balance(n: u64) -> BalanceRecord {
    BalanceRecord {
        level: Level::Moderate,
        interval: Duration::from_secs(n),
        hold: Duration::ZERO,
        max_moves: 1,
        moves_per_guest_per_hour: 1,
        moves_per_hour: 1,
        horizon: Duration::from_secs(60),
        set: at(0),
    }
}

fn power_policy(n: u64) -> PowerPolicyRecord {
    PowerPolicyRecord {
        policy: PowerPolicy::new(PowerLevel::Moderate),
        zone: "UTC".to_owned(),
        exclude: BTreeSet::new(),
        min_on: Duration::from_secs(n),
        min_off: Duration::ZERO,
        suggest: false,
        set: at(0),
    }
}

fn power_turn(n: u64) -> PowerTurnRecord {
    let refused = [(host_id(1), (at(n), "no".to_owned()))].into();
    PowerTurnRecord { state: State::default(), told: told(), refused, awaited: BTreeMap::new() }
}

fn told() -> drover_api::v1::PowerDecision {
    serde_json::from_value(serde_json::json!({
        "at": "2026-01-01T00:00:00Z", "level": 3, "suggested_only": null,
        "outlook": {
            "hosts_on": 1, "hosts_open": 1, "load_cores": 1.0, "deviation_cores": 0.1,
            "capacity_cores": 4.0, "wake_below_cores": 1.0, "park_above_cores": 2.0,
            "memory_mib": 1.0, "memory_capacity_mib": 4.0, "expected_cores": null, "watts": 90.0,
        },
        "wakes": [], "unmet": null, "parks": [], "held": null, "kept": [], "left_out": [],
    }))
    .unwrap()
}

fn baseline(n: u64) -> BaselineRecord {
    BaselineRecord {
        id: BaselineId::from_u128(1),
        group: "all".to_owned(),
        generation: u32::try_from(n).unwrap(),
        platform: CpuPlatform::default(),
        cpu: NamedCpu::default(),
        hosts: BTreeMap::new(),
        computed: at(0),
    }
}

fn maintenance(n: u64) -> MaintenanceRecord {
    MaintenanceRecord {
        initiative: drover_rules::Initiative::Request,
        host: host_id(1),
        phase: MaintenancePhase::Draining,
        who: "ann".to_owned(),
        begun: at(n),
        drained: None,
        to_labels: BTreeMap::new(),
        settings: MigrationSettings::default(),
        guests: 0,
        hanging: vec![],
    }
}

fn refusal(n: u64) -> RefusalRecord {
    let until = at(n);
    let refusal = drover_rules::constraint::KnownRefusal {
        reason: "no".to_owned(),
        until,
        way: drover_rules::constraint::Way::default(),
        at: at(0),
    };
    let everywhere = Some(Refused { refusal, of: String::new() });
    RefusalRecord { guest: guest_id(1), everywhere, to: BTreeMap::new() }
}

fn limits(n: u64) -> MigrationLimits {
    MigrationLimits { per_link: u32::try_from(n).unwrap(), ..MigrationLimits::default() }
}

fn power_cap(n: u64) -> PowerCapRecord {
    PowerCapRecord {
        id: rule_id(),
        name: "rack".to_owned(),
        hosts: CappedHosts::Named(vec![]),
        watts: 100.0,
        window: Duration::from_secs(n),
        max_moves: 1,
        set: at(0),
    }
}

fn host_secret(n: u64) -> HostSecretRecord {
    let sealed = Sealed { nonce: n.to_string(), sealed: String::new() };
    HostSecretRecord { host: host_id(1), bmc_password: Some(sealed), secure_on: None }
}

fn operation(n: u64) -> OperationRecord {
    let id = OperationId::from_u128(1);
    OperationRecord {
        migration: Migration::new(id, owner(1), host_id(2), MigrationSettings::default()),
        cause: who(n),
        plan: PlanId::from_u128(1),
        created: at(0),
        timeline: vec![],
        notes: vec![],
        forecast: None,
    }
}

fn plan(n: u64) -> PlanRecord {
    PlanRecord {
        id: PlanId::from_u128(1),
        at: at(0),
        cause: who(n),
        state: PlanState::Running,
        plan: Plan::default(),
        report: PlanReport::default(),
        settings: MigrationSettings::default(),
        operations: vec![],
        measure: None,
    }
}

fn token(n: u64) -> TokenRecord {
    TokenRecord {
        id: TokenId::from_u128(1),
        name: format!("user {n}"),
        role: Role::Viewer,
        sha256: String::new(),
        created: at(0),
    }
}

fn join(n: u64) -> JoinRecord {
    JoinRecord { id: TokenId::from_u128(1), sha256: String::new(), expires: at(n) }
}
