//! In what order guests get from home to their new hosts.
//!
//! A guest holds its resources on both hosts while it moves, so a move may have to wait
//! until another has made room. Moves are dealt into batches; those of one batch run at
//! once, and the next begins when all have ended. Where moves wait for each other in a
//! circle, one guest steps aside to a third host first; where no host has room for that,
//! the move is dropped and its guest stays at home.
//!
//! Batches are filled greedily, by several priorities in turn, and the order that takes the
//! least time wins. Capacity is kept at every moment, and so are hard laws that keep guests
//! apart; other laws are kept by the final assignment only, not on the way to it.

mod ledger;

use super::instance::{Instance, NONE};
use super::state::{count, index};
use ledger::Ledger;

/// How many moves run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    /// Most that leave one host.
    pub out: usize,
    /// Most that come to one host.
    pub into: usize,
    /// Most in all.
    pub all: usize,
}

/// One move of one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// The guest.
    pub guest: u32,
    /// Where it is.
    pub from: u32,
    /// Where it goes.
    pub to: u32,
}

/// How an assignment comes about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Order {
    /// Moves of one batch run at once; batches follow each other.
    pub batches: Vec<Vec<Leg>>,
    /// Guests that step aside to a third host: each has two moves.
    pub bypasses: usize,
    /// Guests that stay at home since no order was found in which they can move.
    pub dropped: Vec<u32>,
    /// The sum over batches of the longest move.
    pub duration: f64,
}

/// Which moves come first into a batch.
#[derive(Debug, Clone, Copy)]
enum Priority {
    /// The longest: then a batch is of moves that are alike.
    Longest,
    /// Those whose host has most to send or to take.
    Busiest,
    /// Those that leave a host for which others wait; the longest of these.
    Awaited,
}

/// Orders the moves from home to `to`; `duration` says how long a guest takes to move.
///
/// # Panics
///
/// When `to` has another length than the instance has guests.
pub fn order(
    instance: &Instance,
    to: &[u32],
    lanes: Lanes,
    duration: &dyn Fn(usize) -> f64,
) -> Order {
    assert_eq!(to.len(), instance.guests(), "a host for each guest");
    let mut moves: Vec<Pending> = (0..to.len())
        .filter(|guest| to[*guest] != instance.home[*guest])
        .map(|guest| Pending {
            leg: Leg { guest: index(guest), from: instance.home[guest], to: to[guest] },
            duration: duration(guest),
            aside: false,
        })
        .collect();
    let lanes = Lanes { out: lanes.out.max(1), into: lanes.into.max(1), all: lanes.all.max(1) };
    let start = Ledger::at_home(instance, &moves);
    let mut dropped = Vec::new();
    loop {
        let attempts = [Priority::Longest, Priority::Busiest, Priority::Awaited]
            .map(|priority| Attempt::new(&start, moves.clone(), lanes, priority).run());
        let best = attempts.iter().flatten().min_by(|a, b| {
            a.duration.total_cmp(&b.duration).then(a.batches.len().cmp(&b.batches.len()))
        });
        if let Some(best) = best {
            dropped.sort_unstable();
            return Order { dropped, ..best.clone() };
        }
        // None came to an end: what hindered the one that got furthest is left out.
        let hindered = attempts.into_iter().filter_map(Result::err).min_by_key(Vec::len);
        let hindered = hindered.unwrap_or_default();
        moves.retain(|pending| !hindered.contains(&pending.leg.guest));
        dropped.extend(hindered);
    }
}

/// A move that is still to come.
#[derive(Debug, Clone, Copy)]
struct Pending {
    leg: Leg,
    duration: f64,
    /// The guest is on a third host already.
    aside: bool,
}

/// One way through, batch by batch.
struct Attempt<'l, 'i> {
    ledger: Ledger<'i>,
    start: &'l Ledger<'i>,
    pending: Vec<Pending>,
    lanes: Lanes,
    priority: Priority,
    leaving: Vec<usize>,
    coming: Vec<usize>,
    order: Order,
}

impl<'l, 'i> Attempt<'l, 'i> {
    fn new(start: &'l Ledger<'i>, pending: Vec<Pending>, lanes: Lanes, priority: Priority) -> Self {
        let hosts = start.hosts();
        Self {
            ledger: start.clone(),
            start,
            pending,
            lanes,
            priority,
            leaving: vec![0; hosts],
            coming: vec![0; hosts],
            order: Order::default(),
        }
    }

