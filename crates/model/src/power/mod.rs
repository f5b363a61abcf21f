//! Electric power: what a host draws, who says so, and how hosts are switched.

mod bmc;
mod curve;
mod reading;
mod wake;

pub use bmc::{BmcAddress, BmcAddressError, BmcProtocol, BmcTls, PowerState};
pub use curve::PowerCurve;
pub use reading::{PowerReading, PowerSource};
pub use wake::{MacAddress, MacError, MagicPacket, SecureOn, WakeMethod};
