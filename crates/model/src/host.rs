//! A host: one machine that runs guests.

use serde::{Deserialize, Serialize};

use crate::{HostCapabilities, HostId, Name, Timestamp};

/// What the controller knows of a host's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Its agent is connected and its libvirtd answers.
    Online,
    /// Its agent is connected, but libvirtd does not answer.
    Degraded,
    /// No agent is connected. Its guests may well be running.
    Unreachable,
}

impl HostState {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A host as the controller believes it to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// libvirt's host UUID.
    pub id: HostId,
    /// Its name.
    pub name: Name,
    /// Whether its agent and libvirtd answer.
    pub state: HostState,
    /// When its agent was last heard.
    pub last_seen: Timestamp,
    /// What it can do.
    pub capabilities: HostCapabilities,
    /// Where other hosts' QEMU sends migration data: an IP address or a name.
    pub migration_address: String,
    /// The libvirt URI by which other hosts' libvirtd reaches this one's.
    pub peer_uri: String,
    /// Version of its agent.
    pub agent_version: String,
}
