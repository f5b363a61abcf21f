//! The BMC of the machine that this runs on, by the kernel's driver (`ipmi_si`, `ipmi_devintf`):
//! no network, no password.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{PowerReading, PowerSource};
use drover_ports::{OwnBmc, PowerError};
use tokio::time::Instant;

use super::answer::Failure;
use super::tool::{Privilege, Tool};
use super::{MEASURES_NOTHING, Meter};

/// Where `ipmitool` looks for the first BMC of a machine.
const DEVICES: [&str; 3] = ["/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0"];
/// All of a call ends within so long. Through the driver each sensor takes a tenth of a second,
/// and a server may have a hundred.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// What measures, in the order in which it is tried: whoever opens the device may do anything.
const METERS: [Meter; 2] = [Meter::Dcmi(Privilege::Administrator), Meter::Sensor];

/// See the module.
#[derive(Debug)]
pub struct OwnIpmi {
    tool: Tool,
    devices: Vec<PathBuf>,
    meter: Mutex<Option<Meter>>,
}

impl Default for OwnIpmi {
    fn default() -> Self {
        Self::with(PathBuf::from("ipmitool"), DEVICES.map(PathBuf::from).to_vec())
    }
}

impl OwnIpmi {
    /// With this `ipmitool`, where one of these devices is there.
    pub const fn with(program: PathBuf, devices: Vec<PathBuf>) -> Self {
        Self { tool: Tool { program }, devices, meter: Mutex::new(None) }
    }

    async fn measure(&self, meter: Meter, deadline: Instant) -> Result<f64, Failure> {
        meter.watts(&self.tool.run_here(meter.words(), deadline).await?)
    }

    fn known(&self) -> Option<Meter> {
        *self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, meter: Option<Meter>) {
        *self.meter.lock().unwrap_or_else(PoisonError::into_inner) = meter;
    }
}

#[async_trait]
impl OwnBmc for OwnIpmi {
    fn is_there(&self) -> bool {
        self.devices.iter().any(|device| device.exists())
    }

    async fn reading(&self) -> Result<PowerReading, PowerError> {
        if !self.is_there() {
            let why = "this machine has none, or the modules ipmi_si and ipmi_devintf are missing";
            return Err(PowerError::Refused(why.to_owned()));
        }
        let deadline = Instant::now() + CALL_LIMIT;
        let known = self.known();
        for meter in known.into_iter().chain(METERS) {
            match self.measure(meter, deadline).await {
                Ok(watts) => {
                    self.learn(Some(meter));
                    return Ok(PowerReading { watts, source: PowerSource::Ipmi, over_s: None });
                }
                Err(failure) if failure.is_lasting() => self.learn(None),
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(PowerError::Refused(MEASURES_NOTHING.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    /// A machine whose `ipmitool` is this script.
    fn machine(dir: &Path, script: &str) -> OwnIpmi {
        let program = dir.join("ipmitool");
        std::fs::write(
            &program,
            format!("#!/bin/sh\necho \"$*\" >> {}/asked\n{script}", dir.display()),
        )
        .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let device = dir.join("ipmi0");
        std::fs::write(&device, "").unwrap();
        OwnIpmi::with(program, vec![dir.join("none"), device])
    }

    fn asked(dir: &Path) -> usize {
        std::fs::read_to_string(dir.join("asked")).map_or(0, |text| text.lines().count())
    }

    const DCMI: &str = "echo '    Instantaneous power reading:                   137 Watts'\n";
    /// A BMC without DCMI and with a sensor, as `ipmitool` 1.8.19 says it.
    const SENSOR: &str = "case \"$*\" in\n*dcmi*) echo 'DCMI request failed because: Invalid command (c1)' >&2; exit 1;;\n\
                          *) echo 'Pwr Consumption,138,Watts,ok,7.1,System Board';;\nesac\n";

    #[tokio::test]
    async fn dcmi_is_asked_first_and_a_sensor_where_there_is_none() {
        for (script, watts, questions) in [(DCMI, 137.0, 2), (SENSOR, 138.0, 3)] {
            let dir = tempfile::tempdir().unwrap();
            let machine = machine(dir.path(), script);
            for _ in 0..2 {
                let reading = machine.reading().await.unwrap();
                assert_eq!((reading.watts, reading.source), (watts, PowerSource::Ipmi));
            }
            // What was learned saves the second refusal.
            assert_eq!(asked(dir.path()), questions);
        }
    }

    #[tokio::test]
    async fn a_machine_without_a_bmc_is_asked_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let machine = machine(dir.path(), DCMI);
        std::fs::remove_file(dir.path().join("ipmi0")).unwrap();
        assert!(!machine.is_there());
        assert!(matches!(machine.reading().await, Err(PowerError::Refused(_))));
        assert_eq!(asked(dir.path()), 0);
    }

    #[tokio::test]
    async fn a_bmc_that_measures_nothing_and_a_tool_that_is_missing_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mute = machine(
            dir.path(),
            "echo 'DCMI request failed because: Invalid command (c1)' >&2\nexit 1\n",
        );
        assert_eq!(mute.reading().await, Err(PowerError::Refused(MEASURES_NOTHING.to_owned())));
        let without = OwnIpmi::with(dir.path().join("nothing"), vec![dir.path().join("ipmi0")]);
        let why = without.reading().await.unwrap_err().to_string();
        assert!(why.contains("not installed (package ipmitool)"), "{why}");
    }
}
