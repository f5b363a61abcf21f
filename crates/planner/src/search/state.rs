//! An assignment with all its sums, and the exact change that a move would bring.

use super::census::Census;
use super::instance::{Imbalance, Instance};
use super::loads::{Loads, ROUNDING, Row};
use super::moments::Moments;

/// Guests on hosts.
#[derive(Debug, Clone)]
pub struct State<'a> {
    instance: &'a Instance,
    at: Vec<u32>,
    loads: Loads,
    on: Vec<Vec<u32>>,
    position: Vec<u32>,
    host_cost: Vec<f64>,
    moments: Vec<Moments>,
    deviations: Vec<f64>,
    census: Census,
    displaced: Vec<u32>,
    displaced_at: Vec<u32>,
    bytes: f64,
    cost: f64,
}

impl<'a> State<'a> {
    /// Every guest at home.
    pub fn at_home(instance: &'a Instance) -> Self {
        Self::of(instance, instance.home.clone())
    }

    /// Guests where `at` says.
    pub fn of(instance: &'a Instance, at: Vec<u32>) -> Self {
        let (hosts, guests) = (instance.hosts(), instance.guests());
        let mut state = Self {
            instance,
            loads: Loads::of(instance),
            on: vec![Vec::new(); hosts],
            position: vec![0; guests],
            host_cost: vec![0.0; hosts],
            moments: Vec::new(),
            deviations: Vec::new(),
            census: Census::of(instance, &at),
            displaced: Vec::new(),
            displaced_at: vec![u32::MAX; guests],
            bytes: 0.0,
            cost: 0.0,
            at,
        };
        for guest in 0..guests {
            let host = state.at[guest] as usize;
            state.position[guest] = index(state.on[host].len());
            state.on[host].push(index(guest));
            state.loads.add(guest, host);
            state.note_displacement(guest, instance.home[guest] as usize, host);
        }
        state.recount();
        state
    }

