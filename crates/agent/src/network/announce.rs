//! Tells the network where a guest is, from the moment it runs here until it speaks itself.
//!
//! Which interface: the bridge's own. A frame that is sent there leaves by every port that
//! may forward, so the uplink's switch learns, and a spanning tree is obeyed; sent out of an
//! uplink it could leave by a port that the tree has blocked, and teach the neighbour a path
//! that is closed. One sent on the tap would only reach the guest. The bridge itself learns
//! from neither (seen with `bridge fdb show`); [`fdb::point`] tells it.

use std::net::IpAddr;
use std::sync::Arc;

use drover_agent_api::v1::KnownNic;
use drover_model::{GuestId, Nic};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::filter::Filter;
use super::frame::announcement;
use super::mac::Mac;
use super::port::{Port, port};
use super::schedule::announcement_due;
use super::socket::PacketSocket;
use super::{Network, fdb, told};
use crate::command::Commands;

impl Network {
    /// The guest runs here now, since `since`. Returns at once.
    pub(crate) fn announce(
        &self,
        commands: &Arc<Commands>,
        guest: GuestId,
        nics: Vec<KnownNic>,
        since: Instant,
    ) {
        let mut announcing =
            self.announcing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A command that is repeated begins nothing new.
        if announcing.contains(&guest) {
            return;
        }
        announcing.push(guest);
        drop(announcing);
        let owned = Arc::clone(commands);
        commands.spawn(async move {
            announce(&owned, guest, &nics, since).await;
            let network = &owned.network;
            network
                .announcing
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .retain(|which| *which != guest);
        });
    }
}

async fn announce(commands: &Commands, guest: GuestId, nics: &[KnownNic], since: Instant) {
    let found = match commands.guest(guest).await {
        Ok(Some(found)) => found,
        Ok(None) => return,
        Err(error) => {
            warn!(%guest, %error, "cannot see where the guest's network cards are; not announced");
            return;
        }
    };
    let mut cards = JoinSet::new();
    for nic in &found.nics {
        let Some((port, mac)) = place(nic) else { continue };
        let mut addresses = told(nics, mac);
        addresses.extend(commands.network.addresses(mac));
        addresses.sort_unstable();
        addresses.dedup();
        cards.spawn(announce_card(port, mac, addresses, since));
    }
    while cards.join_next().await.is_some() {}
}

/// Where a card is plugged in, if the agent can speak there.
pub(super) fn place(nic: &Nic) -> Option<(Port, Mac)> {
    let mac = nic.mac.parse().ok()?;
    match port(nic.tap.as_deref()?) {
        Ok(port) => Some((port, mac)),
        Err(why) => {
            debug!(%mac, %why, "left to QEMU's own announcement");
            None
        }
    }
}

async fn announce_card(port: Port, mac: Mac, addresses: Vec<IpAddr>, since: Instant) {
    let opened = PacketSocket::open(&port.tap, Filter::SentBy(mac))
        .and_then(|tap| Ok((tap, PacketSocket::open(&port.bridge, Filter::Nothing)?)));
    let (tap, bridge) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            warn!(%mac, tap = port.tap, bridge = port.bridge, %error, "cannot announce the guest");
            return;
        }
    };
    if let Err(error) = fdb::point(&port.tap, mac) {
        warn!(%mac, tap = port.tap, %error, "cannot tell the bridge where the guest is");
    }
    let frames = announcement(mac, &addresses);
    let mut sent = 0;
    let mut speaks = false;
    while let Some(due) = announcement_due(sent) {
        tokio::select! {
            // The tap first: with the guest gone to another host it is gone as well, and one more
            // announcement from an agent that was held up would call the guest back here.
            biased;
            frame = tap.receive() => match frame {
                Ok(_) => speaks = true,
                Err(error) => {
                    info!(%mac, tap = port.tap, %error, "the guest's card is gone");
                    return;
                }
            },
            () = sleep_until(since + due) => {}
        }
        // What it says may be for one neighbour, and teach the switches on that way alone: all
        // hear of it once.
        if sent == 0 || !speaks {
            for frame in &frames {
                if let Err(error) = bridge.send(frame) {
                    warn!(%mac, bridge = port.bridge, %error, "an announcement was not sent");
                }
            }
            sent += 1;
        }
        if speaks {
            let waited = since.elapsed().as_millis();
            info!(%mac, bridge = port.bridge, announced = sent, after_ms = waited, "the guest speaks");
            return;
        }
    }
    info!(%mac, bridge = port.bridge, announced = sent, "announced to the end; the guest has said nothing");
}
