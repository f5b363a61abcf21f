//! Ejection: a guest without a place takes one from guests that are easier to place.
//!
//! Every failure makes a guest dearer. Who is ejected are those that cost least together,
//! so guests that nobody can place again are left alone in the end. Between two ejections
//! some guests change places, so that the same holes do not come back.

use rand::RngExt as _;
use rand_pcg::Pcg64;

use super::room::{Room, sizes};
use super::{Unplaced, Why};

/// Hosts with more guests are not asked to give up three at once: the triples are too many.
const TRIPLES: usize = 12;
/// Exchanges that are tried between two ejections, for each guest and at least.
const SHAKES: (usize, usize) = (4, 32);
/// Any seed: the same packing is placed in the same way.
const SEED: u64 = 7;

/// Places what is nowhere, or says which guest resisted most.
pub(super) fn place(room: Room<'_>, steps: u64) -> Result<Vec<usize>, Unplaced> {
    let mut waiting = room.unplaced();
    let size = sizes(room.packing);
    waiting.sort_by(|&a, &b| size[a].total_cmp(&size[b]));
    let guests = room.packing.guests();
    let mut ejection = Ejection {
        room,
        size,
        failures: vec![1; guests],
        steps: 0,
        most: steps,
        rng: Pcg64::new(SEED.into(), 3),
    };
    while let Some(guest) = waiting.pop() {
        if let Some(host) = ejection.tightest(guest) {
            ejection.room.put(guest, host);
            continue;
        }
        ejection.failures[guest] += 1;
        let choice = if ejection.steps < ejection.most { ejection.choose(guest) } else { None };
        let Some((host, leaving)) = choice else {
            let hardest = waiting.into_iter().chain([guest]);
            let hardest = hardest.max_by_key(|guest| ejection.failures[*guest]);
            let why = Why::NotFound { steps: ejection.steps };
            return Err(Unplaced { guest: hardest.unwrap_or(guest), why });
        };
        for other in &leaving {
            ejection.room.take(*other);
        }
        ejection.room.put(guest, host);
        waiting.extend(leaving);
        ejection.shake();
    }
    Ok(ejection.room.placed())
}

struct Ejection<'a> {
    room: Room<'a>,
    size: Vec<f64>,
    /// How often each guest found no place, and one.
    failures: Vec<u64>,
    steps: u64,
    most: u64,
    rng: Pcg64,
}

/// The cheapest guests to eject so far.
struct Best {
    price: (u64, f64),
    host: usize,
    leaving: Vec<usize>,
    /// Choices at this price, of which one was taken at random.
    equals: u32,
}

impl Ejection<'_> {
    /// The host that has least left once it has taken the guest.
    fn tightest(&mut self, guest: usize) -> Option<usize> {
        let room = &self.room;
        let left = |host: usize| -> f64 { room.left(host).iter().sum() };
        self.steps += room.packing.hosts() as u64;
        (0..room.packing.hosts())
            .filter(|host| room.takes(*host, guest))
            .min_by(|a, b| left(*a).total_cmp(&left(*b)))
    }

    /// Where the guest goes, and who leaves for it: up to three guests.
    fn choose(&mut self, guest: usize) -> Option<(usize, Vec<usize>)> {
        let mut best: Option<Best> = None;
        for host in 0..self.room.packing.hosts() {
            if !self.room.packing.allows(guest, host) {
                continue;
            }
            let on = self.room.on[host].clone();
            for (first, one) in on.iter().enumerate() {
                self.consider(&mut best, guest, host, &[*one]);
                for (second, two) in on.iter().enumerate().skip(first + 1) {
                    self.consider(&mut best, guest, host, &[*one, *two]);
                    if on.len() <= TRIPLES {
                        for three in &on[second + 1..] {
                            self.consider(&mut best, guest, host, &[*one, *two, *three]);
                        }
                    }
                }
            }
        }
        best.map(|best| (best.host, best.leaving))
    }

    fn consider(&mut self, best: &mut Option<Best>, guest: usize, host: usize, leaving: &[usize]) {
        self.steps += 1;
        let failures = leaving.iter().map(|other| self.failures[*other]).sum();
        let size: f64 = leaving.iter().map(|other| self.size[*other]).sum();
        let price = (failures, size);
        let (dearer, equals) = match best {
            Some(best) => (price > best.price, if price == best.price { best.equals } else { 0 }),
            None => (false, 0),
        };
        if dearer || !self.room.takes_without(host, guest, leaving) {
            return;
        }
        let equals = equals + 1;
        if self.rng.random_range(0..equals) == 0 {
            *best = Some(Best { price, host, leaving: leaving.to_vec(), equals });
        } else if let Some(best) = best {
            best.equals = equals;
        }
    }

    /// Guests move or change places at random where they may.
    fn shake(&mut self) {
        let (guests, hosts) = (self.room.packing.guests(), self.room.packing.hosts());
        for _ in 0..(guests / SHAKES.0).clamp(1, SHAKES.1) {
            let (one, other) = (self.rng.random_range(0..guests), self.rng.random_range(0..guests));
            let to = self.rng.random_range(0..hosts);
            self.steps += 1;
            let Some(from) = self.room.host_of(one) else { continue };
            match self.room.host_of(other) {
                Some(there)
                    if there != from
                        && self.rng.random()
                        && self.room.takes_without(there, one, &[other])
                        && self.room.takes_without(from, other, &[one]) =>
                {
                    self.room.take(one);
                    self.room.take(other);
                    self.room.put(one, there);
                    self.room.put(other, from);
                }
                _ if to != from && self.room.takes(to, one) => {
                    self.room.take(one);
                    self.room.put(one, to);
                }
                _ => {}
            }
        }
    }
}