    /// The order; or guests that hinder all others, one for each circle.
    fn run(mut self) -> Result<Order, Vec<u32>> {
        let mut circles = circles(self.start.clone(), &self.pending);
        while !self.pending.is_empty() {
            self.sort();
            let mut batch = self.fill();
            let roomy = !batch.is_empty();
            if !roomy {
                circles = self.pending.iter().map(|pending| pending.leg.guest).collect();
            }
            if !circles.is_empty() {
                self.step_aside(&mut batch, &mut circles, roomy);
            }
            if batch.is_empty() {
                return Err(self.hindering());
            }
            self.close(batch);
        }
        Ok(self.order)
    }

    fn sort(&mut self) {
        let key = |pending: &Pending| (pending.duration, pending.leg.guest);
        let longest = |a: &Pending, b: &Pending| {
            let ((a, first), (b, second)) = (key(a), key(b));
            b.total_cmp(&a).then(first.cmp(&second))
        };
        match self.priority {
            Priority::Longest => self.pending.sort_by(longest),
            Priority::Busiest => {
                let (out, into) = self.work();
                let busy = |pending: &Pending| {
                    out[pending.leg.from as usize].max(into[pending.leg.to as usize])
                };
                self.pending
                    .sort_by(|a, b| busy(b).total_cmp(&busy(a)).then_with(|| longest(a, b)));
            }
            Priority::Awaited => {
                let mut awaited = vec![false; self.ledger.hosts()];
                for pending in &self.pending {
                    awaited[pending.leg.to as usize] |= !self.ledger.has_room(pending.leg);
                }
                let free = |pending: &Pending| !awaited[pending.leg.from as usize];
                self.pending.sort_by(|a, b| free(a).cmp(&free(b)).then_with(|| longest(a, b)));
            }
        }
    }

    /// How long each host still has to send and to take, with all its lanes in use.
    fn work(&self) -> (Vec<f64>, Vec<f64>) {
        let mut out = vec![0.0; self.ledger.hosts()];
        let mut into = out.clone();
        for pending in &self.pending {
            out[pending.leg.from as usize] += pending.duration / count(self.lanes.out);
            into[pending.leg.to as usize] += pending.duration / count(self.lanes.into);
        }
        (out, into)
    }

    /// Begins all that can begin now.
    fn fill(&mut self) -> Vec<Pending> {
        let mut batch = Vec::new();
        let mut waiting = Vec::with_capacity(self.pending.len());
        for pending in std::mem::take(&mut self.pending) {
            if self.may_begin(&batch, pending.leg) && self.ledger.has_room(pending.leg) {
                self.begin(pending.leg);
                batch.push(pending);
            } else {
                waiting.push(pending);
            }
        }
        self.pending = waiting;
        batch
    }

    fn may_begin(&self, batch: &[Pending], leg: Leg) -> bool {
        batch.len() < self.lanes.all
            && self.leaving[leg.from as usize] < self.lanes.out
            && self.coming[leg.to as usize] < self.lanes.into
    }

    fn begin(&mut self, leg: Leg) {
        self.leaving[leg.from as usize] += 1;
        self.coming[leg.to as usize] += 1;
        self.ledger.arrive(leg);
    }

    /// Lets one guest of each circle step aside, the one that takes least time. While
    /// others can move, only to hosts that keep room for all that is to come to them.
    fn step_aside(&mut self, batch: &mut Vec<Pending>, circles: &mut Vec<u32>, roomy: bool) {
        let mut linked = Linked::of(self.ledger.hosts());
        circles.sort_unstable();
        let is_stuck = |guest: u32| circles.binary_search(&guest).is_ok();
        let mut stuck: Vec<usize> =
            (0..self.pending.len()).filter(|n| is_stuck(self.pending[*n].leg.guest)).collect();
        for number in &stuck {
            let leg = self.pending[*number].leg;
            linked.join(leg.from as usize, leg.to as usize);
        }
        let promised = if roomy { Some(self.ledger.promised(&self.pending)) } else { None };
        stuck.sort_by(|a, b| {
            let of = |n: &usize| &self.pending[*n];
            of(a).duration.total_cmp(&of(b).duration).then(of(a).leg.guest.cmp(&of(b).leg.guest))
        });
        let mut done = Vec::new();
        for number in stuck.iter().copied() {
            let pending = self.pending[number];
            let circle = linked.root(pending.leg.from as usize);
            if done.contains(&circle) || pending.aside || !self.unblocks(&stuck, pending.leg) {
                continue;
            }
            let Some(third) = self.third_host(batch, pending.leg, promised.as_deref()) else {
                continue;
            };
            let leg = Leg { to: third, ..pending.leg };
            self.begin(leg);
            batch.push(Pending { leg, aside: true, ..pending });
            self.pending[number].leg.from = third;
            self.pending[number].aside = true;
            self.order.bypasses += 1;
            done.push(circle);
        }
        // What was tried early is not tried again before all others have moved.
        circles.clear();
    }

