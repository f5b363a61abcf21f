//! One random walk over assignments: proposes moves, keeps limits, remembers the best.

use rand::{Rng, RngExt as _};

use super::force::Force;
use super::instance::Instance;
use super::state::{State, index};

/// What may move in all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Most guests away from home.
    pub moves: usize,
    /// Most of what they make to send, in the unit of `Objective::bytes`.
    pub bytes: f64,
}

impl Limits {
    /// No limit.
    pub const NONE: Self = Self { moves: usize::MAX, bytes: f64::INFINITY };
}

/// How often each kind of move is proposed, as weights.
#[derive(Debug, Clone, Copy)]
struct Mix {
    shift: u32,
    swap: u32,
    /// A displaced guest goes home.
    home: u32,
    /// A displaced guest goes home and another comes in its place.
    home_swap: u32,
}

impl Mix {
    /// Where moved guests hold resources at home too, needless displacement chokes the
    /// search: it is undone more often.
    fn of(instance: &Instance) -> Self {
        if instance.lingers.iter().any(|held| *held > 0.0) {
            Self { shift: 2, swap: 3, home: 3, home_swap: 2 }
        } else {
            Self { shift: 2, swap: 3, home: 1, home_swap: 1 }
        }
    }
}

/// Worsenings sampled to know what is typical.
const SAMPLES: usize = 200;
/// So few samples tell nothing.
const FEW: usize = 20;
/// Trials to find one sample, at most.
const TRIES: usize = 4;
/// One swap of so many is of guests of any sizes.
const ANY: u32 = 8;
/// Partners for the others differ in size by at most this part of all ranks.
const REACH: f64 = 0.2;
/// Guests that are looked at to find one that is not at home.
const STRANGERS: usize = 3;

pub(super) struct Walk<'s, 'i> {
    pub(super) state: &'s mut State<'i>,
    limits: Limits,
    mix: Mix,
    pub(super) force: Force,
    /// Movable guests, small ones first: swaps of like sizes succeed most often.
    by_size: Vec<u32>,
    /// The place of each guest among these.
    pub(super) rank: Vec<u32>,
    open: Vec<u32>,
    best: f64,
    /// Moves since the best, newest last.
    since: Vec<(u32, u32)>,
    /// The best assignment, when the moves since were too many to keep.
    kept: Option<Vec<u32>>,
}

impl<'s, 'i> Walk<'s, 'i> {
    /// None when nothing can move.
    pub(super) fn new(state: &'s mut State<'i>, limits: Limits) -> Option<Self> {
        let instance = state.instance();
        let by_size = by_size(instance);
        let open: Vec<u32> =
            (0..instance.hosts()).filter(|host| !instance.closed[*host]).map(index).collect();
        if by_size.is_empty() || open.is_empty() {
            return None;
        }
        let best = state.cost();
        let mut rank = vec![0; instance.guests()];
        for (at, guest) in by_size.iter().enumerate() {
            rank[*guest as usize] = index(at);
        }
        let (mix, force) = (Mix::of(instance), Force::of(state));
        let (since, kept) = (Vec::new(), None);
        Some(Self { state, limits, mix, force, by_size, rank, open, best, since, kept })
    }

    /// Median of the worsening that random feasible shifts bring; of any change, where
    /// hardly one worsens; one, where nothing changes anything.
    pub(super) fn typical_change(&self, rng: &mut impl Rng) -> f64 {
        let (mut worse, mut better) = (Vec::new(), Vec::new());
        for _ in 0..SAMPLES * TRIES {
            let (guest, to) = (self.some_guest(rng), self.some_host(rng));
            match self.state.shift_delta(guest, to) {
                Some(delta) if delta > 0.0 => worse.push(delta),
                Some(delta) if delta < 0.0 => better.push(-delta),
                _ => {}
            }
            if worse.len() == SAMPLES {
                break;
            }
        }
        if worse.len() < FEW {
            worse.append(&mut better);
        }
        worse.sort_by(f64::total_cmp);
        worse.get(worse.len() / 2).copied().unwrap_or(1.0)
    }

