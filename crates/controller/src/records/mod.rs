//! Typed records over the store port: what droverd knows durably, in one place.
//!
//! All records are read at start and kept in memory; every change goes to the store first
//! (compare-and-swap on each record's generation) and then to memory. Readers never wait
//! for the disk. Changes are made one at a time by [`Records::update`], so a decision is
//! always made on what is stored. A write says what it was decided on ([`Txn::change`]): a
//! copy that was read before is refused once somebody else has changed the record.

mod kinds;
mod maintenance;
mod power;
mod refusal;
mod saving;
mod table;
#[cfg(test)]
mod tests;
mod watts;

use std::sync::{Arc, RwLock, RwLockReadGuard};

use drover_model::{GuestId, HostId, Name};
use drover_ports::{Change, Store, StoreError};

pub use kinds::{
    AgentRecord, BalanceRecord, BaselineRecord, Cause, DefinitionRecord, FiringRecord,
    GuestPolicyRecord, GuestRecord, HostRecord, JoinRecord, LabelsRecord, Measure, OperationRecord,
    PlacementRecord, PlanRecord, PlanState, PolicyName, TokenRecord,
};
pub use maintenance::{Hanging, LimitsName, LimitsRecord, MaintenancePhase, MaintenanceRecord};
pub use power::{
    Belongings, HostSecretRecord, PowerOutcome, PowerPhase, PowerRecord, PowerSettings,
    ReserveName, ReserveRecord, Sealed, WattsFrom,
};
pub use refusal::{RefusalRecord, Refused};
pub use saving::{PowerPolicyRecord, PowerTurnRecord};
pub use table::{Kept, Record, Table, Txn, Whole};
pub use watts::{CappedHosts, ParkedRecord, PowerCapRecord, PowerLineRecord};

use table::Write;

/// Everything that is kept, by kind.
#[derive(Debug, Default)]
pub struct Tables {
    /// Hosts.
    pub hosts: Table<HostRecord>,
    /// Guests.
    pub guests: Table<GuestRecord>,
    /// Owners of guests.
    pub owners: Table<drover_model::OwnerRecord>,
    /// Domain XML of guests.
    pub definitions: Table<DefinitionRecord>,
    /// Rules.
    pub rules: Table<drover_rules::Rule>,
    /// What each rule says of each host.
    pub firings: Table<FiringRecord>,
    /// Wishes about where guests run.
    pub placement: Table<PlacementRecord>,
    /// How single guests may be moved.
    pub guest_policies: Table<GuestPolicyRecord>,
    /// Labels of hosts that have any.
    pub labels: Table<LabelsRecord>,
    /// The balance policy, if there is one.
    pub balance: Table<BalanceRecord>,
    /// The power policy, if there is one.
    pub power_policy: Table<PowerPolicyRecord>,
    /// What it decided last.
    pub power_turn: Table<PowerTurnRecord>,
    /// CPU baselines of groups of hosts.
    pub baselines: Table<BaselineRecord>,
    /// Hosts that are emptied, or are to stay empty.
    pub maintenance: Table<MaintenanceRecord>,
    /// Where guests were not let go of late.
    pub refusals: Table<RefusalRecord>,
    /// What hosts draw by their CPU use, where it has been learned.
    pub power_lines: Table<PowerLineRecord>,
    /// What groups of hosts may draw.
    pub power_caps: Table<PowerCapRecord>,
    /// When hosts were parked.
    pub parked: Table<ParkedRecord>,
    /// How many migrations may be under way at once, where somebody has set it.
    pub limits: Table<LimitsRecord>,
    /// How hosts are switched on and off, of those where anything is known of it.
    pub power: Table<PowerRecord>,
    /// Their secrets, sealed.
    pub host_secrets: Table<HostSecretRecord>,
    /// How much of the cluster must stay awake, where somebody has set it.
    pub reserve: Table<ReserveRecord>,
    /// Operations, finished ones included.
    pub operations: Table<OperationRecord>,
    /// Plans.
    pub plans: Table<PlanRecord>,
    /// API tokens.
    pub tokens: Table<TokenRecord>,
    /// Join tokens that have not been used.
    pub joins: Table<JoinRecord>,
    /// Certificates of agents.
    pub agents: Table<AgentRecord>,
}

impl Tables {
    /// What users call a host; its id when it is not known any more.
    pub fn host_name(&self, id: HostId) -> Name {
        self.hosts.get(id).map_or_else(|| id.to_string(), |record| record.host.name.clone())
    }

