//! Records of one kind in memory, and changes of several kinds in one commit.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use drover_model::{
    BaselineId, GuestId, HostId, OperationId, OwnerRecord, PlanId, RuleId, TokenId,
};
use drover_ports::{Change, Expected, Generation, Store};
use drover_rules::Rule;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    AgentRecord, BalanceRecord, BaselineRecord, DefinitionRecord, FiringRecord, GuestPolicyRecord,
    GuestRecord, HostRecord, HostSecretRecord, JoinRecord, LabelsRecord, LimitsName, LimitsRecord,
    MaintenanceRecord, OperationRecord, ParkedRecord, PlacementRecord, PlanRecord, PolicyName,
    PowerCapRecord, PowerLineRecord, PowerPolicyRecord, PowerRecord, PowerTurnRecord, RecordError,
    RefusalRecord, ReserveName, ReserveRecord, Tables, TokenRecord,
};

/// A kind of record.
pub trait Record: Serialize + DeserializeOwned + Clone {
    /// What tells one from another.
    type Id: Ord + Copy + Display + FromStr;
    /// First part of the key; ends with `/`.
    const PREFIX: &'static str;
    /// Its id.
    fn id(&self) -> Self::Id;
}

/// A record with the generation of its last write.
#[derive(Debug, Clone)]
pub struct Kept<T> {
    /// Of the last write.
    pub generation: Generation,
    /// The record.
    pub value: T,
}

/// All records of one kind, in id order.
#[derive(Debug)]
pub struct Table<T: Record>(BTreeMap<T::Id, Kept<T>>);

impl<T: Record> Default for Table<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Record> Table<T> {
    /// One record.
    pub fn get(&self, id: T::Id) -> Option<&T> {
        self.0.get(&id).map(|kept| &kept.value)
    }

    /// All records in id order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.values().map(|kept| &kept.value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn change(&self, id: T::Id, value: Option<&T>) -> Change {
        let key = format!("{}{id}", T::PREFIX);
        let expected =
            self.0.get(&id).map_or(Expected::Absent, |kept| Expected::At(kept.generation));
        match value {
            Some(value) => {
                let bytes = serde_json::to_vec(value)
                    .expect("records hold maps with string keys and finite numbers only");
                Change::put(key, expected, bytes)
            }
            None => Change::delete(key, expected),
        }
    }

    pub(super) fn apply(&mut self, id: T::Id, value: Option<T>, generation: Generation) {
        match value {
            Some(value) => {
                self.0.insert(id, Kept { generation, value });
            }
            None => {
                self.0.remove(&id);
            }
        }
    }
}

pub(super) async fn load<T: Record>(store: &dyn Store) -> Result<Table<T>, RecordError> {
    let mut table = BTreeMap::new();
    for (key, versioned) in store.list(T::PREFIX).await? {
        let value: T = serde_json::from_slice(&versioned.value)
            .map_err(|cause| RecordError::Unreadable { key, cause: cause.to_string() })?;
        table.insert(value.id(), Kept { generation: versioned.generation, value });
    }
    Ok(Table(table))
}

/// Changes that are stored together or not at all.
#[derive(Debug, Default)]
pub struct Txn {
    pub(super) writes: Vec<Write>,
}

macro_rules! kinds {
    ($($variant:ident($kind:ty, $id:ty, $prefix:literal, $id_of:expr)),+ $(,)?) => {
        #[derive(Debug)]
        pub(super) enum Write { $($variant($id, Option<Box<$kind>>)),+ }

        $(
            impl Record for $kind {
                type Id = $id;
                const PREFIX: &'static str = $prefix;
                fn id(&self) -> $id {
                    let id_of: fn(&$kind) -> $id = $id_of;
                    id_of(self)
                }
            }

            impl From<$kind> for Write {
                fn from(value: $kind) -> Self {
                    Self::$variant(value.id(), Some(Box::new(value)))
                }
            }
        )+
    };
}

kinds! {
    Host(HostRecord, HostId, "host/", |r| r.host.id),
    Guest(GuestRecord, GuestId, "guest/", |r| r.guest.id),
    Owner(OwnerRecord, GuestId, "owner/", |r| r.guest),
    Definition(DefinitionRecord, GuestId, "definition/", |r| r.guest),
    Rule(Rule, RuleId, "rule/", |r| r.id),
    Firing(FiringRecord, RuleId, "firing/", |r| r.rule),
    Placement(PlacementRecord, RuleId, "placement/", |r| r.id),
    GuestPolicy(GuestPolicyRecord, GuestId, "guest-policy/", |r| r.guest),
    Labels(LabelsRecord, HostId, "labels/", |r| r.host),
    Balance(BalanceRecord, PolicyName, "policy/", |_| PolicyName::Balance),
    PowerPolicy(PowerPolicyRecord, PolicyName, "power-policy/", |_| PolicyName::Power),
    PowerTurn(PowerTurnRecord, PolicyName, "power-turn/", |_| PolicyName::Power),
    Baseline(BaselineRecord, BaselineId, "baseline/", |r| r.id),
    Maintenance(MaintenanceRecord, HostId, "maintenance/", |r| r.host),
    Refusal(RefusalRecord, GuestId, "refusal/", |r| r.guest),
    Limits(LimitsRecord, LimitsName, "limits/", |_| LimitsName::Migrations),
    PowerCap(PowerCapRecord, RuleId, "power-cap/", |r| r.id),
    Parked(ParkedRecord, HostId, "parked/", |r| r.host),
    PowerLine(PowerLineRecord, HostId, "power-line/", |r| r.host),
    Power(PowerRecord, HostId, "host-power/", |r| r.host),
    HostSecret(HostSecretRecord, HostId, "host-secret/", |r| r.host),
    Reserve(ReserveRecord, ReserveName, "reserve/", |_| ReserveName::Cluster),
    Operation(OperationRecord, OperationId, "operation/", |r| r.migration.operation),
    Plan(PlanRecord, PlanId, "plan/", |r| r.id),
    Token(TokenRecord, TokenId, "token/", |r| r.id),
    Join(JoinRecord, TokenId, "join/", |r| r.id),
    Agent(AgentRecord, HostId, "agent/", |r| r.host),
}

