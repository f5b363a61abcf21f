//! The hosts' BMCs: their passwords are opened here and nowhere else, and each BMC is asked one
//! thing at a time: many lock up, or answer busy, when two ask at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use drover_model::{HostId, PowerReading, PowerState};
use drover_ports::{Bmc, Power, PowerError};

use super::vault::{SecretKind, Vault};
use crate::records::{Records, Tables};

type Turn = Arc<tokio::sync::Mutex<()>>;

/// See the module.
pub struct Bmcs {
    power: Arc<dyn Power>,
    vault: Vault,
    turns: Mutex<BTreeMap<HostId, Turn>>,
}

impl std::fmt::Debug for Bmcs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bmcs").field("vault", &self.vault).finish_non_exhaustive()
    }
}

impl Bmcs {
    /// BMCs that are reached by `power`; their passwords are in `vault`.
    pub fn new(power: Arc<dyn Power>, vault: Vault) -> Self {
        Self { power, vault, turns: Mutex::default() }
    }

    /// Where passwords are sealed.
    pub const fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether a host is on, by its BMC's word.
    pub async fn state(&self, records: &Records, host: HostId) -> Result<PowerState, PowerError> {
        let bmc = self.bmc(&records.read(), host)?;
        let turn = self.turn(host);
        let _turn = turn.lock().await;
        self.power.state(&bmc).await
    }

    /// Switches a host on.
    pub async fn switch_on(&self, records: &Records, host: HostId) -> Result<(), PowerError> {
        let bmc = self.bmc(&records.read(), host)?;
        let turn = self.turn(host);
        let _turn = turn.lock().await;
        self.power.switch_on(&bmc).await
    }

    /// What a host draws.
    pub async fn reading(
        &self,
        records: &Records,
        host: HostId,
    ) -> Result<PowerReading, PowerError> {
        let bmc = self.bmc(&records.read(), host)?;
        let turn = self.turn(host);
        let _turn = turn.lock().await;
        self.power.reading(&bmc).await
    }

    fn bmc(&self, tables: &Tables, host: HostId) -> Result<Bmc, PowerError> {
        let settings = tables.power.get(host).map(|record| &record.settings);
        let Some(address) = settings.and_then(|settings| settings.bmc.clone()) else {
            return Err(PowerError::Refused("no BMC is set for this host".to_owned()));
        };
        let secrets = tables.host_secrets.get(host);
        let Some(sealed) = secrets.and_then(|secrets| secrets.bmc_password.as_ref()) else {
            return Err(PowerError::Denied("no password is set for it".to_owned()));
        };
        let password = self.vault.open(SecretKind::BmcPassword, host, sealed);
        let password = password.map_err(|error| PowerError::Broken(error.to_string()))?;
        Ok(Bmc { address, password })
    }

    fn turn(&self, host: HostId) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(host).or_default())
    }
}
