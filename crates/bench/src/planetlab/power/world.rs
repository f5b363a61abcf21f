//! The clock: steps, boots, migrations, energy.

use std::time::Instant;

use anyhow::{Result, ensure};
use drover_planner::consolidate::{LoadMove, LoadView};

use super::machines::{Boot, Machines, Power};
use crate::planetlab::catalog::migration_seconds;
use crate::planetlab::engine::{Engine, LENGTH, Memory};
use crate::planetlab::metrics::Report;
use crate::planetlab::shares::ARRIVING_SHARE;
use crate::planetlab::traces::{INTERVAL, Trace};
use crate::planetlab::vm::START;

/// Who decides.
pub(crate) trait Steering {
    /// Where guests begin, and which hosts are on; or which guest has no host.
    fn start(&mut self, view: &LoadView) -> Result<Start>;

    /// What to do at a step.
    fn turn(&mut self, view: &LoadView, machines: &Machines, now: f64) -> Commands;

    /// Whether hosts go down by themselves in the moment in which they are empty.
    fn is_published(&self) -> bool {
        false
    }
}

/// How the day begins.
#[derive(Debug)]
pub(crate) struct Start {
    /// Host of every guest.
    pub(crate) places: Vec<usize>,
    /// Hosts that are on.
    pub(crate) on: Vec<usize>,
}

/// What to do at a step. Moves to a host that wakes begin when it is ready.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    /// Hosts to wake.
    pub(crate) wake: Vec<usize>,
    /// Hosts to turn off once they are empty.
    pub(crate) park: Vec<usize>,
    /// Migrations to start.
    pub(crate) moves: Vec<LoadMove>,
}

/// The figures of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Energy, kWh.
    pub(crate) kwh: f64,
    /// Energy from the sixth hour on, when what the day began with is forgotten, kWh.
    pub(crate) kwh_after_six: f64,
    /// Minutes in which a host's guests asked for more than it has, over all hosts.
    pub(crate) overload_min: f64,
    /// Part of the requested MIPS-seconds not delivered.
    pub(crate) unserved: f64,
    /// Wakes.
    pub(crate) wakes: f64,
    /// Migrations started.
    pub(crate) migrations: f64,
    /// Mean number of hosts on or waking.
    pub(crate) mean_on: f64,
    /// Wall-clock seconds.
    pub(crate) seconds: f64,
}

impl Figures {
    fn fields(&mut self) -> [&mut f64; 8] {
        [
            &mut self.kwh,
            &mut self.kwh_after_six,
            &mut self.overload_min,
            &mut self.unserved,
            &mut self.wakes,
            &mut self.migrations,
            &mut self.mean_on,
            &mut self.seconds,
        ]
    }

    /// Adds another run's.
    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (mine, theirs) in self.fields().into_iter().zip(other.fields()) {
            *mine += *theirs;
        }
    }

    /// The mean over so many runs.
    pub(crate) fn over(&self, runs: usize) -> Self {
        let mut mean = self.clone();
        for field in mean.fields() {
            *field /= runs as f64;
        }
        mean
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Ready(usize),
    Begin(LoadMove),
    End(LoadMove),
}

/// State of a run.
#[derive(Debug)]
pub(crate) struct World {
    engine: Engine,
    machines: Machines,
    /// What is to come before the next step, in order of time.
    events: Vec<(f64, Event)>,
}

/// When energy begins to count as that of a day in its stride.
const SIX: f64 = 6.0 * 3600.0;

impl World {
    /// A day driven by `traces`, one guest each.
    pub(crate) fn new(traces: Vec<Trace>, memory: Memory, boot: Boot) -> Self {
        let engine = Engine::new(traces, memory);
        let machines = Machines::new(engine.hosts.len(), &[], boot);
        Self { engine, machines, events: Vec::new() }
    }

