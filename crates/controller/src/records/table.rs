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
pub trait Record: Serialize + DeserializeOwned + Clone + PartialEq {
    /// What tells one from another.
    type Id: Ord + Copy + Display + FromStr;
    /// First part of the key; ends with `/`.
    const PREFIX: &'static str;
    /// Its id.
    fn id(&self) -> Self::Id;
}

/// A record whose writer knows the whole of it, so that nothing of what stood there before
/// can get lost: what a user set, what a host told, what was worked out anew.
pub trait Whole: Record {}

/// What a write takes for granted of what is stored.
#[derive(Debug)]
enum Basis<T> {
    /// Nothing: the write replaces what is there.
    Any,
    /// There is none.
    Absent,
    /// It is this.
    Was(Box<T>),
}

/// One record's write.
#[derive(Debug)]
pub(super) struct Edit<T: Record> {
    id: T::Id,
    basis: Basis<T>,
    after: Option<Box<T>>,
}

impl<T: Record> Edit<T> {
    fn put(basis: Basis<T>, after: T) -> Self {
        Self { id: after.id(), basis, after: Some(Box::new(after)) }
    }

    fn delete(id: T::Id) -> Self {
        Self { id, basis: Basis::Any, after: None }
    }

    fn key(&self) -> String {
        format!("{}{}", T::PREFIX, self.id)
    }
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

    /// What the store has to do; nothing to delete where there is nothing.
    pub(super) fn change(&self, edit: &Edit<T>) -> Result<Option<Change>, RecordError> {
        let stored = self.0.get(&edit.id);
        let holds = match &edit.basis {
            Basis::Any => true,
            Basis::Absent => stored.is_none(),
            Basis::Was(before) => stored.is_some_and(|kept| kept.value == **before),
        };
        if !holds {
            return Err(RecordError::Stale { key: edit.key() });
        }
        let expected = stored.map_or(Expected::Absent, |kept| Expected::At(kept.generation));
        Ok(match &edit.after {
            Some(value) => {
                let bytes = serde_json::to_vec(value)
                    .expect("records hold maps with string keys and finite numbers only");
                Some(Change::put(edit.key(), expected, bytes))
            }
            None => stored.map(|_| Change::delete(edit.key(), expected)),
        })
    }

