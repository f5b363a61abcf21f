//! Hears on guests' taps which addresses they claim.
//!
//! The tap is where they can be heard best: each ARP reply and neighbour advertisement of a
//! guest passes there, whoever asked. The host's own neighbour table knows only those that
//! talk to the host, libvirt's leases only libvirt's own networks, and the guest agent only
//! guests that run one.
//!
//! Neighbours that talk all the time do not ask each other any more, so a card of which
//! nothing is known is asked: for the address from which one of its packets came. A router
//! does not answer for those that it routes. A guest that has sent nothing since its agent
//! started is unknown; it is announced by its Ethernet address alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_model::Guest;
use drover_ports::HypervisorEvent;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::claim::{claim, source};
use super::filter::Filter;
use super::frame::question;
use super::mac::Mac;
use super::port::port;
use super::socket::PacketSocket;
use crate::command::Commands;

/// Without any event the taps are looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How long to gather events: a guest's start is a volley of them.
const GATHER: Duration = Duration::from_millis(100);

/// A card of which no address is known is looked at this often: one packet each time.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// Taps that are listened to: beyond it a host has more guests than any can carry.
const MAX_TAPS: usize = 2048;

/// Listens until the agent ends.
pub async fn listen(commands: Arc<Commands>) -> std::convert::Infallible {
    let mut events = commands.hypervisor.events();
    let mut ears: BTreeMap<(String, Mac), AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let next = Instant::now() + LOOK_INTERVAL;
        // When libvirt does not answer, what was heard still holds.
        if let Ok(guests) = commands.hypervisor.guests(commands.host).await {
            let taps = taps(&guests);
            let present: Vec<Mac> = taps.iter().map(|(_, mac)| *mac).collect();
            if commands.network.book().prune(&present, commands.network.begun.elapsed()) {
                commands.network.changed.notify_one();
            }
            ears.retain(|tap, ear| {
                let keep = taps.contains(tap) && !ear.is_finished();
                if !keep {
                    ear.abort();
                }
                keep
            });
            for (tap, mac) in taps {
                ears.entry((tap.clone(), mac))
                    .or_insert_with(|| tasks.spawn(hear(Arc::clone(&commands), tap, mac)));
            }
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            () = sleep_until(next) => {}
            () = change(&mut events) => sleep(GATHER).await,
        }
        events = events.resubscribe();
    }
}

fn taps(guests: &[Guest]) -> Vec<(String, Mac)> {
    let nics = guests.iter().filter(|guest| guest.state.is_active()).flat_map(|guest| &guest.nics);
    nics.filter_map(|nic| Some((nic.tap.clone()?, nic.mac.parse().ok()?))).take(MAX_TAPS).collect()
}

/// Listens on one tap until it is gone.
async fn hear(commands: Arc<Commands>, tap: String, card: Mac) {
    let socket = match PacketSocket::open(&tap, Filter::Claims) {
        Ok(socket) => socket,
        Err(error) => {
            warn!(tap, %error, "cannot hear which addresses the guest has");
            return;
        }
    };
    let mut next_question = Instant::now();
    loop {
        let unknown = commands.network.addresses(card).is_empty();
        let received = tokio::select! {
            received = socket.receive() => received,
            () = sleep_until(next_question), if unknown => {
                ask(&tap, card).await;
                next_question = Instant::now() + ASK_INTERVAL;
                continue;
            }
        };
        match received {
            Ok(frame) => {
                let Some(claim) = claim(&frame) else { continue };
                if commands.network.book().hear(card, claim, commands.network.begun.elapsed()) {
                    debug!(tap, mac = %claim.mac, address = %claim.address, "heard");
                    commands.network.changed.notify_one();
                }
            }
            Err(error) => {
                debug!(tap, %error, "the tap is gone");
                return;
            }
        }
    }
}

/// Asks a card for the address of the next packet that it sends.
async fn ask(tap: &str, card: Mac) {
    // Where the agent cannot speak it cannot ask.
    let Ok(port) = port(tap) else { return };
    let asked = async {
        let ear = PacketSocket::open(tap, Filter::IpOf(card))?;
        let Ok(packet) = timeout(ASK_INTERVAL, ear.receive()).await else { return Ok(()) };
        let Some(address) = source(&packet?) else { return Ok(()) };
        let question = question(port.bridge_mac, card, address);
        PacketSocket::open(&port.bridge, Filter::Nothing)?.send(&question)
    };
    let outcome: std::io::Result<()> = asked.await;
    if let Err(error) = outcome {
        debug!(tap, %error, "cannot ask the guest for its address");
    }
}

async fn change(events: &mut broadcast::Receiver<HypervisorEvent>) {
    loop {
        match events.recv().await {
            Ok(HypervisorEvent::MigrationIteration { .. }) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
