//! What is known of an agent's session: for telling whether its host was away.

use drover_model::{HostId, Timestamp};

use super::Live;

/// One agent's session as decisions on power see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSeen {
    /// Since when it stands.
    pub since: Timestamp,
    /// Differs after each start of the agent; none before it has said hello.
    pub incarnation: Option<String>,
    /// Its libvirtd answered when it was last heard of in this session.
    pub hypervisor: bool,
    /// When it was last heard.
    pub heard: Timestamp,
    /// The agent came from this controller's own address: both are on one machine.
    pub beside: bool,
}

impl Live {
    /// The session of a host's agent; none where it is not connected.
    pub fn session(&self, host: HostId) -> Option<SessionSeen> {
        let inner = self.lock();
        let session = inner.sessions.get(&host)?;
        Some(SessionSeen {
            since: session.since,
            incarnation: session.incarnation.clone(),
            hypervisor: session.hypervisor_connected,
            heard: session.heard,
            beside: session.beside,
        })
    }

    /// Notes what an agent said of itself.
    pub fn introduced(&self, host: HostId, incarnation: String) {
        if let Some(session) = self.lock().sessions.get_mut(&host) {
            session.incarnation = Some(incarnation);
        }
    }

    /// Notes that the agent of this session runs on the controller's own machine.
    pub fn is_beside(&self, host: HostId, number: u64) {
        let mut inner = self.lock();
        let session = inner.sessions.get_mut(&host).filter(|session| session.number == number);
        if let Some(session) = session {
            session.beside = true;
        }
    }
}
