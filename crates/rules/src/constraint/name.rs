//! The names of everything that can speak against a move. What to do about each is in
//! `preflight/cures.rs`, one arm for every name.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! constraints {
    ($($(#[$doc:meta])+ $variant:ident = $word:literal;)+) => {
        /// What speaks against a move.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Constraint { $($(#[$doc])+ #[serde(rename = $word)] $variant,)+ }

        impl Constraint {
            /// Every one there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that users see and that is stored.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

constraints! {
    /// Only some guests were asked for.
    Selected = "selected";
    /// What the guest does.
    GuestState = "guest-state";
    /// No guest is moved twice at once.
    UnderWay = "under-way";
    /// A guest that was moved stays a while.
    Cooldown = "cooldown";
    /// Devices of its host that the guest uses.
    Device = "device";
    /// QEMU would lose a part of the guest's memory.
    EmulatedMemory = "emulated-memory";
    /// What checks before moves have found.
    Preflight = "preflight";
    /// Only some targets were asked for.
    AllowedTarget = "allowed-target";
    /// The target's agent and libvirtd.
    HostState = "host-state";
    /// How the source reaches the target.
    Peer = "peer";
    /// The processors' architecture.
    Architecture = "architecture";
    /// The machine type.
    MachineType = "machine-type";
    /// The processor model.
    CpuModel = "cpu-model";
    /// The guest's disks.
    Storage = "storage";
    /// The guest's networks.
    Network = "network";
    /// Both hosts are measured. It passes by itself: samples come in.
    FreshSamples = "fresh-samples";
    /// Free memory.
    Memory = "memory";
    /// Thresholds of rules.
    Threshold = "threshold";
    /// The target is to be empty.
    Draining = "draining";
    /// The target is off, or on its way there or back.
    Asleep = "asleep";
    /// Guests on some hosts only, or not on some.
    OnHosts = "on-hosts";
    /// Guests apart.
    Apart = "apart";
    /// Guests together.
    Together = "together";
    /// Guests spread over domains.
    Spread = "spread";
    /// Memory that is promised.
    Overcommit = "overcommit";
    /// What a group of hosts may draw.
    PowerCap = "power-cap";
    /// The guest is there already, or not where it was.
    Place = "place";
    /// There is no such guest or host.
    Known = "known";
    /// The guest's part of what its host suffers from is too small to be worth a move.
    Share = "share";
    /// The target is relieved by the same plan.
    RelievedHost = "relieved-host";
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_constraints_are_called_the_same() {
        let words: BTreeSet<&str> = Constraint::ALL.iter().map(|one| one.as_str()).collect();
        assert_eq!(words.len(), Constraint::ALL.len());
    }
}
