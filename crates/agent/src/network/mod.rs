//! What the agent says and hears on its guests' networks.
//!
//! | | |
//! |---|---|
//! | [`announce`] | after a guest begins to run here, switches and neighbours are told where it is |
//! | [`probe`] | around a guest's arrival it is asked all the time, so that its silence is measured |
//! | [`listen`] | which addresses guests claim as their own, heard on their taps |
//!
//! Frames, filters, schedules and the address book are pure; [`socket`], [`port`] and
//! [`fdb`] touch the kernel. Nothing here is on the path of a guest's blackout, and nothing
//! here can fail a migration: what does not work is logged.
//!
//! Not known here: bridges of Open vSwitch, macvtap and bridges that filter VLANs. There
//! QEMU's own announcement (five RARP frames through the tap) is all there is.

pub mod announce;
pub mod book;
mod claim;
pub mod fdb;
pub mod filter;
pub mod frame;
pub mod gap;
mod icmp6;
pub mod listen;
pub mod mac;
pub mod port;
pub mod probe;
pub mod schedule;
pub mod socket;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use drover_agent_api::v1::KnownNic;
use drover_model::{Guest, GuestId};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use book::AddressBook;
use mac::Mac;

/// What the agent knows of its guests' networks.
#[derive(Debug)]
pub struct Network {
    /// The moment from which the book counts.
    begun: Instant,
    book: Mutex<AddressBook>,
    /// Somebody's addresses are not what they were.
    pub(crate) changed: Notify,
    announcing: Mutex<Vec<GuestId>>,
    probes: Mutex<BTreeMap<GuestId, watch::Sender<probe::Phase>>>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            book: Mutex::default(),
            changed: Notify::new(),
            announcing: Mutex::default(),
            probes: Mutex::default(),
        }
    }
}

impl Network {
    /// A guest brings the addresses that it was heard to claim elsewhere.
    pub(crate) fn adopt(&self, nics: &[KnownNic]) {
        let mut news = false;
        for mac in nics.iter().filter_map(|nic| nic.mac.parse().ok()) {
            news |= self.book().adopt(mac, &told(nics, mac), self.begun.elapsed());
        }
        if news {
            self.changed.notify_one();
        }
    }

    /// Fills in the addresses that each card was heard to claim.
    pub(crate) fn fill_in(&self, guests: &mut [Guest]) {
        let book = self.book();
        for nic in guests.iter_mut().flat_map(|guest| &mut guest.nics) {
            nic.addresses = nic.mac.parse().map_or_else(|_| Vec::new(), |mac| book.of(mac));
        }
    }

    fn addresses(&self, mac: Mac) -> Vec<IpAddr> {
        self.book().of(mac)
    }

    fn book(&self) -> MutexGuard<'_, AddressBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses that the controller knows of this card, by the word of the guest's last host.
fn told(nics: &[KnownNic], mac: Mac) -> Vec<IpAddr> {
    nics.iter()
        .filter(|nic| nic.mac.parse() == Ok(mac))
        .flat_map(|nic| nic.addresses.iter().filter_map(|address| address.parse().ok()))
        .take(book::MAX_ADDRESSES)
        .collect()
}
