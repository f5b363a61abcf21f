//! Forced moves: a guest goes where it does not fit, and others make room for it.
//!
//! A large guest on a host that is too small for it costs much, and every host that could
//! take it is filled with small ones. No shift or swap gains there; ten in a row would. So
//! the guest is put on the host regardless of room; then guests leave that host one by one,
//! each as cheaply as a sample shows, until it is not overfull, and on as long as that
//! gains. The whole is judged by its total change of cost, and undone when it is refused.
//!
//! Where moved guests hold resources at home too, a home that many have left has room that
//! only they can use. So displaced guests are forced home as well, and strangers make room.

use rand::{Rng, RngExt as _};

use super::state::{State, count};
use super::walk::{Walk, bar};

/// Guests that make room for one, at most; and for one that comes home.
const EXITS: (usize, usize) = (12, 4);
/// Guests that are looked at for each exit, and hosts for each of these.
const SAMPLE: (usize, u64) = (4, 8);
/// Hosts of which the one that costs most gives up a guest, at most.
const COSTLY: usize = 4;
/// Work for each single move: the square of how many times a host has fewer guests than
/// these, within bounds. Few guests on each host are large ones, and traps are many.
const CROWD: f64 = 25.0;
const SHARES: (f64, f64) = (0.2, 4.0);
/// Work of returns for each single move, where moved guests hold resources at home.
const RETURNS: f64 = 0.5;
/// Forced moves without a single move between them, at most.
const IN_A_ROW: u32 = 64;
/// Of so many guests at home one is looked at when another comes home.
const NATIVES: u32 = 4;

/// How much of the search is forced moves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Force {
    /// Work of forced moves for each single move; 0 where no host costs anything by itself,
    /// and where balance counts: there small steps lead everywhere.
    share: f64,
    /// Part of the forced moves that lead home.
    returns: f64,
    /// Work that is owed to forced moves.
    owed: f64,
    /// Forced moves since the last single one.
    in_a_row: u32,
}

impl Force {
    pub(super) fn of(state: &State<'_>) -> Self {
        let instance = state.instance();
        let balances = !instance.objective.imbalance.is_empty();
        if balances || !(0..instance.hosts()).any(|host| state.cost_of_host(host) > 0.0) {
            return Self { share: 0.0, returns: 0.0, owed: 0.0, in_a_row: 0 };
        }
        let crowd = count(instance.guests()) / count(instance.hosts()).max(1.0);
        let out = (CROWD / crowd).powi(2).clamp(SHARES.0, SHARES.1);
        let home = if instance.lingers.iter().any(|held| *held > 0.0) { RETURNS } else { 0.0 };
        Self { share: out + home, returns: home / (out + home), owed: 0.0, in_a_row: 0 }
    }

    /// Called once for each proposal: whether it is time for a forced move.
    pub(super) fn is_due(&mut self) -> bool {
        self.owed += self.share;
        // Where each fails at once more is owed than is ever paid.
        let is_due = self.owed >= 1.0 && self.in_a_row < IN_A_ROW;
        self.in_a_row = if is_due { self.in_a_row + 1 } else { 0 };
        is_due
    }

    fn pay(&mut self, work: f64) {
        self.owed -= work;
    }
}

/// A guest on its way, and what has moved for it.
struct Forced {
    guest: usize,
    from: usize,
    to: usize,
    is_return: bool,
    /// Guests with the hosts that they left, in order.
    made: Vec<(usize, usize)>,
    total: f64,
    work: u64,
}

impl Walk<'_, '_> {
    /// Forces a guest of a costly host onto another host, or a displaced one home. Returns
    /// the work that it was.
    pub(super) fn try_force(&mut self, temperature: f64, rng: &mut impl Rng) -> u64 {
        let is_return = rng.random::<f64>() < self.force.returns;
        let guest = if is_return { self.some_displaced(rng) } else { self.some_costly(rng) };
        let work = match guest {
            Some(guest) if is_return => self.force(guest, self.home_of(guest), temperature, rng),
            Some(guest) => {
                let to = self.some_host(rng);
                self.force(guest, to, temperature, rng)
            }
            None => 1,
        };
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        self.force.pay(work as f64);
        work
    }