    pub(super) fn apply(&mut self, edit: Edit<T>, generation: Generation) {
        match edit.after {
            Some(value) => {
                self.0.insert(edit.id, Kept { generation, value: *value });
            }
            None => {
                self.0.remove(&edit.id);
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
        pub(super) enum Write { $($variant(Edit<$kind>)),+ }

        impl Write {
            fn is_of_same_record(&self, other: &Self) -> bool {
                match (self, other) {
                    $((Self::$variant(a), Self::$variant(b)) => a.id == b.id,)+
                    _ => false,
                }
            }
        }

        $(
            impl Record for $kind {
                type Id = $id;
                const PREFIX: &'static str = $prefix;
                fn id(&self) -> $id {
                    let id_of: fn(&$kind) -> $id = $id_of;
                    id_of(self)
                }
            }

            impl From<Edit<$kind>> for Write {
                fn from(edit: Edit<$kind>) -> Self {
                    Self::$variant(edit)
                }
            }
        )+

        /// Every kind's prefix.
        #[cfg(test)]
        pub(super) const PREFIXES: &[&str] = &[$($prefix),+];
    };
}

macro_rules! whole {
    ($($kind:ty),+ $(,)?) => { $(impl Whole for $kind {})+ };
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

whole! {
    DefinitionRecord, FiringRecord, BalanceRecord, PowerPolicyRecord, PowerTurnRecord, LimitsRecord,
    ReserveRecord, AgentRecord,
}

impl Txn {
    /// No change.
    pub fn none() -> Self {
        Self::default()
    }

    /// Stores what has become of a record: `before` is how it was read, none where it is new.
    ///
    /// When the record is no longer like that, nothing of the transaction is stored
    /// ([`RecordError::Stale`]): what somebody else wrote meanwhile does not get lost.
    #[expect(private_bounds, reason = "the kinds are listed above and nowhere else")]
    pub fn change<'r, R: Record + 'r>(&mut self, before: impl Into<Option<&'r R>>, after: R)
    where
        Write: From<Edit<R>>,
    {
        let was = |before: &R| Basis::Was(Box::new(before.clone()));
        self.write(Edit::put(before.into().map_or(Basis::Absent, was), after));
    }

    /// Stores a record that is new.
    #[expect(private_bounds, reason = "the kinds are listed above and nowhere else")]
    pub fn add<R: Record>(&mut self, record: R)
    where
        Write: From<Edit<R>>,
    {
        self.write(Edit::put(Basis::Absent, record));
    }

    /// Stores a record in the place of whatever was there.
    #[expect(private_bounds, reason = "the kinds are listed above and nowhere else")]
    pub fn replace<R: Whole>(&mut self, record: R)
    where
        Write: From<Edit<R>>,
    {
        self.write(Edit::put(Basis::Any, record));
    }

    /// Stores a record of any kind in the place of whatever was there: for tests, which make
    /// the past up. `xtask tidy` keeps it out of the program.
    #[expect(private_bounds, reason = "the kinds are listed above and nowhere else")]
    pub fn put<R: Record>(&mut self, record: R)
    where
        Write: From<Edit<R>>,
    {
        self.write(Edit::put(Basis::Any, record));
    }

    pub(super) fn delete<R: Record>(&mut self, id: R::Id)
    where
        Write: From<Edit<R>>,
    {
        self.write(Edit::delete(id));
    }

    /// Of two writes of one record the last counts.
    fn write(&mut self, write: impl Into<Write>) {
        let write = write.into();
        self.writes.retain(|other| !other.is_of_same_record(&write));
        self.writes.push(write);
    }

    /// Deletes a host and the certificate that its agent may show.
    pub fn delete_host(&mut self, id: HostId) {
        self.delete::<HostRecord>(id);
        self.delete::<AgentRecord>(id);
    }

    /// Deletes a rule.
    pub fn delete_rule(&mut self, id: RuleId) {
        self.delete::<Rule>(id);
    }

    /// Deletes what a rule says of its hosts, if it says anything.
    pub fn delete_firing_if(&mut self, tables: &Tables, id: RuleId) {
        if tables.firings.get(id).is_some() {
            self.delete::<FiringRecord>(id);
        }
    }

    /// Deletes a placement rule.
    pub fn delete_placement(&mut self, id: RuleId) {
        self.delete::<PlacementRecord>(id);
    }

    /// Deletes the labels of a host, if it has any.
    pub fn delete_labels_if(&mut self, tables: &Tables, host: HostId) {
        if tables.labels.get(host).is_some() {
            self.delete::<LabelsRecord>(host);
        }
    }

    /// Ends the maintenance of a host, if it is in any.
    pub fn delete_maintenance_if(&mut self, tables: &Tables, host: HostId) {
        if tables.maintenance.get(host).is_some() {
            self.delete::<MaintenanceRecord>(host);
        }
    }

    /// Forgets what was said of how a guest may be moved, if anything was.
    pub fn delete_guest_policy_if(&mut self, tables: &Tables, guest: GuestId) {
        if tables.guest_policies.get(guest).is_some() {
            self.delete::<GuestPolicyRecord>(guest);
        }
    }

    /// Forgets where a guest was not let go, if anything is known.
    pub fn delete_refusal_if(&mut self, tables: &Tables, guest: GuestId) {
        if tables.refusals.get(guest).is_some() {
            self.delete::<RefusalRecord>(guest);
        }
    }

    /// Forgets what is known of a host's draw, if anything is.
    pub fn delete_watts_if(&mut self, tables: &Tables, host: HostId) {
        if tables.power_lines.get(host).is_some() {
            self.delete::<PowerLineRecord>(host);
        }
        if tables.parked.get(host).is_some() {
            self.delete::<ParkedRecord>(host);
        }
    }

    /// Ends a power cap.
    pub fn delete_power_cap(&mut self, id: RuleId) {
        self.delete::<PowerCapRecord>(id);
    }

    /// Forgets how a host is switched on and off, secrets included, if anything is known.
    pub fn delete_power_if(&mut self, tables: &Tables, host: HostId) {
        if tables.power.get(host).is_some() {
            self.delete::<PowerRecord>(host);
        }
        self.delete_secrets_if(tables, host);
    }

    /// Forgets the secrets of a host, if it has any.
    pub fn delete_secrets_if(&mut self, tables: &Tables, host: HostId) {
        if tables.host_secrets.get(host).is_some() {
            self.delete::<HostSecretRecord>(host);
        }
    }

    /// Ends the balance policy.
    pub fn delete_balance(&mut self) {
        self.delete::<BalanceRecord>(PolicyName::Balance);
    }

    /// Ends the power policy, if there is one, and forgets what it decided.
    pub fn delete_power_policy_if(&mut self, tables: &Tables) {
        let power = PolicyName::Power;
        if tables.power_policy.get(power).is_some() {
            self.delete::<PowerPolicyRecord>(power);
        }
        if tables.power_turn.get(power).is_some() {
            self.delete::<PowerTurnRecord>(power);
        }
    }

    /// Deletes an API token.
    pub fn delete_token(&mut self, id: TokenId) {
        self.delete::<TokenRecord>(id);
    }

    /// Deletes a join token.
    pub fn delete_join(&mut self, id: TokenId) {
        self.delete::<JoinRecord>(id);
    }

    /// Deletes a finished operation.
    pub fn delete_operation(&mut self, id: OperationId) {
        self.delete::<OperationRecord>(id);
    }

    /// Deletes a finished plan.
    pub fn delete_plan(&mut self, id: PlanId) {
        self.delete::<PlanRecord>(id);
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
