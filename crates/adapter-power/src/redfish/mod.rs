//! Redfish (DMTF DSP0266): ComputerSystem.Reset, PowerState and watts.

mod reset;
mod service;
mod tls;
mod watts;

use drover_model::{PowerReading, PowerSource, PowerState};
use drover_ports::{Bmc, PowerError};
use serde_json::Value;

use crate::redfish::service::{Service, link, members};
use crate::redfish::tls::Clients;

/// Systems that are shown where one has to be named.
const MAX_SHOWN: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Redfish {
    clients: Clients,
}

impl Redfish {
    pub(crate) async fn state(&self, bmc: &Bmc) -> Result<PowerState, PowerError> {
        let service = Service::open(&self.clients, bmc).await?;
        let found = async { state_of(&system(&service).await?) }.await;
        service.close().await;
        found
    }

    pub(crate) async fn switch(&self, bmc: &Bmc, to: PowerState) -> Result<(), PowerError> {
        let service = Service::open(&self.clients, bmc).await?;
        let done = async {
            let system = system(&service).await?;
            // A reset of a machine that is so already is an error with some services.
            if state_of(&system) == Ok(to) {
                return Ok(());
            }
            match reset::reset(&service, &system, to).await {
                Err(PowerError::Refused(_)) if is_by_now(&service, to).await => Ok(()),
                done => done,
            }
        }
        .await;
        service.close().await;
        done
    }

    pub(crate) async fn reading(&self, bmc: &Bmc) -> Result<PowerReading, PowerError> {
        let service = Service::open(&self.clients, bmc).await?;
        let found = async { watts::watts(&service, &system(&service).await?).await }.await;
        service.close().await;
        found.map(|watts| PowerReading { watts, source: PowerSource::Redfish, over_s: None })
    }
}

async fn is_by_now(service: &Service<'_>, wanted: PowerState) -> bool {
    match system(service).await {
        Ok(system) => state_of(&system) == Ok(wanted),
        Err(_) => false,
    }
}

/// The system that the address names, or the only one.
async fn system(service: &Service<'_>) -> Result<Value, PowerError> {
    let collection = link(service.root(), "Systems")
        .ok_or_else(|| PowerError::Refused("the service has no computer systems".to_owned()))?;
    let listed = service.get(collection).await?;
    let paths = members(&listed);
    let id = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or("").to_owned();
    let shown = || {
        let ids: Vec<String> = paths.iter().take(MAX_SHOWN).map(|path| id(path)).collect();
        format!("it has {} systems: {}", paths.len(), ids.join(", "))
    };
    let Some(wanted) = service.system() else {
        return match paths.as_slice() {
            [only] => service.get(only).await,
            _ => Err(PowerError::Refused(format!("name the system; {}", shown()))),
        };
    };
    let by_path = paths.iter().find(|path| **path == wanted || id(path) == wanted);
    if let Some(path) = by_path {
        return service.get(path).await;
    }
    // Its name may be another than the end of its path.
    for path in paths.iter().take(MAX_SHOWN) {
        let system = service.get(path).await?;
        if ["Id", "Name", "UUID", "SerialNumber"].iter().any(|key| system[*key] == wanted) {
            return Ok(system);
        }
    }
    Err(PowerError::Refused(format!("it has no system `{wanted}`; {}", shown())))
}

/// A machine that is on its way counts as on: something may run there.
fn state_of(system: &Value) -> Result<PowerState, PowerError> {
    match system["PowerState"].as_str() {
        Some("On" | "PoweringOn" | "PoweringOff" | "Paused") => Ok(PowerState::On),
        Some("Off") => Ok(PowerState::Off),
        // Null while the BMC has not found out.
        _ => Err(PowerError::Retry("it does not know whether the machine is on".to_owned())),
    }
}
