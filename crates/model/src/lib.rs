//! The nouns of Drover.
//!
//! Ids, units, hosts, guests, metric samples, ownership, and the one dated
//! picture of a cluster that every decision is made from.
//! Nothing here decides, acts, reads a clock or draws a random number.
//!
//! The types are `Serialize` because the store and the agent protocol keep them
//! as they are (docs/decisions/0002): one vocabulary, one encoding. What users see is
//! `drover-api`, which converts from these.

mod capabilities;
mod guest;
mod host;
mod id;
mod inspection;
mod limits;
mod metric;
mod migration;
mod owner;
mod power;
mod reading;
mod recovery;
mod sample;
mod time;
mod units;
mod view;

pub use capabilities::{
    CpuDescription, HostCapabilities, HostNic, NetworkDescription, PoolDescription,
};
pub use guest::{
    BackingImage, Disk, DiskSource, Guest, GuestState, Lease, Nic, NicSource, RunningQemu,
};
pub use host::{Host, HostState};
pub use id::{BaselineId, GuestId, HostId, OperationId, ParseIdError, PlanId, RuleId, TokenId};
pub use inspection::{
    CpuFingerprint, CpuFit, CpuOffer, CpuPlatform, FreePages, GuestInspection, IncomingCheck,
    IncomingQuestion, Medium, NamedCpu, PortOutcome, PortProbe, PortPurpose, TyingDevice,
};
pub use limits::MigrationLimits;
pub use metric::{Metric, MetricUnit, UnknownMetric};
pub use migration::{
    ColdCopy, Compression, CopiedDisk, DirtyWindow, DiskCopy, MigrationMode, MigrationOutcome,
    MigrationProgress, MigrationSettings, PostCopy, StorageCopy,
};
pub use owner::{Epoch, OwnerPhase, OwnerRecord};
pub use power::{
    BmcAddress, BmcAddressError, BmcProtocol, BmcTls, LineBasis, MacAddress, MacError, MagicPacket,
    PowerCurve, PowerLine, PowerReading, PowerSource, PowerState, SecureOn, WakeMethod,
};
pub use reading::{MissingReason, Reading};
pub use recovery::{BrokenStream, NoRecovery, recovers_post_copy};
pub use sample::{GuestSample, HostSample};
pub use time::Timestamp;
pub use units::{
    Bytes, Cores, Mib, ParseUnitError, Percent, Vcpus, exact_bytes, exact_duration, parse_bytes,
    parse_duration, parse_rate,
};
pub use view::{ClusterView, GuestView, HostView, InFlightMove};

/// A host or guest name: how users call it. Unique within its kind.
pub type Name = String;
