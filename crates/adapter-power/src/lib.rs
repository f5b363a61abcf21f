//! The power ports over IPMI 2.0 and Redfish: of machines by their BMCs' networks, and of this one
//! by the kernel's driver ([`OwnIpmi`]).
//!
//! IPMI is spoken by `ipmitool` (docs/decisions/0013), Redfish over HTTP by this crate.
//! Nothing is kept but what was learned of each BMC: its cipher suite and who measures.
//! Passwords go to a BMC only, never into an argument list, a file or a text.

mod ipmi;
mod meter;
mod redfish;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{BmcProtocol, PowerReading, PowerState};
use drover_ports::{Bmc, POWER_TIMEOUT_S, Power, PowerError};

use crate::ipmi::Ipmi;
pub use crate::ipmi::OwnIpmi;
use crate::redfish::Redfish;

/// Speaks to BMCs by the protocol that their address names.
#[derive(Debug)]
pub struct BmcPower {
    ipmi: Ipmi,
    redfish: Redfish,
}

impl Default for BmcPower {
    fn default() -> Self {
        Self::with_ipmitool(PathBuf::from("ipmitool"))
    }
}

impl BmcPower {
    /// With this `ipmitool` instead of the one on the path.
    ///
    /// Redfish services that are proven by the system's authorities need a TLS provider
    /// installed for the process.
    pub fn with_ipmitool(program: PathBuf) -> Self {
        Self { ipmi: Ipmi::new(program), redfish: Redfish::default() }
    }
}

/// Refuses an address that cannot be meant, and ends what takes too long.
async fn within<T>(
    bmc: &Bmc,
    call: impl Future<Output = Result<T, PowerError>>,
) -> Result<T, PowerError> {
    bmc.address.check().map_err(|wrong| PowerError::Refused(wrong.to_string()))?;
    let limit = Duration::from_secs(POWER_TIMEOUT_S);
    let late = |_| PowerError::Retry(format!("not within {POWER_TIMEOUT_S} s"));
    tokio::time::timeout(limit, call).await.map_err(late)?
}

#[async_trait]
impl Power for BmcPower {
    async fn state(&self, bmc: &Bmc) -> Result<PowerState, PowerError> {
        within(bmc, async {
            match bmc.address.protocol {
                BmcProtocol::Ipmi => self.ipmi.state(bmc).await,
                BmcProtocol::Redfish => self.redfish.state(bmc).await,
            }
        })
        .await
    }

    async fn switch_on(&self, bmc: &Bmc) -> Result<(), PowerError> {
        self.switch(bmc, PowerState::On).await
    }

    async fn switch_off(&self, bmc: &Bmc) -> Result<(), PowerError> {
        self.switch(bmc, PowerState::Off).await
    }

    async fn reading(&self, bmc: &Bmc) -> Result<PowerReading, PowerError> {
        within(bmc, async {
            match bmc.address.protocol {
                BmcProtocol::Ipmi => self.ipmi.reading(bmc).await,
                BmcProtocol::Redfish => self.redfish.reading(bmc).await,
            }
        })
        .await
    }
}

impl BmcPower {
    async fn switch(&self, bmc: &Bmc, to: PowerState) -> Result<(), PowerError> {
        within(bmc, async {
            match bmc.address.protocol {
                BmcProtocol::Ipmi => self.ipmi.switch(bmc, to).await,
                BmcProtocol::Redfish => self.redfish.switch(bmc, to).await,
            }
        })
        .await
    }
}