    /// The problem.
    pub const fn instance(&self) -> &'a Instance {
        self.instance
    }

    /// Where each guest is.
    pub fn assignment(&self) -> &[u32] {
        &self.at
    }

    /// Where a guest is.
    pub fn host_of(&self, guest: usize) -> usize {
        self.at[guest] as usize
    }

    /// The guests of a host, in no order.
    pub fn guests_on(&self, host: usize) -> &[u32] {
        &self.on[host]
    }

    /// What the host and its guests use.
    pub fn used(&self, host: usize) -> &[f64] {
        self.loads.used(host)
    }

    /// What the host has left of each resource.
    pub fn slack(&self, host: usize) -> &[f64] {
        self.loads.slack(host)
    }

    /// What is minimised.
    pub const fn cost(&self) -> f64 {
        self.cost
    }

    /// The part of the cost that a host causes by itself.
    pub fn cost_of_host(&self, host: usize) -> f64 {
        self.host_cost[host]
    }

    /// The part of the cost that overload, stranded resources and imbalance cause.
    pub fn unevenness(&self) -> f64 {
        let terms = self.instance.objective.imbalance.iter().zip(&self.deviations);
        let uneven: f64 = terms.map(|(term, deviation)| term.weight * deviation).sum();
        self.host_cost.iter().sum::<f64>() + uneven
    }

    /// Guests that are not at home, in no order.
    pub fn displaced(&self) -> &[u32] {
        &self.displaced
    }

    /// What the displaced guests make to send.
    pub const fn bytes(&self) -> f64 {
        self.bytes
    }

    /// Whether a guest is away from home.
    pub fn is_displaced(&self, guest: usize) -> bool {
        self.displaced_at[guest] != u32::MAX
    }

    /// Computes every sum anew: rounding does not add up.
    pub fn recount(&mut self) {
        let instance = self.instance;
        let objective = &instance.objective;
        self.host_cost = (0..instance.hosts()).map(|host| self.host_cost_now(host)).collect();
        self.moments = objective
            .imbalance
            .iter()
            .map(|term| {
                let counted = term.scale.iter().filter(|scale| **scale > 0.0).count();
                let part = if counted > 0 { 1.0 / count(counted) } else { 0.0 };
                let mut moments = Moments::of(part);
                for host in 0..instance.hosts() {
                    let x = term.scale[host] * self.used(host)[term.resource];
                    moments = moments.replaced(0.0, x);
                }
                moments
            })
            .collect();
        self.deviations = self.moments.iter().map(|moments| moments.deviation()).collect();
        let loads: f64 = self.host_cost.iter().sum();
        let uneven: f64 =
            objective.imbalance.iter().zip(&self.deviations).map(|(term, x)| term.weight * x).sum();
        let presence: f64 = (0..instance.hosts())
            .map(|host| {
                let awake = objective.awake.get(host).filter(|_| !self.on[host].is_empty());
                let shun = objective.shun.get(host).copied().unwrap_or(0.0);
                awake.copied().unwrap_or(0.0) + shun * count(self.on[host].len())
            })
            .sum();
        let places: f64 =
            (0..instance.guests()).map(|guest| self.place_cost(guest, self.host_of(guest))).sum();
        self.cost = loads + uneven + presence + places + self.census.cost(instance);
    }

    /// The change of cost if the guest went there; none when it may not.
    pub fn shift_delta(&self, guest: usize, to: usize) -> Option<f64> {
        self.shift_delta_below(guest, to, f64::INFINITY)
    }

    /// [`Self::shift_delta`], none also when it is above `bar`: most moves fail there, so
    /// what costs most to compute comes last.
    pub fn shift_delta_below(&self, guest: usize, to: usize, bar: f64) -> Option<f64> {
        if self.fits(guest, to) { self.forced_delta_below(guest, to, bar) } else { None }
    }

    /// [`Self::shift_delta_below`], whether or not the host has the room.
    pub(super) fn forced_delta_below(&self, guest: usize, to: usize, bar: f64) -> Option<f64> {
        let instance = self.instance;
        let from = self.host_of(guest);
        if from == to || !instance.may_use(guest, to) {
            return None;
        }
        let delta = self.loads_delta(from, to, self.loads.need(guest))
            + self.awake_delta(from, -1)
            + self.awake_delta(to, 1)
            + self.shun_delta(from, to)
            + self.place_cost(guest, to)
            - self.place_cost(guest, from);
        if instance.member_of[guest].is_empty() {
            return (delta <= bar).then_some(delta);
        }
        if delta - self.census.most_gain() > bar {
            return None;
        }
        let delta = delta + self.census.shift(instance, &self.at, guest, from, to)?;
        (delta <= bar).then_some(delta)
    }

    /// The change of cost if two guests changed places; none when they may not.
    pub fn swap_delta(&mut self, one: usize, other: usize) -> Option<f64> {
        self.swap_delta_below(one, other, f64::INFINITY)
    }

    /// [`Self::swap_delta`], none also when it is above `bar`.
    pub fn swap_delta_below(&mut self, one: usize, other: usize, bar: f64) -> Option<f64> {
        let (a, b) = (self.host_of(one), self.host_of(other));
        let instance = self.instance;
        if a == b || !instance.may_use(one, b) || !instance.may_use(other, a) {
            return None;
        }
        self.loads.compare(one, other);
        if !self.fits_for(one, b, other, 1.0) || !self.fits_for(other, a, one, -1.0) {
            return None;
        }
        let delta = self.loads_delta(a, b, self.loads.difference()) + self.place_cost(one, b)
            - self.place_cost(one, a)
            + self.place_cost(other, a)
            - self.place_cost(other, b);
        if delta - 2.0 * self.census.most_gain() > bar {
            return None;
        }
        let delta = delta + self.swap_groups(one, other)?;
        (delta <= bar).then_some(delta)
    }

    /// Moves a guest; `delta` is what [`Self::shift_delta`] said.
    pub fn shift(&mut self, guest: usize, to: usize, delta: f64) {
        let from = self.host_of(guest);
        self.transfer(from, to, |loads| loads.need(guest));
        self.relocate(guest, from, to);
        self.refresh([from, to]);
        self.cost += delta;
    }

    /// Lets two guests change places; `delta` is what [`Self::swap_delta`] said.
    pub fn swap(&mut self, one: usize, other: usize, delta: f64) {
        let (a, b) = (self.host_of(one), self.host_of(other));
        self.loads.compare(one, other);
        self.transfer(a, b, Loads::difference);
        self.relocate(one, a, b);
        self.relocate(other, b, a);
        self.refresh([a, b]);
        self.cost += delta;
    }

    /// Puts every guest where `at` says and computes all anew.
    pub fn adopt(&mut self, at: &[u32]) {
        *self = Self::of(self.instance, at.to_vec());
    }

    fn relocate(&mut self, guest: usize, from: usize, to: usize) {
        let instance = self.instance;
        self.loads.remove(guest, from);
        self.loads.add(guest, to);
        let place = self.position[guest] as usize;
        self.on[from].swap_remove(place);
        if let Some(moved) = self.on[from].get(place) {
            self.position[*moved as usize] = index(place);
        }
        self.position[guest] = index(self.on[to].len());
        self.on[to].push(index(guest));
        self.census.relocate(instance, guest, from, to);
        self.at[guest] = index(to);
        self.note_displacement(guest, from, to);
    }

    fn note_displacement(&mut self, guest: usize, from: usize, to: usize) {
        let home = self.instance.home[guest] as usize;
        let (was, is) = (from != home, to != home);
        if was == is {
            return;
        }
        let sign = if is { 1.0 } else { -1.0 };
        self.bytes += sign * self.instance.objective.bytes.get(guest).copied().unwrap_or(0.0);
        self.loads.linger(guest, home, sign);
        if is {
            self.displaced_at[guest] = index(self.displaced.len());
            self.displaced.push(index(guest));
        } else {
            let place = self.displaced_at[guest] as usize;
            self.displaced.swap_remove(place);
            if let Some(moved) = self.displaced.get(place) {
                self.displaced_at[*moved as usize] = index(place);
            }
            self.displaced_at[guest] = u32::MAX;
        }
    }

    /// The moments once something has gone from one host to another.
    fn transfer(&mut self, from: usize, to: usize, what: impl Fn(&Loads) -> &Row) {
        for (k, term) in self.instance.objective.imbalance.iter().enumerate() {
            let change = what(&self.loads).as_flattened()[term.resource];
            self.moments[k] = self.moments_after(term, self.moments[k], from, to, change);
            self.deviations[k] = self.moments[k].deviation();
        }
    }

    fn refresh(&mut self, hosts: [usize; 2]) {
        for host in hosts {
            self.host_cost[host] = self.host_cost_now(host);
        }
    }

    /// Whether more is used of a host than it has.
    pub(super) fn is_overfull(&self, host: usize) -> bool {
        self.slack(host).iter().any(|slack| *slack < -ROUNDING)
    }

    /// Whether a host is overfull, and a guest needs something that it has not.
    pub(super) fn relieves(&self, guest: usize, host: usize) -> bool {
        let need = self.instance.demand_of(guest);
        self.slack(host).iter().zip(need).any(|(slack, need)| *slack < -ROUNDING && *need > 0.0)
    }

    fn fits(&self, guest: usize, to: usize) -> bool {
        self.loads.fits(guest, to, self.instance.home[guest] as usize == to)
    }

    /// Whether `guest` fits on `to` once `leaving` has left it.
    fn fits_for(&self, guest: usize, to: usize, leaving: usize, sign: f64) -> bool {
        let home = &self.instance.home;
        let comes = (guest, home[guest] as usize == to);
        self.loads.swap_fits(to, sign, comes, (leaving, home[leaving] as usize == to))
    }

    fn swap_groups(&mut self, one: usize, other: usize) -> Option<f64> {
        let instance = self.instance;
        let (a, b) = (self.host_of(one), self.host_of(other));
        if instance.member_of[one].is_empty() && instance.member_of[other].is_empty() {
            return Some(0.0);
        }
        let (mine, theirs) = (&instance.member_of[one], &instance.member_of[other]);
        let first = self.census.shift_beside(instance, &self.at, one, a, b, theirs)?;
        if mine.is_empty() {
            return Some(first + self.census.shift(instance, &self.at, other, b, a)?);
        }
        self.census.relocate(instance, one, a, b);
        self.at[one] = index(b);
        let second = self.census.shift_beside(instance, &self.at, other, b, a, mine);
        self.census.relocate(instance, one, b, a);
        self.at[one] = index(a);
        Some(first + second?)
    }

    /// Change of what two hosts' use costs when `need` goes from one to the other.
    fn loads_delta(&self, from: usize, to: usize, need: &Row) -> f64 {
        let objective = &self.instance.objective;
        let mut delta = 0.0;
        if !objective.limit.is_empty() || !objective.stranded.is_empty() {
            delta += self.load_cost(from, need, -1.0) + self.load_cost(to, need, 1.0)
                - self.host_cost[from]
                - self.host_cost[to];
        }
        for (k, term) in objective.imbalance.iter().enumerate() {
            let change = need.as_flattened()[term.resource];
            let after = self.moments_after(term, self.moments[k], from, to, change);
            delta += term.weight * (after.deviation() - self.deviations[k]);
        }
        delta
    }

    fn moments_after(
        &self,
        term: &Imbalance,
        moments: Moments,
        from: usize,
        to: usize,
        change: f64,
    ) -> Moments {
        let x = |host: usize, more: f64| term.scale[host] * (self.used(host)[term.resource] + more);
        moments.replaced(x(from, 0.0), x(from, -change)).replaced(x(to, 0.0), x(to, change))
    }

    fn host_cost_now(&self, host: usize) -> f64 {
        self.load_cost(host, self.loads.nothing(), 0.0)
    }

    /// Overload and stranded resources of a host whose use changes by `sign × need`.
    fn load_cost(&self, host: usize, need: &Row, sign: f64) -> f64 {
        let mut cost = self.loads.overload(host, need, sign);
        let stranded = &self.instance.objective.stranded;
        if !stranded.is_empty() {
            let r = self.instance.resources;
            let (used, need) = (&self.used(host)[..r], &need.as_flattened()[..r]);
            let capacity = &self.instance.capacity[host * r..][..r];
            let free = |i: usize| capacity[i] - (used[i] + sign * need[i]);
            for term in stranded {
                cost += term.weight * (term.ratio * free(term.of) - free(term.with)).max(0.0);
            }
        }
        cost
    }

    /// Change when the number of guests of a host changes by one.
    fn awake_delta(&self, host: usize, by: i8) -> f64 {
        let Some(cost) = self.instance.objective.awake.get(host) else { return 0.0 };
        match (self.on[host].len(), by) {
            (1, -1) => -cost,
            (0, 1) => *cost,
            _ => 0.0,
        }
    }

    fn shun_delta(&self, from: usize, to: usize) -> f64 {
        let shun = &self.instance.objective.shun;
        if shun.is_empty() { 0.0 } else { shun[to] - shun[from] }
    }

    /// What it costs that a guest is there rather than at home, or there at all.
    fn place_cost(&self, guest: usize, host: usize) -> f64 {
        let instance = self.instance;
        let objective = &instance.objective;
        let home = instance.home[guest] as usize;
        let dislike = &instance.classes[instance.class[guest] as usize].dislike;
        let mut cost = if dislike.is_empty() { 0.0 } else { dislike[host] };
        if host != home {
            cost += objective.displacement.get(guest).copied().unwrap_or(0.0);
            cost += objective.distance.get(home * instance.hosts() + host).copied().unwrap_or(0.0);
        }
        cost
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) const fn count(number: usize) -> f64 {
    number as f64
}

pub(crate) fn index(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 2^32 of anything: the instance was checked")
}