    /// What users call a guest; its id when it is not known any more.
    pub fn guest_name(&self, id: GuestId) -> Name {
        self.guests.get(id).map_or_else(|| id.to_string(), |record| record.guest.name.clone())
    }
}

/// A record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The store did not do it.
    #[error("the change is not stored")]
    Store(#[from] StoreError),
    /// A record is no longer as the writer read it: decide again.
    #[error("`{key}` was changed meanwhile")]
    Stale {
        /// Its key.
        key: String,
    },
    /// A stored value is not what this version writes.
    #[error("the record `{key}` is unreadable: {cause}")]
    Unreadable {
        /// Its key.
        key: String,
        /// What the decoder said.
        cause: String,
    },
}

impl RecordError {
    /// Whether somebody else changed what the write was decided on: decide again.
    pub const fn is_overtaken(&self) -> bool {
        matches!(self, Self::Stale { .. } | Self::Store(StoreError::Conflict { .. }))
    }
}

/// The records of one controller.
pub struct Records {
    store: Arc<dyn Store>,
    tables: RwLock<Tables>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

impl Records {
    /// Reads everything from `store`.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, RecordError> {
        let tables = RwLock::new(Tables::load(store.as_ref()).await?);
        Ok(Self { store, tables, one_at_a_time: tokio::sync::Mutex::new(()) })
    }

    /// What is known now. Do not hold it across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The store beneath, for what is not a record: events.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Decides on the present tables and stores what was decided, all or nothing.
    ///
    /// When someone else changed the store meanwhile, memory is read anew and the error
    /// tells the caller to decide again.
    pub async fn update<T>(
        &self,
        decide: impl FnOnce(&Tables) -> (Txn, T),
    ) -> Result<T, RecordError> {
        let _turn = self.one_at_a_time.lock().await;
        let (txn, answer) = decide(&self.read());
        if txn.is_empty() {
            return Ok(answer);
        }
        let changes = txn.changes(&self.read())?;
        if changes.is_empty() {
            return Ok(answer);
        }
        match self.store.commit(changes).await {
            Ok(generation) => {
                let mut tables =
                    self.tables.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                txn.apply(&mut tables, generation);
                Ok(answer)
            }
            Err(conflict @ StoreError::Conflict { .. }) => {
                let fresh = Tables::load(self.store.as_ref()).await?;
                *self.tables.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
                Err(conflict.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

macro_rules! tables {
    ($($variant:ident => $field:ident: $kind:ty),+ $(,)?) => {
        impl Tables {
            async fn load(store: &dyn Store) -> Result<Self, RecordError> {
                Ok(Self { $($field: table::load::<$kind>(store).await?),+ })
            }
        }

        impl Txn {
            fn changes(&self, tables: &Tables) -> Result<Vec<Change>, RecordError> {
                let changes = self.writes.iter().map(|write| match write {
                    $(Write::$variant(edit) => tables.$field.change(edit),)+
                });
                changes.filter_map(Result::transpose).collect()
            }

            fn apply(self, tables: &mut Tables, generation: drover_ports::Generation) {
                for write in self.writes {
                    match write {
                        $(Write::$variant(edit) => tables.$field.apply(edit, generation),)+
                    }
                }
            }
        }
    };
}

tables! {
    Host => hosts: HostRecord,
    Guest => guests: GuestRecord,
    Owner => owners: drover_model::OwnerRecord,
    Definition => definitions: DefinitionRecord,
    Rule => rules: drover_rules::Rule,
    Firing => firings: FiringRecord,
    Placement => placement: PlacementRecord,
    GuestPolicy => guest_policies: GuestPolicyRecord,
    Labels => labels: LabelsRecord,
    Balance => balance: BalanceRecord,
    PowerPolicy => power_policy: PowerPolicyRecord,
    PowerTurn => power_turn: PowerTurnRecord,
    Baseline => baselines: BaselineRecord,
    Maintenance => maintenance: MaintenanceRecord,
    Refusal => refusals: RefusalRecord,
    Limits => limits: LimitsRecord,
    PowerLine => power_lines: PowerLineRecord,
    Parked => parked: ParkedRecord,
    PowerCap => power_caps: PowerCapRecord,
    Power => power: PowerRecord,
    HostSecret => host_secrets: HostSecretRecord,
    Reserve => reserve: ReserveRecord,
    Operation => operations: OperationRecord,
    Plan => plans: PlanRecord,
    Token => tokens: TokenRecord,
    Join => joins: JoinRecord,
    Agent => agents: AgentRecord,
}
