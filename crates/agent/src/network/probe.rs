//! Asks an arriving guest all the time, so that its silence around the switch-over is
//! measured: what its neighbours on the target's bridge see, switches included.
//!
//! Before the switch-over answers come over the wire from the source, afterwards from the tap
//! beside. The asker has no address and claims none ([`question`]); the questions go to the
//! guest alone. A restart of the agent in mid-move loses the measurement.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use drover_agent_api::v1::{ContinuityReport, KnownNic};
use drover_model::{GuestId, OperationId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::announce::place;
use super::claim::claim;
use super::filter::Filter;
use super::frame::question;
use super::gap::{Answers, Verdict};
use super::mac::Mac;
use super::port::Port;
use super::schedule::question_pause;
use super::socket::PacketSocket;
use super::{Network, told};
use crate::command::Commands;

/// Looks for the arriving copy come this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A copy that has not come by then does not come.
const COPY_LIMIT: Duration = Duration::from_secs(600);

/// Longest measurement: a copy that takes longer is not measured.
const LIMIT: Duration = Duration::from_secs(12 * 3600);

/// When the report is sent: several times, since the session may be down, and the controller
/// takes it only after the source's statistics.
const REPORT_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// How far the arrival is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The copy comes.
    Arriving,
    /// The guest was told to run, at this moment.
    Resumed(Instant),
}

impl Network {
    /// A guest is about to arrive; its addresses are those. Returns at once.
    pub(crate) fn begin_probe(
        &self,
        commands: &Arc<Commands>,
        operation: OperationId,
        guest: GuestId,
        nics: Vec<KnownNic>,
    ) {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        if probes.get(&guest).is_some_and(|phase| !phase.is_closed()) {
            return;
        }
        let (sender, phase) = watch::channel(Phase::Arriving);
        probes.retain(|_, phase| !phase.is_closed());
        probes.insert(guest, sender);
        let owned = Arc::clone(commands);
        commands.spawn(async move { probe(&owned, operation, guest, &nics, phase).await });
    }

    /// The guest was told to run at `at`.
    pub(crate) fn resumed(&self, guest: GuestId, at: Instant) {
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(phase) = probes.get(&guest) {
            phase.send_if_modified(|phase| {
                let first = *phase == Phase::Arriving;
                if first {
                    *phase = Phase::Resumed(at);
                }
                first
            });
        }
    }

    /// The guest does not come.
    pub(crate) fn end_probe(&self, guest: GuestId) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).remove(&guest);
    }
}

/// Whom to ask, and from where.
struct Asked {
    port: Port,
    mac: Mac,
    address: IpAddr,
}

async fn probe(
    commands: &Commands,
    operation: OperationId,
    guest: GuestId,
    nics: &[KnownNic],
    mut phase: watch::Receiver<Phase>,
) {
    let Some(asked) = wait_for_copy(commands, guest, nics, &mut phase).await else { return };
    debug!(%guest, address = %asked.address, bridge = asked.port.bridge, "asking the guest");
    let verdict = match measure(&asked, &mut phase).await {
        Ok(Some(verdict)) => verdict,
        Ok(None) => return,
        Err(error) => {
            warn!(%guest, bridge = asked.port.bridge, %error, "cannot measure the blackout");
            return;
        }
    };
    // Another move of the guest may be measured from here on.
    drop(phase);
    let (silent, back) = match verdict {
        Verdict::Silent(silent) => (silent, true),
        Verdict::StillSilent(silent) => (silent, false),
        Verdict::Unknown => {
            info!(%operation, %guest, "the guest does not answer questions; no blackout is measured");
            return;
        }
    };
    let blackout_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
    info!(%operation, %guest, blackout_ms, back, "the blackout as the network saw it");
    let report = ContinuityReport {
        operation_id: operation.to_string(),
        guest_id: guest.to_string(),
        blackout_ms,
        still_silent: !back,
    };
    let begun = Instant::now();
    for after in REPORT_AFTER {
        sleep_until(begun + after).await;
        commands.outbox.send(report.clone());
    }
}

/// Waits until libvirt has plugged the copy in. None when it does not come.
async fn wait_for_copy(
    commands: &Commands,
    guest: GuestId,
    nics: &[KnownNic],
    phase: &mut watch::Receiver<Phase>,
) -> Option<Asked> {
    let begun = Instant::now();
    while begun.elapsed() < COPY_LIMIT && phase.has_changed().is_ok() {
        if let Ok(Some(found)) = commands.guest(guest).await
            && found.state.is_active()
            && found.nics.iter().any(|nic| nic.tap.is_some())
        {
            let reachable = found.nics.iter().filter_map(place);
            let mut with_address = reachable.filter_map(|(port, mac)| {
                let address = *told(nics, mac).first()?;
                Some(Asked { port, mac, address })
            });
            return with_address.next();
        }
        sleep(LOOK_INTERVAL).await;
    }
    None
}

/// Asks until the guest is back. None when it does not come.
async fn measure(
    asked: &Asked,
    phase: &mut watch::Receiver<Phase>,
) -> std::io::Result<Option<Verdict>> {
    let Asked { port, mac, address } = asked;
    let socket = PacketSocket::open(&port.bridge, Filter::ClaimsOf(*mac))?;
    let question = question(port.bridge_mac, *mac, *address);
    let begun = Instant::now();
    let mut answers = Answers::default();
    let mut next = begun;
    while begun.elapsed() < LIMIT {
        tokio::select! {
            biased;
            changed = phase.changed() => match (changed, *phase.borrow_and_update()) {
                (Ok(()), Phase::Resumed(at)) => answers.resume(at.saturating_duration_since(begun)),
                (Ok(()), Phase::Arriving) => {}
                (Err(_), _) => return Ok(None),
            },
            frame = socket.receive() => {
                if claim(&frame?).is_some_and(|claim| claim.address == *address) {
                    answers.answer(begun.elapsed());
                }
            }
            () = sleep_until(next) => {
                // The bridge may be full or down for a moment: that is silence, too.
                let _ = socket.send(&question);
                next = Instant::now() + question_pause(begun.elapsed(), address.is_ipv6());
            }
        }
        if let Some(verdict) = answers.verdict(begun.elapsed()) {
            return Ok(Some(verdict));
        }
    }
    Ok(None)
}