    /// Proposes one move and makes it if the temperature allows. Returns the work that it
    /// was, in proposals of a single move.
    pub(super) fn trial(&mut self, temperature: f64, rng: &mut impl Rng) -> u64 {
        if self.force.is_due() {
            return self.try_force(temperature, rng);
        }
        let Mix { shift, swap, home, home_swap } = self.mix;
        let full = self.state.displaced().len() >= self.limits.moves;
        match rng.random_range(0..shift + swap + home + home_swap) {
            draw if draw < shift => self.try_shift(full, temperature, rng),
            draw if draw < shift + swap => self.try_swap(temperature, rng),
            draw if draw < shift + swap + home => self.try_home(temperature, rng),
            _ if full && rng.random() => self.try_exchange(temperature, rng),
            _ => self.try_home_swap(temperature, rng),
        }
        1
    }

    /// Leaves the state at the best assignment.
    pub(super) fn finish(self) {
        let at = match &self.kept {
            Some(at) => at.clone(),
            None => self.before_since(),
        };
        self.state.adopt(&at);
    }

    fn some_guest(&self, rng: &mut impl Rng) -> usize {
        self.by_size[rng.random_range(0..self.by_size.len())] as usize
    }

    pub(super) fn some_host(&self, rng: &mut impl Rng) -> usize {
        self.open[rng.random_range(0..self.open.len())] as usize
    }

    pub(super) fn some_displaced(&self, rng: &mut impl Rng) -> Option<usize> {
        let displaced = self.state.displaced();
        if displaced.is_empty() {
            return None;
        }
        Some(displaced[rng.random_range(0..displaced.len())] as usize)
    }

    pub(super) fn home_of(&self, guest: usize) -> usize {
        self.state.instance().home[guest] as usize
    }

    fn try_shift(&mut self, full: bool, temperature: f64, rng: &mut impl Rng) {
        // When no more may move, only those that have moved can go elsewhere.
        let displaced = if full { self.some_displaced(rng) } else { None };
        let guest = displaced.unwrap_or_else(|| self.some_guest(rng));
        let to = self.some_host(rng);
        self.shift_if(guest, to, temperature, rng);
    }

    fn try_home(&mut self, temperature: f64, rng: &mut impl Rng) {
        if let Some(guest) = self.some_displaced(rng) {
            self.shift_if(guest, self.home_of(guest), temperature, rng);
        }
    }

    fn shift_if(&mut self, guest: usize, to: usize, temperature: f64, rng: &mut impl Rng) {
        if !self.within([(guest, to)]) {
            return;
        }
        let bar = bar(temperature, rng);
        let Some(delta) = self.state.shift_delta_below(guest, to, bar) else { return };
        self.shift(guest, to, delta);
        self.note_best();
    }

