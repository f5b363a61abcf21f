//! Names of what is measured on a host or a guest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a metric's number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricUnit {
    /// 0 to 100.
    Percent,
    /// Bytes.
    Bytes,
    /// Bytes in one second.
    BytesPerSecond,
    /// Processor cores kept busy.
    Cores,
    /// Electric power.
    Watts,
}

macro_rules! metrics {
    ($($(#[$doc:meta])+ $variant:ident = $code:literal, $name:literal, $unit:ident;)+) => {
        /// A measured quantity of a host or of a guest.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum Metric { $($(#[$doc])+ $variant,)+ }

        impl Metric {
            /// Every metric there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name users write, e.g. `cpu.usage_active`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What the number counts.
            pub const fn unit(self) -> MetricUnit {
                match self { $(Self::$variant => MetricUnit::$unit),+ }
            }

            /// A small number that never changes its meaning: the key in stored history.
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The metric with this code, if this version knows it.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

metrics! {
    /// Host: time not idle and not waiting for IO, over all cores.
    CpuUsageActive = 1, "cpu.usage_active", Percent;
    /// Host: memory that can be had without swapping (`MemAvailable` of /proc/meminfo).
    MemAvailable = 2, "mem.available", Bytes;
    /// Host: swap in use.
    SwapUsed = 3, "swap.used", Bytes;
    /// Host: share of the last 10 s in which some task waited for a CPU.
    PsiCpuSome = 4, "psi.cpu.some", Percent;
    /// Host: share of the last 10 s in which some task waited for memory.
    PsiMemorySome = 5, "psi.memory.some", Percent;
    /// Host: share of the last 10 s in which some task waited for IO.
    PsiIoSome = 6, "psi.io.some", Percent;
    /// Host or guest: bytes received.
    NetRxRate = 7, "net.rx_rate", BytesPerSecond;
    /// Host or guest: bytes sent.
    NetTxRate = 8, "net.tx_rate", BytesPerSecond;
    /// Host or guest: bytes read from disks.
    DiskReadRate = 9, "disk.read_rate", BytesPerSecond;
    /// Host or guest: bytes written to disks.
    DiskWriteRate = 10, "disk.write_rate", BytesPerSecond;
    /// Host: electric power, by the best source that it has (`PowerSource`).
    PowerWatts = 11, "power.watts", Watts;
    /// Host: power of its CPU packages, as RAPL counts it.
    PowerPackageWatts = 12, "power.package_watts", Watts;
    /// Guest: host cores that its QEMU process keeps busy.
    GuestCpuCores = 20, "guest.cpu_cores", Cores;
    /// Guest: CPU time of its vCPUs, percent of all its vCPUs.
    GuestVcpuPercent = 21, "guest.vcpu_percent", Percent;
    /// Guest: memory of its QEMU process that is resident on the host.
    GuestResident = 22, "guest.resident", Bytes;
    /// Guest: memory the balloon leaves it.
    GuestBalloon = 23, "guest.balloon", Bytes;
    /// Guest: its part of the host's power, by CPU time.
    GuestPowerWatts = 24, "guest.power_watts", Watts;
}

/// No metric has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a metric")]
pub struct UnknownMetric(pub String);

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = UnknownMetric;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|metric| metric.name() == text)
            .ok_or_else(|| UnknownMetric(text.to_owned()))
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.name().to_owned()
    }
}

impl TryFrom<String> for Metric {
    type Error = UnknownMetric;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Metric {
    /// The number with its unit, for people.
    pub fn show(self, value: f64) -> String {
        // A sum of nothing is -0.0 (IEEE 754); nobody wants to read that.
        let value = value + 0.0;
        match self.unit() {
            MetricUnit::Percent => format!("{value:.1} %"),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to be non-negative; shown with two digits"
            )]
            MetricUnit::Bytes => crate::Bytes(value.max(0.0) as u64).to_string(),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to be non-negative; shown with two digits"
            )]
            MetricUnit::BytesPerSecond => format!("{}/s", crate::Bytes(value.max(0.0) as u64)),
            MetricUnit::Cores => format!("{value:.2} cores"),
            MetricUnit::Watts => format!("{value:.1} W"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_are_unique_and_read_back() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse(), Ok(*metric));
            assert_eq!(Metric::from_code(metric.code()), Some(*metric));
        }
    }
}
