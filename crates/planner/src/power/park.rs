//! Which hosts to park, and why the others stay on.

use std::time::Duration;

use drover_model::Timestamp;

use super::Turn;
use super::decision::{Kept, Park, Refusal, Wake};
use super::need::{Capacity, real};
use super::schedule;
use super::state::State;
use super::view::MachineState;
use crate::consolidate::{LoadMove, Scratch};

/// What moving a GiB costs, Wh: 9 s at 1 Gbit/s, in which sending and receiving it takes about
/// 20 W on either host.
pub const WH_PER_GIB_MOVED: f64 = 0.1;
/// Reserve that a host keeps when it takes a guest, standard deviations: as in `consolidate`.
const FIT_SIGMAS: f64 = 1.0;
/// Hosts whose guests find no room before a turn gives up: looking is what takes time.
const TRIES: usize = 16;
/// Nobody plans further: a stay is at most a day.
const DAY: Duration = Duration::from_secs(86_400);
/// Steps in which the schedule is looked at over that day.
const STEP: Duration = Duration::from_secs(300);

/// Why nothing at all is parked in this turn.
pub(super) fn held(turn: &Turn<'_>, state: &State, wakes: &[Wake], unmet: bool) -> Option<Refusal> {
    let (parameters, now) = (&turn.parameters, turn.now);
    let machines = &turn.view.machines;
    let waking = |machine: &super::Machine| matches!(machine.state, MachineState::Waking { .. });
    if !parameters.follows_load {
        return Some(Refusal::Level);
    }
    if unmet || !wakes.is_empty() || machines.iter().any(waking) {
        return Some(Refusal::Waking);
    }
    if let Some(since) = state.short {
        return Some(Refusal::Short { since });
    }
    let known = state.watching.unwrap_or(now).plus(parameters.down_window);
    if known > now {
        return Some(Refusal::Watching { until: known });
    }
    let pressed = state.pressed.map(|at| at.plus(parameters.down_window));
    if let Some(until) = pressed.filter(|until| *until > now) {
        return Some(Refusal::Pressed { until });
    }
    // Whoever relieves it may need the room: parking it away would only wake it again.
    let asked = |host: &usize| -> f64 {
        let guests = &turn.view.load.hosts[*host].guests;
        guests.iter().map(|guest| turn.demand[*guest].now).sum()
    };
    let over = |host: &usize| asked(host) > turn.view.load.hosts[*host].capacity;
    if let Some(host) = (0..machines.len()).filter(|host| machines[*host].is_on()).find(over) {
        return Some(Refusal::Overloaded { host: machines[host].id });
    }
    let policy = turn.policy;
    let allowed = schedule::may_park(&policy.schedule, now, policy.utc_offset_s);
    (!allowed).then_some(Refusal::Schedule)
}

/// Hosts to park, and why each other that is on is not.
pub(super) fn parks(turn: &Turn<'_>, state: &State) -> (Vec<Park>, Vec<Kept>) {
    let mut search = Search::new(turn, state);
    let (mut parks, mut kept) = (Vec::new(), Vec::new());
    let mut tries = 0;
    for host in search.candidates() {
        let outcome = search.own(host).and_then(|()| {
            if search.parking >= search.most {
                Err(Refusal::EnoughAtOnce { most: search.most })
            } else if tries >= TRIES {
                Err(Refusal::NotTried)
            } else {
                search.judge(host)
            }
        });
        match outcome {
            Ok(park) => parks.push(park),
            Err(why) => {
                tries += usize::from(matches!(why, Refusal::NoRoom { .. }));
                kept.push(Kept { host: turn.view.machines[host].id, why });
            }
        }
    }
    // A guest may have been handed on by a host that was parked after its own.
    let moves = search.scratch.moves();
    let home = |step: &LoadMove| turn.view.load.guests[step.guest].host;
    for park in &mut parks {
        let host = turn.view.machines.iter().position(|machine| machine.id == park.host);
        park.moves = moves.iter().filter(|step| home(step) == host).copied().collect();
    }
    (parks, kept)
}

struct Search<'a> {
    turn: &'a Turn<'a>,
    scratch: Scratch<'a>,
    /// Hosts that are on and stay so.
    open: Vec<usize>,
    /// Hosts on their way to sleep, and how many may be.
    parking: usize,
    most: usize,
    /// What must remain.
    need: Capacity,
    each: f64,
    usual_stay: Duration,
}

