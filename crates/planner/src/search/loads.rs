//! What hosts use and have left, and what guests need, in rows of one width.
//!
//! A row has as many lanes as hold all resources; what is left over of the last one needs
//! nothing and costs nothing. So whether a guest fits, and what a host would cost with it, are
//! a few steps without branches, and most of a search is these two.

use super::instance::Instance;

/// A host may exceed its capacity by rounding only, in the unit of the resource.
pub(super) const ROUNDING: f64 = 1e-6;

/// Resources that are looked at in one step.
const LANES: usize = 4;
type Lane = [f64; LANES];
/// Amounts of every resource.
pub(super) type Row = [Lane];

/// Loads of hosts and needs of guests.
#[derive(Debug, Clone)]
pub(super) struct Loads {
    resources: usize,
    /// Lanes of a row.
    width: usize,
    used: Vec<Lane>,
    /// Capacity less what is used and what moved guests still hold, of transient resources.
    slack: Vec<Lane>,
    needs: Vec<Lane>,
    /// What each guest holds at home when it has gone; empty where nothing lingers.
    lingers: Vec<Lane>,
    /// Where overload begins, by host; empty where it costs nothing.
    limits: Vec<Lane>,
    /// Cost of one unit above the limit.
    overload: Vec<Lane>,
    nothing: Vec<Lane>,
    /// What two guests' needs differ by.
    difference: Vec<Lane>,
}

impl Loads {
    /// Loads of hosts without guests.
    pub(super) fn of(instance: &Instance) -> Self {
        let resources = instance.resources;
        let width = resources.div_ceil(LANES);
        let free: Vec<f64> =
            instance.capacity.iter().zip(&instance.base).map(|(has, base)| has - base).collect();
        let costs = if instance.objective.limit.is_empty() { 0 } else { resources };
        let nothing = vec![[0.0; LANES]; width];
        Self {
            resources,
            width,
            used: rows(&instance.base, resources),
            slack: rows(&free, resources),
            needs: rows(&instance.demand, resources),
            lingers: rows(&instance.lingers, resources),
            limits: rows(&instance.objective.limit, resources),
            overload: rows(&instance.objective.overload[..costs], resources),
            difference: nothing.clone(),
            nothing,
        }
    }

    /// What the host and its guests use.
    pub(super) fn used(&self, host: usize) -> &[f64] {
        &row(&self.used, self.width, host).as_flattened()[..self.resources]
    }

    /// What the host has left.
    pub(super) fn slack(&self, host: usize) -> &[f64] {
        &row(&self.slack, self.width, host).as_flattened()[..self.resources]
    }

    /// What a guest needs.
    pub(super) fn need(&self, guest: usize) -> &Row {
        row(&self.needs, self.width, guest)
    }

    /// A guest comes to a host.
    pub(super) fn add(&mut self, guest: usize, host: usize) {
        self.change(guest, host, 1.0);
    }

    /// A guest leaves a host.
    pub(super) fn remove(&mut self, guest: usize, host: usize) {
        self.change(guest, host, -1.0);
    }

    fn change(&mut self, guest: usize, host: usize, sign: f64) {
        let width = self.width;
        let need = row(&self.needs, width, guest);
        let used = &mut self.used[host * width..][..width];
        let slack = &mut self.slack[host * width..][..width];
        for ((used, slack), need) in used.iter_mut().zip(slack).zip(need) {
            *used = each(|lane| used[lane] + sign * need[lane]);
            *slack = each(|lane| slack[lane] - sign * need[lane]);
        }
    }

    /// A guest is away from home from now on: it still holds something there. With `sign` -1 it
    /// no longer is.
    pub(super) fn linger(&mut self, guest: usize, home: usize, sign: f64) {
        if self.lingers.is_empty() {
            return;
        }
        let lingers = row(&self.lingers, self.width, guest);
        let slack = &mut self.slack[home * self.width..][..self.width];
        for (slack, held) in slack.iter_mut().zip(lingers) {
            *slack = each(|lane| slack[lane] - sign * held[lane]);
        }
    }

