//! Which addresses which card claims. Pure.
//!
//! An address of another's would do harm: an announcement takes it away from its owner. So
//! one counts only while nobody else was heard to claim it, and only for a while.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::claim::Claim;
use super::mac::Mac;

/// Addresses that are kept of one card. Guests have a few; one that claims many answers for
/// others (proxy ARP), and those are not its own.
pub const MAX_ADDRESSES: usize = 8;

/// A claim is forgotten when it was not heard again within so long. Neighbours ask each other
/// every few minutes while they talk; half a day covers a guest that talks by day only.
const MAX_AGE: Duration = Duration::from_secs(12 * 3600);

/// What was heard. Times are since any fixed moment.
#[derive(Debug, Default)]
pub struct AddressBook {
    cards: BTreeMap<Mac, BTreeMap<IpAddr, Duration>>,
}

impl AddressBook {
    /// Notes a claim that was heard at the port of `card`; whether that is news.
    pub(super) fn hear(&mut self, card: Mac, claim: Claim, now: Duration) -> bool {
        let mut news = false;
        for (mac, addresses) in &mut self.cards {
            // Whoever claimed it last has it.
            news |= *mac != claim.mac && addresses.remove(&claim.address).is_some();
        }
        if claim.mac == card {
            let addresses = self.cards.entry(card).or_default();
            news |= addresses.insert(claim.address, now).is_none();
            let oldest = addresses.iter().min_by_key(|(_, heard)| **heard).map(|(a, _)| *a);
            if let Some(oldest) = oldest.filter(|_| addresses.len() > MAX_ADDRESSES) {
                addresses.remove(&oldest);
            }
        }
        news
    }

    /// Takes over what the guest's last host heard, where nothing else was heard here.
    pub(super) fn adopt(&mut self, card: Mac, addresses: &[IpAddr], now: Duration) -> bool {
        let mut news = false;
        for address in addresses {
            if !self.cards.values().any(|known| known.contains_key(address)) {
                news |= self.hear(card, Claim { mac: card, address: *address }, now);
            }
        }
        news
    }

    /// Forgets what is old, and every card but these; whether that is news.
    pub(super) fn prune(&mut self, present: &[Mac], now: Duration) -> bool {
        let before = self.len();
        self.cards.retain(|mac, _| present.contains(mac));
        for addresses in self.cards.values_mut() {
            addresses.retain(|_, heard| now.saturating_sub(*heard) <= MAX_AGE);
        }
        self.len() != before
    }

    /// The addresses of a card, in order.
    pub(super) fn of(&self, card: Mac) -> Vec<IpAddr> {
        self.cards.get(&card).map_or_else(Vec::new, |known| known.keys().copied().collect())
    }

    fn len(&self) -> usize {
        self.cards.values().map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn claim(mac: Mac, last: u8) -> Claim {
        Claim { mac, address: IpAddr::from([10, 0, 0, last]) }
    }

    #[test]
    fn a_card_has_what_it_claimed_last_and_nobody_after_it() {
        let mut book = AddressBook::default();
        assert!(book.hear(A, claim(A, 1), at(0)));
        assert!(!book.hear(A, claim(A, 1), at(5)), "no news");
        assert!(!book.hear(A, claim(B, 2), at(5)), "a stranger at this port");
        assert_eq!(book.of(A), [claim(A, 1).address]);
        assert!(book.hear(A, claim(B, 1), at(6)), "taken over");
        assert_eq!(book.of(A), Vec::<IpAddr>::new());
        assert!(book.hear(B, claim(B, 1), at(6)));
        assert!(book.hear(A, claim(A, 1), at(7)), "and back");
        assert_eq!((book.of(A).len(), book.of(B).len()), (1, 0));
    }

    #[test]
    fn a_guest_that_arrives_brings_its_addresses_unless_others_have_them() {
        let mut book = AddressBook::default();
        book.hear(B, claim(B, 2), at(0));
        assert!(book.adopt(A, &[claim(A, 1).address, claim(A, 2).address], at(1)));
        assert_eq!(book.of(A), [claim(A, 1).address]);
        assert_eq!(book.of(B), [claim(B, 2).address]);
        assert!(!book.adopt(A, &[claim(A, 1).address], at(2)));
    }

    #[test]
    fn the_book_is_bounded_and_forgets() {
        let mut book = AddressBook::default();
        for last in 0..20 {
            book.hear(A, claim(A, last), at(last.into()));
        }
        assert_eq!(book.of(A).len(), MAX_ADDRESSES);
        assert_eq!(book.of(A)[0], claim(A, 12).address);
        assert!(!book.prune(&[A], MAX_AGE + at(12)));
        assert!(book.prune(&[A], MAX_AGE + at(13)));
        assert_eq!(book.of(A).len(), MAX_ADDRESSES - 1);
        assert!(book.prune(&[B], at(20)), "its guest is gone");
        assert_eq!(book.of(A), Vec::<IpAddr>::new());
    }
}
