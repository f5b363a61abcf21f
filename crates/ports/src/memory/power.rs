//! Machines in memory, switched by their BMCs' addresses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{BmcAddress, BmcProtocol, BmcTls, PowerReading, PowerSource, PowerState};

use crate::{Bmc, OwnBmc, POWER_TIMEOUT_S, Power, PowerError, Secret};

/// What is wrong with a BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BmcFault {
    /// Nothing.
    #[default]
    None,
    /// Nobody answers.
    Unreachable,
    /// It denies every login.
    Denies,
    /// It takes orders to switch, and its machine stays as it is.
    IgnoresSwitches,
}

/// Machines by their BMC's host and port. Clones are the same machines.
#[derive(Debug, Clone, Default)]
pub struct MemoryPower(Arc<Mutex<BTreeMap<(String, u16), Machine>>>);

#[derive(Debug)]
struct Machine {
    user: String,
    password: Secret,
    /// As whoever added it trusts it; no other trust finds it.
    tls: BmcTls,
    state: PowerState,
    /// None: it does not measure.
    watts: Option<f64>,
    fault: BmcFault,
    answers_after: Duration,
    orders: Vec<PowerState>,
    denials: usize,
}

impl MemoryPower {
    /// Puts a machine behind this BMC. Without watts it does not measure.
    pub fn add(&self, bmc: &Bmc, state: PowerState, watts: Option<f64>) {
        let machine = Machine {
            user: bmc.address.user.clone(),
            password: bmc.password.clone(),
            tls: bmc.address.tls.clone(),
            state,
            watts,
            fault: BmcFault::None,
            answers_after: Duration::ZERO,
            orders: Vec::new(),
            denials: 0,
        };
        self.machines().insert(key(&bmc.address), machine);
    }

    /// Breaks its BMC, or repairs it.
    pub fn set_fault(&self, address: &BmcAddress, fault: BmcFault) {
        self.change(address, |machine| machine.fault = fault);
    }

    /// Its BMC answers after so long.
    pub fn set_delay(&self, address: &BmcAddress, delay: Duration) {
        self.change(address, |machine| machine.answers_after = delay);
    }

    /// What it draws while it is on; none: it does not measure.
    pub fn set_watts(&self, address: &BmcAddress, watts: Option<f64>) {
        self.change(address, |machine| machine.watts = watts);
    }

    /// Switches the machine by another hand: its own button, a magic packet, its system.
    pub fn set_state(&self, address: &BmcAddress, state: PowerState) {
        self.change(address, |machine| machine.state = state);
    }

    /// Whether the machine is on, whatever its BMC says; none where there is no machine.
    pub fn is(&self, address: &BmcAddress) -> Option<PowerState> {
        self.machines().get(&key(address)).map(|machine| machine.state)
    }

    /// Every order to switch that its BMC has taken, also those that changed nothing.
    pub fn orders(&self, address: &BmcAddress) -> Vec<PowerState> {
        self.machines().get(&key(address)).map(|m| m.orders.clone()).unwrap_or_default()
    }

    /// Logins that its BMC has denied: one that counts them locks the account.
    pub fn denials(&self, address: &BmcAddress) -> usize {
        self.machines().get(&key(address)).map_or(0, |machine| machine.denials)
    }

    fn machines(&self) -> MutexGuard<'_, BTreeMap<(String, u16), Machine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, address: &BmcAddress, what: impl FnOnce(&mut Machine)) {
        if let Some(machine) = self.machines().get_mut(&key(address)) {
            what(machine);
        }
    }

    /// Waits as long as the BMC takes, logs in, and does it.
    async fn call<T>(
        &self,
        bmc: &Bmc,
        what: impl FnOnce(&mut Machine) -> Result<T, PowerError>,
    ) -> Result<T, PowerError> {
        let shown = format!("{}:{}", bmc.address.host, bmc.address.port);
        let limit = Duration::from_secs(POWER_TIMEOUT_S);
        let delay = self.machines().get(&key(&bmc.address)).map(|m| m.answers_after);
        let delay = delay.unwrap_or_default();
        tokio::time::sleep(delay.min(limit)).await;
        let mut machines = self.machines();
        let machine = machines.get_mut(&key(&bmc.address));
        let Some(machine) = machine.filter(|m| m.fault != BmcFault::Unreachable && delay < limit)
        else {
            return Err(PowerError::Retry(format!("{shown} is silent")));
        };
        if bmc.address.protocol == BmcProtocol::Redfish && machine.tls != bmc.address.tls {
            return Err(PowerError::Untrusted(format!("{shown} has another certificate")));
        }
        let knows = machine.user == bmc.address.user && machine.password == bmc.password;
        if !knows || machine.fault == BmcFault::Denies {
            machine.denials += 1;
            return Err(PowerError::Denied(format!("{shown}: wrong user or password")));
        }
        what(machine)
    }

    async fn switch(&self, bmc: &Bmc, to: PowerState) -> Result<(), PowerError> {
        self.call(bmc, |machine| {
            machine.orders.push(to);
            if machine.fault != BmcFault::IgnoresSwitches {
                machine.state = to;
            }
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Power for MemoryPower {
    async fn state(&self, bmc: &Bmc) -> Result<PowerState, PowerError> {
        self.call(bmc, |machine| Ok(machine.state)).await
    }

    async fn switch_on(&self, bmc: &Bmc) -> Result<(), PowerError> {
        self.switch(bmc, PowerState::On).await
    }

    async fn switch_off(&self, bmc: &Bmc) -> Result<(), PowerError> {
        self.switch(bmc, PowerState::Off).await
    }

    async fn reading(&self, bmc: &Bmc) -> Result<PowerReading, PowerError> {
        self.call(bmc, |machine| {
            let watts = machine
                .watts
                .ok_or_else(|| PowerError::Refused("it does not measure power".to_owned()))?;
            let watts = if machine.state == PowerState::On { watts } else { STANDBY_W };
            Ok(PowerReading { watts, source: PowerSource::Ipmi, over_s: None })
        })
        .await
    }
}

/// The BMC of the machine in memory: none, until it is told what to answer. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct MemoryOwnBmc(Arc<Mutex<Option<Result<f64, PowerError>>>>);

impl MemoryOwnBmc {
    /// It is there, and answers this from now on: watts, or an error.
    pub fn tell(&self, answer: Result<f64, PowerError>) {
        *self.answer() = Some(answer);
    }

    fn answer(&self) -> MutexGuard<'_, Option<Result<f64, PowerError>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl OwnBmc for MemoryOwnBmc {
    fn is_there(&self) -> bool {
        self.answer().is_some()
    }

    async fn reading(&self) -> Result<PowerReading, PowerError> {
        let none = || PowerError::Refused("this machine has no BMC".to_owned());
        let watts = self.answer().clone().ok_or_else(none)??;
        Ok(PowerReading { watts, source: PowerSource::Ipmi, over_s: None })
    }
}

/// What a machine draws that is off: its BMC and the power supply's standby rail.
const STANDBY_W: f64 = 5.0;

fn key(address: &BmcAddress) -> (String, u16) {
    (address.host.clone(), address.port)
}