    /// Whether a guest fits on a host; at home it holds already what it left there.
    pub(super) fn fits(&self, guest: usize, host: usize, is_home: bool) -> bool {
        let need = self.need(guest).iter();
        if !is_home || self.lingers.is_empty() {
            return self.has_room(host, need.copied());
        }
        let held = row(&self.lingers, self.width, guest);
        let more = need.zip(held).map(|(need, held)| each(|lane| need[lane] - held[lane]));
        self.has_room(host, more)
    }

    /// Notes what one guest needs more than another.
    pub(super) fn compare(&mut self, one: usize, other: usize) {
        let (one, other) = (row(&self.needs, self.width, one), row(&self.needs, self.width, other));
        for ((change, one), other) in self.difference.iter_mut().zip(one).zip(other) {
            *change = each(|lane| one[lane] - other[lane]);
        }
    }

    /// What was compared last.
    pub(super) fn difference(&self) -> &Row {
        &self.difference
    }

    /// Whether `one` of the guests compared last fits in the place of the `other`, or with
    /// `sign` -1 the other in its place. Each with whether that host is its home.
    pub(super) fn swap_fits(
        &self,
        host: usize,
        sign: f64,
        comes: (usize, bool),
        leaves: (usize, bool),
    ) -> bool {
        let change = self.difference.iter().map(|change| each(|lane| sign * change[lane]));
        if self.lingers.is_empty() || !(comes.1 || leaves.1) {
            return self.has_room(host, change);
        }
        let part = |is_home: bool| if is_home { 1.0 } else { 0.0 };
        let (held, left) = (part(comes.1), part(leaves.1));
        let of = |guest: usize| row(&self.lingers, self.width, guest);
        let lingers = of(comes.0).iter().zip(of(leaves.0));
        self.has_room(
            host,
            change.zip(lingers).map(|(change, (comes, leaves))| {
                each(|lane| (change[lane] - held * comes[lane]) + left * leaves[lane])
            }),
        )
    }

    /// Whether a host has so much more left. What is not needed need not be there.
    fn has_room(&self, host: usize, more: impl Iterator<Item = Lane>) -> bool {
        let mut missing = [f64::NEG_INFINITY; LANES];
        for (slack, more) in row(&self.slack, self.width, host).iter().zip(more) {
            let room: Lane = each(|lane| above_zero(slack[lane] + ROUNDING));
            missing = each(|lane| larger(missing[lane], more[lane] - room[lane]));
        }
        larger(larger(missing[0], missing[1]), larger(missing[2], missing[3])) <= 0.0
    }

    /// What overload of a host costs once its use has changed by `sign × more`.
    pub(super) fn overload(&self, host: usize, more: &Row, sign: f64) -> f64 {
        if self.limits.is_empty() {
            return 0.0;
        }
        let mut cost = [0.0; LANES];
        let used = row(&self.used, self.width, host).iter().zip(more);
        let limits = row(&self.limits, self.width, host).iter().zip(&self.overload);
        for ((used, more), (limit, weight)) in used.zip(limits) {
            let over: Lane = each(|lane| above_zero(used[lane] + sign * more[lane] - limit[lane]));
            cost = each(|lane| cost[lane] + weight[lane] * over[lane]);
        }
        (cost[0] + cost[1]) + (cost[2] + cost[3])
    }

    /// What no guest needs.
    pub(super) fn nothing(&self) -> &Row {
        &self.nothing
    }
}

fn row(table: &[Lane], width: usize, number: usize) -> &Row {
    &table[number * width..][..width]
}

/// Amounts of `resources` each, in rows; what is left over of a row is zero.
fn rows(flat: &[f64], resources: usize) -> Vec<Lane> {
    let mut rows = Vec::new();
    for amounts in flat.chunks(resources.max(1)) {
        rows.extend(amounts.chunks(LANES).map(|amounts| {
            let mut lane = [0.0; LANES];
            lane[..amounts.len()].copy_from_slice(amounts);
            lane
        }));
    }
    rows
}

fn each(amount: impl Fn(usize) -> f64) -> Lane {
    std::array::from_fn(amount)
}