    fn force(&mut self, guest: usize, to: usize, temperature: f64, rng: &mut impl Rng) -> u64 {
        let from = self.state.host_of(guest);
        if !self.within([(guest, to)]) {
            return 1;
        }
        let Some(first) = self.state.forced_delta_below(guest, to, f64::INFINITY) else { return 1 };
        let bar = bar(temperature, rng);
        self.state.shift(guest, to, first);
        let is_return = self.home_of(guest) == to;
        let made = vec![(guest, from)];
        let mut forced = Forced { guest, from, to, is_return, made, total: first, work: 2 };
        let most = if is_return { EXITS.1 } else { EXITS.0 };
        while forced.made.len() <= most {
            let must = self.state.is_overfull(to);
            if !must && is_return && forced.total <= bar {
                break;
            }
            let Some((other, there, delta)) = self.cheapest_exit(&mut forced, must, rng) else {
                break;
            };
            if !must && delta >= 0.0 {
                break;
            }
            self.state.shift(other, there, delta);
            forced.made.push((other, to));
            forced.total += delta;
        }
        if forced.total > bar || self.state.is_overfull(to) {
            self.undo(&forced);
        } else {
            for (guest, from) in forced.made {
                self.remember(guest, from);
            }
            self.note_best();
        }
        forced.work
    }

    fn undo(&mut self, forced: &Forced) {
        let mut delta = -forced.total;
        for (guest, from) in forced.made.iter().rev() {
            self.state.shift(*guest, *from, delta);
            delta = 0.0;
        }
    }

    /// The larger of two guests of the host that costs most of a few.
    fn some_costly(&self, rng: &mut impl Rng) -> Option<usize> {
        let host = (0..1 + rng.random_range(0..COSTLY))
            .map(|_| self.some_host(rng))
            .max_by(|a, b| self.state.cost_of_host(*a).total_cmp(&self.state.cost_of_host(*b)))?;
        let on = self.state.guests_on(host);
        if on.is_empty() {
            return None;
        }
        let one = on[rng.random_range(0..on.len())] as usize;
        let other = on[rng.random_range(0..on.len())] as usize;
        let guest = if self.rank[one] > self.rank[other] { one } else { other };
        (!self.state.instance().fixed[guest]).then_some(guest)
    }

    /// The guest that leaves the host most cheaply, and where to, of a sample; if it `must`
    /// be, one that needs what is missing.
    fn cheapest_exit(
        &self,
        forced: &mut Forced,
        must: bool,
        rng: &mut impl Rng,
    ) -> Option<(usize, usize, f64)> {
        let on = self.state.guests_on(forced.to);
        let mut best: Option<(usize, usize, f64)> = None;
        for _ in 0..SAMPLE.0 {
            let guest = on[rng.random_range(0..on.len())] as usize;
            if guest == forced.guest
                || self.state.instance().fixed[guest]
                || (must && !self.state.relieves(guest, forced.to))
                || (forced.is_return
                    && !self.state.is_displaced(guest)
                    && rng.random_range(0..NATIVES) > 0)
            {
                continue;
            }
            forced.work += SAMPLE.1;
            for turn in 0..SAMPLE.1 {
                let to = if turn == 0 { forced.from } else { self.some_host(rng) };
                let least = best.map_or(f64::INFINITY, |best| best.2);
                if let Some(delta) = self.state.shift_delta_below(guest, to, least)
                    && delta < least
                    && self.within([(guest, to)])
                {
                    best = Some((guest, to, delta));
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_moves_have_their_turn_where_every_forced_one_fails_at_once() {
        let mut force = Force { share: 4.5, returns: 0.0, owed: 0.0, in_a_row: 0 };
        let mut single = 0;
        for _ in 0..1_000 {
            if force.is_due() {
                force.pay(1.0);
            } else {
                single += 1;
            }
        }
        assert!(single >= 10, "{single}");
    }
}