    /// Whether another move of the circle can begin once this guest has gone.
    fn unblocks(&self, stuck: &[usize], leg: Leg) -> bool {
        let after = self.ledger.left(leg);
        stuck.iter().any(|number| {
            let other = self.pending[*number].leg;
            other.to == leg.from && other.guest != leg.guest && self.ledger.fits_into(other, &after)
        })
    }

    /// The host with most room to spare that can take the guest for a while.
    fn third_host(&self, batch: &[Pending], leg: Leg, promised: Option<&[f64]>) -> Option<u32> {
        let instance = self.ledger.instance();
        (0..instance.hosts())
            .filter(|host| instance.may_use(leg.guest as usize, *host))
            .map(|host| Leg { to: index(host), ..leg })
            .filter(|aside| aside.to != leg.to && aside.to != leg.from)
            .filter(|aside| self.may_begin(batch, *aside) && self.ledger.has_room(*aside))
            .map(|aside| (self.ledger.spare(aside, promised), aside.to))
            .filter(|(spare, _)| promised.is_none() || *spare >= 0.0)
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
            .map(|(_, host)| host)
    }

    /// One guest of each circle, the hardest to place: without it others may move.
    fn hindering(&self) -> Vec<u32> {
        let mut linked = Linked::of(self.ledger.hosts());
        for pending in &self.pending {
            linked.join(pending.leg.from as usize, pending.leg.to as usize);
        }
        let mut largest: Vec<&Pending> = self.pending.iter().collect();
        largest.sort_by(|a, b| {
            let part = |pending: &Pending| self.ledger.part_needed(pending.leg);
            part(b).total_cmp(&part(a)).then(a.leg.guest.cmp(&b.leg.guest))
        });
        let mut seen = vec![false; self.ledger.hosts()];
        let mut first_of_circle = |pending: &&Pending| {
            !std::mem::replace(&mut seen[linked.root(pending.leg.from as usize)], true)
        };
        largest.retain(|pending| first_of_circle(pending));
        largest.into_iter().map(|pending| pending.leg.guest).collect()
    }

    fn close(&mut self, batch: Vec<Pending>) {
        for pending in &batch {
            self.leaving[pending.leg.from as usize] = 0;
            self.coming[pending.leg.to as usize] = 0;
            self.ledger.depart(pending.leg);
        }
        self.order.duration += batch.iter().map(|pending| pending.duration).fold(0.0, f64::max);
        self.order.batches.push(batch.into_iter().map(|pending| pending.leg).collect());
    }
}

/// Guests whose moves can never begin, were there lanes without number: they wait for each
/// other.
fn circles(mut ledger: Ledger<'_>, pending: &[Pending]) -> Vec<u32> {
    let mut waiting: Vec<Leg> = pending.iter().map(|pending| pending.leg).collect();
    loop {
        let before = waiting.len();
        waiting.retain(|leg| {
            let can = ledger.has_room(*leg);
            if can {
                ledger.arrive(*leg);
                ledger.depart(*leg);
            }
            !can
        });
        if waiting.len() == before {
            return waiting.into_iter().map(|leg| leg.guest).collect();
        }
    }
}

/// Hosts that moves link.
struct Linked(Vec<u32>);

impl Linked {
    fn of(hosts: usize) -> Self {
        Self(vec![NONE; hosts])
    }

    fn root(&self, mut host: usize) -> usize {
        while self.0[host] != NONE {
            host = self.0[host] as usize;
        }
        host
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if one != other {
            self.0[one] = index(other);
        }
    }
}