// Not `f64::max`, which asks whether one is no number: these are one instruction.
fn larger(one: f64, other: f64) -> f64 {
    if one > other { one } else { other }
}

fn above_zero(amount: f64) -> f64 {
    if amount > 0.0 { amount } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_pcg::Pcg64;

    use super::super::instance::Objective;
    use super::*;

    /// Amounts that often meet each other: 0, 1, 2 or 3.
    fn amounts(number: usize, rng: &mut Pcg64) -> Vec<f64> {
        (0..number).map(|_| f64::from(rng.random_range(0..4_u8))).collect()
    }

    /// Three guests, all at home on the first of two hosts, with so many resources.
    fn instance(resources: usize, lingers: bool, rng: &mut Pcg64) -> Instance {
        let mut capacity: Vec<f64> =
            amounts(2 * resources, rng).iter().map(|amount| 3.0 * amount).collect();
        capacity[resources - 1] = f64::INFINITY;
        Instance {
            resources,
            capacity,
            base: amounts(2 * resources, rng),
            demand: amounts(3 * resources, rng),
            lingers: if lingers { amounts(3 * resources, rng) } else { Vec::new() },
            objective: Objective {
                limit: amounts(2 * resources, rng),
                overload: amounts(resources, rng),
                ..Objective::default()
            },
            ..Instance::default()
        }
    }

    /// Whether a host with so much left takes `more`, amount by amount.
    fn has_room(slack: &[f64], more: impl Fn(usize) -> f64) -> bool {
        (0..slack.len()).all(|r| more(r) <= 0.0 || more(r) <= slack[r] + ROUNDING)
    }

    #[test]
    fn rows_say_what_the_amounts_say() {
        let mut rng = Pcg64::seed_from_u64(7);
        let (mut yes, mut no) = (0, 0);
        for round in 0..4_000 {
            let resources = 1 + round % 9;
            let lingers = round % 2 == 0;
            let instance = instance(resources, lingers, &mut rng);
            let mut loads = Loads::of(&instance);
            loads.add(0, 0);
            loads.add(1, 0);
            loads.add(2, 0);
            // The third guest is away from home.
            loads.remove(2, 0);
            loads.add(2, 1);
            loads.linger(2, 0, 1.0);

            let used: Vec<f64> = loads.used(1).to_vec();
            let slack: Vec<f64> = loads.slack(0).to_vec();
            for r in 0..resources {
                assert_eq!(used[r], instance.base[resources + r] + instance.demand_of(2)[r]);
                let held = instance.demand_of(0)[r] + instance.demand_of(1)[r];
                let left = instance.capacity[r] - instance.base[r] - held;
                assert_eq!(slack[r], left - instance.lingering(2, r));
            }

            let need = |guest: usize, r: usize| instance.demand_of(guest)[r];
            let comes_home = |r: usize| need(2, r) - instance.lingering(2, r);
            let leaves_home = |r: usize| need(0, r) - instance.lingering(0, r);
            for (told, expected) in [
                (loads.fits(0, 1, false), has_room(loads.slack(1), |r| need(0, r))),
                (loads.fits(2, 0, true), has_room(&slack, comes_home)),
            ] {
                assert_eq!(told, expected, "{instance:?}");
                *(if told { &mut yes } else { &mut no }) += 1;
            }
            loads.compare(2, 0);
            let back = loads.swap_fits(0, 1.0, (2, true), (0, true));
            assert_eq!(back, has_room(&slack, |r| comes_home(r) - leaves_home(r)), "{instance:?}");
            let out = loads.swap_fits(1, -1.0, (0, false), (2, false));
            let expected = has_room(loads.slack(1), |r| need(0, r) - need(2, r));
            assert_eq!(out, expected, "{instance:?}");

            let Objective { limit, overload, .. } = &instance.objective;
            let over = |r: usize| (used[r] - need(1, r) - limit[resources + r]).max(0.0);
            let cost: f64 = (0..resources).map(|r| overload[r] * over(r)).sum();
            assert_eq!(loads.overload(1, loads.need(1), -1.0), cost, "{instance:?}");
        }
        assert!(yes > 500 && no > 500, "{yes} fit and {no} do not");
    }
}