    fn try_swap(&mut self, temperature: f64, rng: &mut impl Rng) {
        let ranks = self.by_size.len();
        let rank = rng.random_range(0..ranks);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of a count"
        )]
        let reach = 1 + (ranks as f64 * REACH * rng.random::<f64>().powi(3)) as usize;
        let like = match rng.random_range(0..ANY) {
            // Any pair must be possible: with few guests the right one may be far apart.
            0 => 0..ranks,
            _ => rank.saturating_sub(reach)..(rank + reach + 1).min(ranks),
        };
        let (one, other) = (self.by_size[rank], self.by_size[rng.random_range(like)]);
        self.swap_if(one as usize, other as usize, temperature, rng);
    }

    fn try_home_swap(&mut self, temperature: f64, rng: &mut impl Rng) {
        let Some(one) = self.some_displaced(rng) else { return };
        let there = self.state.guests_on(self.home_of(one));
        if there.is_empty() {
            return;
        }
        let mut other = there[rng.random_range(0..there.len())] as usize;
        if !self.state.instance().lingers.is_empty() {
            // What a guest leaves at its own home stays taken: a stranger's place is free.
            for _ in 0..STRANGERS {
                if self.state.is_displaced(other) {
                    break;
                }
                other = there[rng.random_range(0..there.len())] as usize;
            }
        }
        if !self.state.instance().fixed[other] {
            self.swap_if(one, other, temperature, rng);
        }
    }

    fn swap_if(&mut self, one: usize, other: usize, temperature: f64, rng: &mut impl Rng) {
        let (a, b) = (self.state.host_of(one), self.state.host_of(other));
        if a == b || !self.within([(one, b), (other, a)]) {
            return;
        }
        let bar = bar(temperature, rng);
        let Some(delta) = self.state.swap_delta_below(one, other, bar) else { return };
        self.state.swap(one, other, delta);
        self.remember(one, a);
        self.remember(other, b);
        self.note_best();
    }

    /// One displaced guest goes home and another goes out: the way on at the limit.
    fn try_exchange(&mut self, temperature: f64, rng: &mut impl Rng) {
        let Some(back) = self.some_displaced(rng) else { return };
        let (guest, to) = (self.some_guest(rng), self.some_host(rng));
        let (home, away) = (self.home_of(back), self.state.host_of(back));
        if guest == back || !self.within([(back, home), (guest, to)]) {
            return;
        }
        let Some(first) = self.state.shift_delta(back, home) else { return };
        self.state.shift(back, home, first);
        match self.state.shift_delta_below(guest, to, bar(temperature, rng) - first) {
            Some(second) => {
                self.remember(back, away);
                self.shift(guest, to, second);
                self.note_best();
            }
            None => self.state.shift(back, away, -first),
        }
    }

    /// Whether the limits are kept once these guests are there.
    pub(super) fn within<const N: usize>(&self, changes: [(usize, usize); N]) -> bool {
        if self.limits == Limits::NONE {
            return true;
        }
        let instance = self.state.instance();
        let (mut moves, mut bytes) = (self.state.displaced().len(), self.state.bytes());
        let mut more = false;
        for (guest, to) in changes {
            let size = instance.objective.bytes.get(guest).copied().unwrap_or(0.0);
            match (self.state.is_displaced(guest), self.home_of(guest) == to) {
                (false, false) => {
                    moves += 1;
                    bytes += size;
                    more = true;
                }
                (true, true) => {
                    moves -= 1;
                    bytes -= size;
                }
                _ => {}
            }
        }
        !more || (moves <= self.limits.moves && bytes <= self.limits.bytes)
    }

    fn shift(&mut self, guest: usize, to: usize, delta: f64) {
        let from = self.state.host_of(guest);
        self.state.shift(guest, to, delta);
        self.remember(guest, from);
    }

    pub(super) fn remember(&mut self, guest: usize, from: usize) {
        self.since.push((index(guest), index(from)));
    }

    pub(super) fn note_best(&mut self) {
        // Smaller gains are rounding.
        if self.state.cost() < self.best - 1e-12 * self.best.abs() {
            self.best = self.state.cost();
            self.since.clear();
            self.kept = None;
        } else if self.since.len() > 4 * self.by_size.len() + 1024 {
            if self.kept.is_none() {
                self.kept = Some(self.before_since());
            }
            self.since.clear();
        }
    }

    /// The assignment before the moves since the best.
    fn before_since(&self) -> Vec<u32> {
        let mut at = self.state.assignment().to_vec();
        for (guest, from) in self.since.iter().rev() {
            at[*guest as usize] = *from;
        }
        at
    }
}

/// The largest worsening that is accepted this time.
pub(super) fn bar(temperature: f64, rng: &mut impl Rng) -> f64 {
    -temperature * (1.0 - rng.random::<f64>()).ln()
}

/// Movable guests by the sum of their parts of what all need.
fn by_size(instance: &Instance) -> Vec<u32> {
    let r = instance.resources;
    let mut total = vec![0.0; r];
    for guest in 0..instance.guests() {
        for (total, need) in total.iter_mut().zip(instance.demand_of(guest)) {
            *total += need;
        }
    }
    let size = |guest: usize| -> f64 {
        let parts = instance.demand_of(guest).iter().zip(&total);
        parts.filter(|(_, total)| **total > 0.0).map(|(need, total)| need / total).sum()
    };
    let mut sized: Vec<(f64, u32)> = (0..instance.guests())
        .filter(|guest| !instance.fixed[*guest])
        .map(|guest| (size(guest), index(guest)))
        .collect();
    sized.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    sized.into_iter().map(|(_, guest)| guest).collect()
}
