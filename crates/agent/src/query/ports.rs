//! Whether the ports of a migration are open between two hosts: the target listens, the
//! source connects. Nothing is sent over the connections.

use std::net::SocketAddr;
use std::time::Duration;

use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{
    Failure, FailureKind, ListenForProbe, Listening, PortsProbed, ProbePorts,
};
use drover_model::{PortOutcome, PortProbe, PortPurpose};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::Queries;
use crate::command::failure::failure;
use crate::reach::{uri_host, uri_port};

/// libvirt's default range of ports for QEMU's migration data (`migration_port_min`, `_max` in
/// qemu.conf).
const MIGRATION_PORTS: std::ops::RangeInclusive<u16> = 49152..=49215;

/// Longest time that a port is listened on, whatever is asked.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may take: far above a round trip, and below the controller's wait
/// for the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

impl Queries {
    /// Listens on a free port of the range from now on; answers before anybody connects.
    ///
    /// The search goes from the top, since libvirt takes free ports from the bottom.
    pub(super) async fn listen(&self, asked: &ListenForProbe) -> Result<Answer, Failure> {
        let refused = |why: String| failure(FailureKind::Refused, why);
        let address = resolve(&asked.address, 0).await.map_err(refused)?;
        let wait = Duration::from_millis(asked.for_ms.into()).min(LISTEN_LIMIT);
        let found = self.listeners.listen(address.ip(), MIGRATION_PORTS.rev(), wait).await;
        let (port, task) = found.map_err(|error| {
            refused(format!("no port of 49152 to 49215 can be listened on: {error}"))
        })?;
        if let Some(task) = task {
            self.commands.spawn(task);
        }
        Ok(Answer::Listening(Listening { port: port.into() }))
    }
}

/// Connects to the target's ports, both at once.
pub(super) async fn probe(asked: &ProbePorts) -> Answer {
    let migration_port = u16::try_from(asked.migration_port).unwrap_or_default();
    let data = dial(PortPurpose::MigrationData, &asked.address, migration_port);
    let libvirt = async {
        match (uri_host(&asked.peer_uri), libvirt_port(&asked.peer_uri)) {
            (Some(host), Some(port)) => Some(dial(PortPurpose::Libvirt, host, port).await),
            // An ssh URI may name hosts that only ssh knows; a local one has no port.
            _ => None,
        }
    };
    let (data, libvirt) = tokio::join!(data, libvirt);
    let probes: Vec<PortProbe> = std::iter::once(data).chain(libvirt).collect();
    let probes_json = serde_json::to_vec(&probes).unwrap_or_default();
    Answer::PortsProbed(PortsProbed { probes_json })
}

async fn dial(purpose: PortPurpose, host: &str, port: u16) -> PortProbe {
    let outcome = match resolve(host, port).await {
        Ok(address) => match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => PortOutcome::Open,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                PortOutcome::Refused
            }
            Ok(Err(error)) => PortOutcome::Failed { why: error.to_string() },
            Err(_) => PortOutcome::NoAnswer,
        },
        Err(why) => PortOutcome::Failed { why },
    };
    PortProbe { purpose, address: host.to_owned(), port, outcome }
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = timeout(CONNECT_TIMEOUT, lookup_host((host, port))).await;
    let mut addresses = found
        .map_err(|_| format!("the name {host} is not resolved within {CONNECT_TIMEOUT:?}"))?
        .map_err(|error| format!("the name {host} is not known: {error}"))?;
    addresses.next().ok_or_else(|| format!("the name {host} has no address"))
}

/// Where libvirtd listens for this URI: libvirt's default ports unless one is given.
fn libvirt_port(uri: &str) -> Option<u16> {
    let (scheme, _) = uri.split_once("://")?;
    let default = match scheme.split_once('+')?.1 {
        "tls" => 16514,
        "tcp" => 16509,
        _ => return None,
    };
    Some(uri_port(uri).unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_port_of_libvirt_follows_from_its_uri() {
        for (uri, port) in [
            ("qemu+tls://h1/system", Some(16514)),
            ("qemu+tcp://[fd00::1]/system", Some(16509)),
            ("qemu+tcp://[fd00::1]:99/system", Some(99)),
            ("qemu+tls://u@h1:17000/system?x=1", Some(17000)),
            ("qemu+ssh://h1/system", None),
            ("qemu:///system", None),
        ] {
            assert_eq!(libvirt_port(uri), port, "{uri}");
        }
    }

    #[tokio::test]
    async fn a_port_is_open_only_while_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = dial(PortPurpose::MigrationData, "127.0.0.1", port).await;
        assert_eq!(open.outcome, PortOutcome::Open);
        drop(listener);
        let shut = dial(PortPurpose::MigrationData, "127.0.0.1", port).await;
        assert_eq!(shut.outcome, PortOutcome::Refused);
        let nowhere = dial(PortPurpose::Libvirt, "no-such-host.invalid", port).await;
        assert!(matches!(nowhere.outcome, PortOutcome::Failed { .. }), "{nowhere:?}");
    }
}
