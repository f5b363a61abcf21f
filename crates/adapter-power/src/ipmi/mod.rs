//! IPMI 2.0 over LAN (RMCP+), and of the machine's own BMC by the kernel's driver.
//!
//! A session asks for privilege operator: enough to switch and to measure, so the BMC's
//! user need not be an administrator. Some BMCs give a DCMI reading to administrators
//! only; they are asked for it once more as one.

mod answer;
mod own;
mod tool;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drover_model::{PowerReading, PowerSource, PowerState};
use drover_ports::{Bmc, PowerError};
use tokio::time::Instant;

use crate::ipmi::answer::Failure;
use crate::ipmi::tool::{Privilege, Tool};
use crate::meter;

pub use own::OwnIpmi;

/// Cipher suites that are tried where the operator chose none, the better one first:
/// 17 is HMAC-SHA256, 3 is HMAC-SHA1; both encrypt with AES-128.
const SUITES: [u8; 2] = [17, 3];
/// All of a call ends within so long: a little before the port's own limit, so that the
/// error says what was waited for.
const CALL_LIMIT: Duration = Duration::from_secs(18);
/// IPMI 2.0 keeps 20 bytes of a password.
const MAX_PASSWORD_BYTES: usize = 20;

/// What measures a machine, in the order in which it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meter {
    /// DCMI's `Get Power Reading`.
    Dcmi(Privilege),
    /// A sensor in watts.
    Sensor,
}

impl Meter {
    const fn privilege(self) -> Privilege {
        match self {
            Self::Dcmi(privilege) => privilege,
            Self::Sensor => Privilege::Operator,
        }
    }

    /// What `ipmitool` is asked.
    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Dcmi(_) => &["dcmi", "power", "reading"],
            Self::Sensor => &["-c", "sdr", "list", "full"],
        }
    }

    /// The machine's watts by what it printed.
    fn watts(self, said: &str) -> Result<f64, Failure> {
        match self {
            Self::Dcmi(_) => answer::dcmi_watts(said).filter(|watts| meter::plausible(*watts)),
            Self::Sensor => meter::machine_watts(&answer::sensors_in_watts(said)),
        }
        .ok_or_else(|| Failure::Refused("it measures no power".to_owned()))
    }
}

/// Of a machine that is not measured in any way.
const MEASURES_NOTHING: &str =
    "it gives no DCMI power reading and has no sensor of the machine's watts";

const METERS: [Meter; 3] =
    [Meter::Dcmi(Privilege::Operator), Meter::Dcmi(Privilege::Administrator), Meter::Sensor];

/// What was learned of a BMC: it saves a refused session or a slow question each time.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    suite: Option<u8>,
    meter: Option<Meter>,
}

#[derive(Debug)]
pub(crate) struct Ipmi {
    tool: Tool,
    known: Mutex<BTreeMap<(String, u16), Known>>,
}

impl Ipmi {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { tool: Tool { program }, known: Mutex::default() }
    }

    pub(crate) async fn state(&self, bmc: &Bmc) -> Result<PowerState, PowerError> {
        let deadline = begin(bmc)?;
        self.state_by(bmc, deadline).await
    }

    pub(crate) async fn switch(&self, bmc: &Bmc, to: PowerState) -> Result<(), PowerError> {
        let deadline = begin(bmc)?;
        let word = match to {
            PowerState::On => "on",
            PowerState::Off => "off",
        };
        let words = ["chassis", "power", word];
        match self.call(bmc, Privilege::Operator, &words, deadline).await {
            Ok(_) => Ok(()),
            // Some BMCs refuse what is so already, and all that comes while they switch.
            Err(Failure::NotNow(said)) => match self.state_by(bmc, deadline).await? {
                state if state == to => Ok(()),
                _ => Err(PowerError::Retry(said)),
            },
            Err(failure) => Err(failure.into()),
        }
    }

    pub(crate) async fn reading(&self, bmc: &Bmc) -> Result<PowerReading, PowerError> {
        let deadline = begin(bmc)?;
        let found = |watts| PowerReading { watts, source: PowerSource::Ipmi, over_s: None };
        if let Some(meter) = self.known(bmc).meter {
            match self.measure(bmc, meter, deadline).await {
                Ok(watts) => return Ok(found(watts)),
                Err(failure) if !failure.is_lasting() => return Err(failure.into()),
                Err(_) => self.learn(bmc, |known| known.meter = None),
            }
        }
        let mut last = None;
        for meter in METERS {
            match self.measure(bmc, meter, deadline).await {
                Ok(watts) => {
                    self.learn(bmc, |known| known.meter = Some(meter));
                    return Ok(found(watts));
                }
                Err(failure) if failure.is_lasting() => last = Some(failure),
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(match last {
            Some(Failure::Privilege(said)) => PowerError::Denied(said),
            _ => PowerError::Refused(MEASURES_NOTHING.to_owned()),
        })
    }

    async fn state_by(&self, bmc: &Bmc, deadline: Instant) -> Result<PowerState, PowerError> {
        let words = ["chassis", "power", "status"];
        let said = self.call(bmc, Privilege::Operator, &words, deadline).await?;
        answer::state(&said)
    }

    async fn measure(&self, bmc: &Bmc, meter: Meter, deadline: Instant) -> Result<f64, Failure> {
        meter.watts(&self.call(bmc, meter.privilege(), meter.words(), deadline).await?)
    }

    /// One command by the first cipher suite that the BMC takes; what it printed.
    ///
    /// Only the BMC's own word leads to a weaker suite, never silence.
    async fn call(
        &self,
        bmc: &Bmc,
        privilege: Privilege,
        words: &[&str],
        deadline: Instant,
    ) -> Result<String, Failure> {
        let known = self.known(bmc).suite;
        let mut suites: Vec<u8> = known.into_iter().chain(SUITES).collect();
        if let Some(chosen) = bmc.address.cipher_suite {
            suites = vec![chosen];
        }
        for suite in suites {
            let called = self.tool.run(bmc, suite, privilege, words, deadline).await;
            match &called {
                Err(Failure::Suite) => continue,
                Err(Failure::Is(_)) => {}
                Ok(_) | Err(_) => self.learn(bmc, |known| known.suite = Some(suite)),
            }
            return called;
        }
        self.learn(bmc, |known| known.suite = None);
        let chosen = bmc.address.cipher_suite.map(|suite| suite.to_string());
        let tried = chosen.unwrap_or_else(|| "17 and 3".to_owned());
        Err(Failure::Refused(format!("cipher suite {tried}: allow one of them in the BMC")))
    }

    fn known(&self, bmc: &Bmc) -> Known {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&key(bmc)).copied().unwrap_or_default()
    }

    fn learn(&self, bmc: &Bmc, what: impl FnOnce(&mut Known)) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        what(all.entry(key(bmc)).or_default());
    }
}

fn key(bmc: &Bmc) -> (String, u16) {
    (bmc.address.host.clone(), bmc.address.port)
}

/// Checks what `ipmitool` would refuse in other words, and sets the end of the call.
fn begin(bmc: &Bmc) -> Result<Instant, PowerError> {
    let password = bmc.password.reveal();
    if password.len() > MAX_PASSWORD_BYTES || password.contains('\0') {
        return Err(PowerError::Denied(format!(
            "an IPMI password has at most {MAX_PASSWORD_BYTES} bytes, and none of them is zero"
        )));
    }
    Ok(Instant::now() + CALL_LIMIT)
}
