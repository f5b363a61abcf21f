//! One measurement of power, with who measured it.

use serde::{Deserialize, Serialize};

/// Who says what a host draws. In this order they are asked where nobody chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerSource {
    /// The BMC by Redfish: the machine's input power.
    Redfish,
    /// The BMC by IPMI DCMI `Get Power Reading`: the machine's input power.
    Ipmi,
    /// RAPL's `psys` domain: the platform, without the power supply's loss.
    Psys,
    /// RAPL's packages and memory: no disks, fans, cards or power supply.
    Rapl,
    /// A `power*_input` or `power*_average` of hwmon: what the chip measures.
    Hwmon,
    /// The battery while it discharges: the whole machine.
    Battery,
    /// Nobody measures: estimated from CPU use by a curve.
    Model,
}

impl PowerSource {
    /// Every source, the most trusted first.
    pub const ALL: [Self; 7] = [
        Self::Redfish,
        Self::Ipmi,
        Self::Psys,
        Self::Rapl,
        Self::Hwmon,
        Self::Battery,
        Self::Model,
    ];

    /// The word users see and write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redfish => "redfish",
            Self::Ipmi => "ipmi",
            Self::Psys => "psys",
            Self::Rapl => "rapl",
            Self::Hwmon => "hwmon",
            Self::Battery => "battery",
            Self::Model => "model",
        }
    }

    /// The source with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }

    /// How far its number may be from the machine's input power, in words for operators.
    pub const fn accuracy(self) -> &'static str {
        match self {
            Self::Redfish | Self::Ipmi => "whole machine; sensors of BMCs err by 1 to 5 %",
            Self::Psys => "platform without the power supply's loss (5 to 15 %)",
            Self::Rapl => "CPU packages and memory only; within 5 % of these",
            Self::Hwmon => "what the sensor's chip is wired to; see its label",
            Self::Battery => "whole machine while it runs on battery",
            Self::Model => "an estimate from CPU use, no measurement",
        }
    }

    /// Whether its number stands for the whole machine.
    pub const fn is_whole_machine(self) -> bool {
        matches!(self, Self::Redfish | Self::Ipmi | Self::Psys | Self::Battery | Self::Model)
    }
}

/// One measurement by a BMC.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerReading {
    /// Watts.
    pub watts: f64,
    /// Who measured.
    pub source: PowerSource,
    /// The BMC's own mean over so many seconds; none where it is the present value.
    pub over_s: Option<u32>,
}