impl Txn {
    /// No change.
    pub fn none() -> Self {
        Self::default()
    }

    /// Writes a record. Of two writes of one record in a transaction the last counts.
    #[expect(private_bounds, reason = "the kinds are listed above and nowhere else")]
    pub fn put(&mut self, record: impl Into<Write>) {
        let write = record.into();
        self.writes.retain(|other| !same_record(other, &write));
        self.writes.push(write);
    }

    /// Deletes a host and the certificate that its agent may show.
    pub fn delete_host(&mut self, id: HostId) {
        self.writes.push(Write::Host(id, None));
        self.writes.push(Write::Agent(id, None));
    }

    /// Deletes a rule.
    pub fn delete_rule(&mut self, id: RuleId) {
        self.writes.push(Write::Rule(id, None));
    }

    /// Deletes what a rule says of its hosts, if it says anything.
    pub fn delete_firing_if(&mut self, tables: &Tables, id: RuleId) {
        if tables.firings.get(id).is_some() {
            self.writes.push(Write::Firing(id, None));
        }
    }

    /// Deletes a placement rule.
    pub fn delete_placement(&mut self, id: RuleId) {
        self.writes.push(Write::Placement(id, None));
    }

    /// Deletes the labels of a host, if it has any.
    pub fn delete_labels_if(&mut self, tables: &Tables, host: HostId) {
        if tables.labels.get(host).is_some() {
            self.writes.push(Write::Labels(host, None));
        }
    }

    /// Ends the maintenance of a host, if it is in any.
    pub fn delete_maintenance_if(&mut self, tables: &Tables, host: HostId) {
        if tables.maintenance.get(host).is_some() {
            self.writes.push(Write::Maintenance(host, None));
        }
    }

    /// Forgets what was said of how a guest may be moved, if anything was.
    pub fn delete_guest_policy_if(&mut self, tables: &Tables, guest: GuestId) {
        if tables.guest_policies.get(guest).is_some() {
            self.writes.push(Write::GuestPolicy(guest, None));
        }
    }

    /// Forgets where a guest was not let go, if anything is known.
    pub fn delete_refusal_if(&mut self, tables: &Tables, guest: GuestId) {
        if tables.refusals.get(guest).is_some() {
            self.writes.push(Write::Refusal(guest, None));
        }
    }

    /// Forgets what is known of a host's draw, if anything is.
    pub fn delete_watts_if(&mut self, tables: &Tables, host: HostId) {
        if tables.power_lines.get(host).is_some() {
            self.writes.push(Write::PowerLine(host, None));
        }
        if tables.parked.get(host).is_some() {
            self.writes.push(Write::Parked(host, None));
        }
    }

    /// Ends a power cap.
    pub fn delete_power_cap(&mut self, id: RuleId) {
        self.writes.push(Write::PowerCap(id, None));
    }

    /// Forgets how a host is switched on and off, secrets included, if anything is known.
    pub fn delete_power_if(&mut self, tables: &Tables, host: HostId) {
        if tables.power.get(host).is_some() {
            self.writes.push(Write::Power(host, None));
        }
        self.delete_secrets_if(tables, host);
    }

    /// Forgets the secrets of a host, if it has any.
    pub fn delete_secrets_if(&mut self, tables: &Tables, host: HostId) {
        if tables.host_secrets.get(host).is_some() {
            self.writes.push(Write::HostSecret(host, None));
        }
    }

    /// Ends the balance policy.
    pub fn delete_balance(&mut self) {
        self.writes.push(Write::Balance(PolicyName::Balance, None));
    }

    /// Ends the power policy, if there is one, and forgets what it decided.
    pub fn delete_power_policy_if(&mut self, tables: &Tables) {
        let power = PolicyName::Power;
        if tables.power_policy.get(power).is_some() {
            self.writes.push(Write::PowerPolicy(power, None));
        }
        if tables.power_turn.get(power).is_some() {
            self.writes.push(Write::PowerTurn(power, None));
        }
    }

    /// Deletes an API token.
    pub fn delete_token(&mut self, id: TokenId) {
        self.writes.push(Write::Token(id, None));
    }

    /// Deletes a join token.
    pub fn delete_join(&mut self, id: TokenId) {
        self.writes.push(Write::Join(id, None));
    }

    /// Deletes a finished operation.
    pub fn delete_operation(&mut self, id: OperationId) {
        self.writes.push(Write::Operation(id, None));
    }

    /// Deletes a finished plan.
    pub fn delete_plan(&mut self, id: PlanId) {
        self.writes.push(Write::Plan(id, None));
    }

    /// How many records it changes.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

fn same_record(a: &Write, b: &Write) -> bool {
    match (a, b) {
        (Write::Host(a, _), Write::Host(b, _)) => a == b,
        (Write::Guest(a, _), Write::Guest(b, _)) => a == b,
        (Write::Owner(a, _), Write::Owner(b, _)) => a == b,
        (Write::Operation(a, _), Write::Operation(b, _)) => a == b,
        (Write::Plan(a, _), Write::Plan(b, _)) => a == b,
        (Write::PowerLine(a, _), Write::PowerLine(b, _)) => a == b,
        (Write::Firing(a, _), Write::Firing(b, _)) | (Write::Rule(a, _), Write::Rule(b, _)) => {
            a == b
        }
        _ => false,
    }
}