impl<'a> Search<'a> {
    fn new(turn: &'a Turn<'a>, state: &State) -> Self {
        let machines = &turn.view.machines;
        let open = turn.open();
        let each = turn.each();
        let parking = machines.iter().filter(|of| of.is_going()).count();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a small count"
        )]
        let most = (turn.parameters.parks_at_once * real(open.len())).floor() as usize;
        Self {
            scratch: Scratch::new(&turn.view.load, turn.demand.clone()),
            need: turn.highest_need(state, each),
            usual_stay: state.usual_stay(),
            most: most.max(1),
            turn,
            open,
            parking,
            each,
        }
    }

    /// Hosts that are on, what is least worth keeping first: inefficient, then cheap to empty.
    fn candidates(&self) -> Vec<usize> {
        let bytes = |host: usize| -> f64 {
            let guests = &self.scratch.slots[host].guests;
            guests.iter().map(|guest| self.turn.view.load.guests[*guest].image_mb).sum()
        };
        let count = |host: usize| self.scratch.slots[host].guests.len();
        let mut hosts = self.open.clone();
        hosts.sort_by(|&a, &b| {
            let empty = |host: usize| count(host) == 0;
            let efficient =
                self.scratch.watts_per_unit(b).total_cmp(&self.scratch.watts_per_unit(a));
            let load = self.scratch.slots[a].mean.total_cmp(&self.scratch.slots[b].mean);
            let cheap = count(a).cmp(&count(b)).then(bytes(a).total_cmp(&bytes(b))).then(load);
            empty(b).cmp(&empty(a)).then(efficient).then(cheap).then(a.cmp(&b))
        });
        hosts
    }

    /// Decides on one host; if it is parked, its guests are moved in the scratch.
    fn judge(&mut self, host: usize) -> Result<Park, Refusal> {
        let rest: Vec<usize> = self.open.iter().copied().filter(|other| *other != host).collect();
        let stay = self.stay(host, &rest)?;
        let before = self.watts(host, &rest);
        let moves = self.empty(host, &rest)?;
        let judged = self.price(host, &rest, before, stay, &moves);
        match judged.and_then(|park| self.survives(&rest).map(|()| park)) {
            Ok(park) => {
                self.open = rest;
                self.parking += 1;
                Ok(park)
            }
            Err(why) => {
                self.put_back(host, &moves);
                Err(why)
            }
        }
    }

    /// What the host itself says.
    fn own(&self, host: usize) -> Result<(), Refusal> {
        let machine = &self.turn.view.machines[host];
        if machine.excluded {
            return Err(Refusal::Excluded);
        }
        if let Some(reason) = &machine.may_not_park {
            return Err(Refusal::MayNot { reason: reason.clone() });
        }
        let MachineState::On { since } = machine.state else { return Err(Refusal::Waking) };
        let until = since.plus(machine.min_on);
        if until > self.turn.now { Err(Refusal::MinimumOn { until }) } else { Ok(()) }
    }

    /// How long the others will be enough; an error where they are not now, or not for long
    /// enough to go down and come back.
    fn stay(&self, host: usize, rest: &[usize]) -> Result<Duration, Refusal> {
        let (turn, now) = (self.turn, self.turn.now);
        if rest.is_empty() {
            return Err(Refusal::Last);
        }
        let left = turn.capacity(rest, turn.policy.reserve);
        if !left.covers(&self.need) || rest.len() < turn.policy.reserve {
            return Err(Refusal::Needed {
                need: self.need.cpu,
                capacity: left.cpu,
                memory_mb: self.need.memory_mb,
                memory_capacity_mb: left.memory_mb,
            });
        }
        let machine = &turn.view.machines[host];
        let least = machine.min_off + machine.wake_time;
        let mut stay = if turn.view.course.is_empty() { self.usual_stay } else { DAY };
        let sigmas = turn.parameters.park_sigmas;
        let coming = turn.view.course.iter().filter(|of| of.until > now);
        let high = |of: &&super::Expected| turn.expected_need(of, sigmas, self.each).cpu > left.cpu;
        if let Some(of) = coming.into_iter().find(high) {
            stay = stay.min(of.from.since(now));
            if stay < least {
                return Err(Refusal::Soon { at: of.from });
            }
        }
        if let Some((at, wanted)) = self.next_scheduled(rest.len()) {
            stay = stay.min(at.since(now));
            if stay < least {
                return Err(Refusal::ScheduleAwake { wanted });
            }
        }
        Ok(stay)
    }

    /// When the schedule next wants more hosts than these awake, within a day.
    fn next_scheduled(&self, hosts: usize) -> Option<(Timestamp, usize)> {
        if self.turn.policy.schedule.is_empty() {
            return None;
        }
        let steps = DAY.as_secs() / STEP.as_secs();
        let moments =
            (0..=steps).map(|n| self.turn.now.plus(Duration::from_secs(STEP.as_secs() * n)));
        moments.map(|at| (at, self.turn.scheduled(at))).find(|(_, wanted)| *wanted > hosts)
    }

    /// What these hosts draw by their curves, W.
    fn watts(&self, host: usize, rest: &[usize]) -> f64 {
        rest.iter().chain([&host]).map(|host| self.draw(*host)).sum()
    }

    fn draw(&self, host: usize) -> f64 {
        let facts = &self.turn.view.load.hosts[host];
        facts.power.watts(self.scratch.slots[host].now / facts.capacity.max(f64::MIN_POSITIVE))
    }

    /// Moves every guest of the host to where the largest reserve remains, the most demanding
    /// first. Leaves everything in place where one finds no room.
    fn empty(&mut self, host: usize, rest: &[usize]) -> Result<Vec<LoadMove>, Refusal> {
        let mut guests = self.scratch.slots[host].guests.clone();
        let demand = |guest: usize| self.turn.demand[guest].mean;
        guests.sort_by(|&a, &b| demand(b).total_cmp(&demand(a)).then(a.cmp(&b)));
        let on: Vec<usize> =
            rest.iter().copied().filter(|host| self.turn.view.machines[*host].is_on()).collect();
        let ceiling = self.turn.parameters.comfortable_cpu;
        let mut moves = Vec::new();
        for guest in guests {
            let Some(to) = self.scratch.roomiest(guest, &on, ceiling, FIT_SIGMAS) else {
                self.put_back(host, &moves);
                return Err(Refusal::NoRoom { guest });
            };
            self.scratch.shift(guest, to);
            moves.push(LoadMove { guest, to });
        }
        Ok(moves)
    }

    fn put_back(&mut self, host: usize, moves: &[LoadMove]) {
        for step in moves {
            self.scratch.shift(step.guest, host);
        }
    }

    /// What it saves and costs, once its guests are elsewhere.
    fn price(
        &self,
        host: usize,
        rest: &[usize],
        before: f64,
        stay: Duration,
        moves: &[LoadMove],
    ) -> Result<Park, Refusal> {
        let (turn, machine) = (self.turn, &self.turn.view.machines[host]);
        let after = rest.iter().map(|host| self.draw(*host)).sum::<f64>() + machine.off_watts;
        let saved_watts = before - after;
        let (wanted, guests) = (turn.parameters.watts_per_move, moves.len());
        if saved_watts < wanted * real(guests) {
            return Err(Refusal::Moves { guests, saved_watts, wanted });
        }
        let image = |step: &LoadMove| turn.view.load.guests[step.guest].image_mb;
        let moved_mb: f64 = moves.iter().map(image).sum();
        let cost_wh = machine.cycle_wh + moved_mb / 1024.0 * WH_PER_GIB_MOVED;
        let saved_wh = saved_watts * stay.as_secs_f64() / 3600.0;
        let wanted_wh = turn.parameters.pay_back * cost_wh;
        if saved_watts <= 0.0 || saved_wh < wanted_wh {
            return Err(Refusal::Price { saved_watts, cost_wh, stay, wanted_wh });
        }
        Ok(Park {
            host: machine.id,
            saved_watts,
            cost_wh,
            pay_back: Duration::from_secs_f64(cost_wh / saved_watts * 3600.0),
            stay,
            saved_kwh: (saved_wh - cost_wh) / 1000.0,
            moves: Vec::new(),
            moved_mb,
        })
    }

    /// Whether the guests of any lost hosts find a place on the others: each host once as the
    /// first lost, with those that carry most memory.
    fn survives(&mut self, rest: &[usize]) -> Result<(), Refusal> {
        let failures = self.turn.policy.survive_failures;
        if failures == 0 {
            return Ok(());
        }
        let refused = Err(Refusal::Failures { failures });
        let fewer = self.turn.policy.reserve + usize::from(failures);
        if rest.len() < fewer.max(usize::from(failures) + 1) {
            return refused;
        }
        if !self.turn.capacity(rest, fewer).covers(&Turn::bare(&self.turn.load())) {
            return refused;
        }
        let memory = |host: usize| -> f64 {
            let guests = &self.scratch.slots[host].guests;
            guests.iter().map(|guest| self.turn.view.load.guests[*guest].memory_mb).sum()
        };
        let mut heavy: Vec<(f64, usize)> = rest.iter().map(|host| (memory(*host), *host)).collect();
        heavy.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for index in 0..heavy.len() {
            let first = heavy[index].1;
            let others = heavy.iter().map(|(_, host)| *host).filter(|host| *host != first);
            let mut lost = vec![first];
            lost.extend(others.take(usize::from(failures).saturating_sub(1)));
            if !self.takes_in(&lost, rest) {
                return refused;
            }
        }
        Ok(())
    }

    /// Whether every guest of the lost hosts fits on the others, which may be full; everything
    /// is put back.
    fn takes_in(&mut self, lost: &[usize], rest: &[usize]) -> bool {
        let left: Vec<usize> = rest.iter().copied().filter(|host| !lost.contains(host)).collect();
        let mut homes: Vec<(usize, usize)> = Vec::new();
        for host in lost {
            homes.extend(self.scratch.slots[*host].guests.iter().map(|guest| (*guest, *host)));
        }
        let memory = |guest: usize| self.turn.view.load.guests[guest].memory_mb;
        homes.sort_by(|a, b| memory(b.0).total_cmp(&memory(a.0)).then(a.0.cmp(&b.0)));
        let mut shifted = 0;
        for (guest, _) in &homes {
            let Some(to) = self.scratch.roomiest(*guest, &left, f64::INFINITY, 0.0) else { break };
            self.scratch.shift(*guest, to);
            shifted += 1;
        }
        for (guest, home) in homes.iter().take(shifted) {
            self.scratch.shift(*guest, *home);
        }
        shifted == homes.len()
    }
}