    /// Runs the whole day. As in the published experiment the account begins with the first
    /// step and ends with the last.
    pub(crate) fn run(mut self, steering: &mut dyn Steering) -> Result<Figures> {
        let began = Instant::now();
        let start = steering.start(&self.engine.view(true))?;
        self.engine.create(&start.places)?;
        self.machines = Machines::new(self.engine.hosts.len(), &start.on, self.machines.boot);
        let mut now = START + INTERVAL;
        let mut before_six = 0.0;
        // what idles before the first step is not counted, as nothing else is
        self.engine.advance(now);
        self.passed(0.0);
        while now < LENGTH {
            self.advance(now, steering.is_published());
            if now < SIX {
                before_six = self.joules();
            }
            let commands = steering.turn(&self.engine.view(false), &self.machines, now);
            self.carry_out(&commands, now)?;
            now += INTERVAL;
            self.play_until(now, steering.is_published());
        }
        let joules = self.joules();
        let engine = &self.engine;
        let report = Report::new(
            engine.hosts.iter().map(|host| &host.ledger),
            engine.vms.iter().map(|vm| &vm.ledger),
            joules,
            engine.migrations,
            LENGTH,
        );
        Ok(Figures {
            kwh: report.kwh,
            kwh_after_six: (joules - before_six) / 3.6e6,
            overload_min: self.machines.overload_s / 60.0,
            unserved: report.unserved,
            wakes: self.machines.wakes as f64,
            migrations: engine.migrations as f64,
            mean_on: self.machines.on_s / LENGTH,
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    fn joules(&self) -> f64 {
        self.engine.joules + self.machines.joules
    }

    /// Brings everything to `now`, and turns off what is to go down and is empty.
    fn advance(&mut self, now: f64, published: bool) {
        let seconds = now - self.engine.updated;
        self.engine.advance(now);
        self.passed(seconds);
        for host in 0..self.engine.hosts.len() {
            let goes = match self.machines.power[host] {
                Power::Closing => true,
                Power::On => published,
                Power::Waking | Power::Off => false,
            };
            let awaited = || {
                let to = |event: &Event| matches!(event, Event::Begin(step) if step.to == host);
                self.events.iter().any(|(_, event)| to(event))
            };
            if goes && self.engine.hosts[host].guests.is_empty() && !awaited() {
                self.machines.set(host, Power::Off, now, &self.engine.hosts[host]);
            }
        }
    }

    fn passed(&mut self, seconds: f64) {
        let (hosts, vms) = (&self.engine.hosts, &self.engine.vms);
        let asked = |host: usize| -> f64 {
            let of = &hosts[host];
            let part = |guest: &usize| {
                if of.arriving.contains(guest) { ARRIVING_SHARE } else { 1.0 }
            };
            of.guests.iter().map(|guest| vms[*guest].request * part(guest)).sum()
        };
        self.machines.passed(seconds, hosts, asked);
    }

    fn carry_out(&mut self, commands: &Commands, now: f64) -> Result<()> {
        let ready = now + self.machines.boot.seconds;
        for &host in &commands.wake {
            ensure!(self.machines.power[host] == Power::Off, "host {host} is woken but not off");
            self.machines.set(host, Power::Waking, now, &self.engine.hosts[host]);
            self.events.push((ready, Event::Ready(host)));
        }
        for &host in &commands.park {
            ensure!(self.machines.power[host] == Power::On, "host {host} is parked but not on");
            self.machines.set(host, Power::Closing, now, &self.engine.hosts[host]);
        }
        for &step in &commands.moves {
            let begin = match self.machines.power[step.to] {
                Power::On => now,
                Power::Waking => ready,
                Power::Off | Power::Closing => anyhow::bail!("host {} takes no guest", step.to),
            };
            self.events.push((begin, Event::Begin(step)));
        }
        Ok(())
    }

    /// Plays what comes before the step at `next`.
    fn play_until(&mut self, next: f64, published: bool) {
        loop {
            // the first of the earliest: what was asked for first happens first
            let earliest = (0..self.events.len())
                .min_by(|&a, &b| self.events[a].0.total_cmp(&self.events[b].0).then(a.cmp(&b)));
            let Some(index) = earliest.filter(|&index| self.events[index].0 < LENGTH) else {
                return;
            };
            let (now, event) = self.events.remove(index);
            debug_assert!(now < next);
            self.advance(now, published);
            match event {
                Event::Ready(host) => {
                    self.machines.set(host, Power::On, now, &self.engine.hosts[host]);
                }
                Event::Begin(step) => self.begin(step, now),
                Event::End(step) => self.end(step),
            }
            self.advance(now, published);
        }
    }

    /// Starts a migration unless its guest has ended or is there.
    fn begin(&mut self, step: LoadMove, now: f64) {
        let LoadMove { guest, to } = step;
        if self.engine.vms[guest].host.is_none_or(|source| source == to) {
            return;
        }
        self.engine.vms[guest].migrating = true;
        let target = &mut self.engine.hosts[to];
        if !target.arriving.contains(&guest) {
            target.arriving.push(guest);
            target.guests.push(guest);
        }
        self.engine.migrations += 1;
        let seconds = migration_seconds(self.engine.vms[guest].ram_mb, target.kind.bandwidth);
        self.events.push((now + seconds, Event::End(step)));
    }

    fn end(&mut self, LoadMove { guest, to }: LoadMove) {
        if let Some(source) = self.engine.vms[guest].host {
            self.engine.hosts[source].remove(guest);
        }
        self.engine.hosts[to].remove(guest);
        self.engine.hosts[to].guests.push(guest);
        self.engine.vms[guest].host = Some(to);
        self.engine.vms[guest].migrating = false;
    }
}
