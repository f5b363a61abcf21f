//! Three hosts, one guest, one controller: the state of a run, and what is due next.

use std::cell::RefCell;

use drover_lifecycle::Migration;
use drover_model::MigrationSettings;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use crate::agenda::{Agenda, At};
use crate::check::Violations;
use crate::controller::{Controller, host_ix};
use crate::event::{Event, HostIx, OpIx};
use crate::habit::Habits;
use crate::host::{Cpus, Host, Memory, Phase, Qemu};
use crate::libvirt::Job;
use crate::link::Line;
use crate::schedule::{FaultKind, Launch, Moment, Network, QUIET_AT, Schedule, When};
use crate::tally::Tally;

/// Three, so that a guest can move on while a host that it left is away.
pub(crate) const HOSTS: usize = 3;

/// How often a process keeps its locks for a while after its last instruction, and for how
/// long at most: to give back the memory of a large guest takes seconds.
const SLOW_END: f64 = 0.1;
const LONGEST_END: At = 3_000;

/// How soon a migration that cannot begin is asked for again.
const LAUNCH_AGAIN: At = 1_000;

/// The one end of a process that is Drover's doing.
pub(crate) const DISCARDED: &str = "its agent discards it";

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) agenda: Agenda<Event>,
    pub(crate) rng: Pcg64Mcg,
    pub(crate) schedule: Schedule,
    pub(crate) habits: Habits,
    pub(crate) hosts: [Host; HOSTS],
    pub(crate) lines: [Line; HOSTS],
    pub(crate) controller: Controller,
    pub(crate) jobs: Vec<Job>,
    /// How often the guest's disk has been written, so to speak.
    pub(crate) disk: u64,
    /// A fault has killed what the guest's life hung on.
    pub(crate) killed_by_fault: bool,
    /// Nobody has shut it down.
    pub(crate) meant_to_run: bool,
    pub(crate) last_cut_end: [At; HOSTS],
    pub(crate) late_until: At,
    pub(crate) twice_until: At,
    /// The next answer of libvirt's Finish is lost, by a cut that lasts so long.
    pub(crate) lose_finish_answer: Option<At>,
    /// Locks on the disk that a process left behind while its memory is given back.
    pub(crate) locked_until: At,
    pub(crate) is_quiet: bool,
    pub(crate) tally: Tally,
    pub(crate) violations: Violations,
    /// Moments so far, for faults that wait for one.
    waiting: Vec<(usize, u32)>,
    /// The transfer time of each operation.
    transfers: Vec<At>,
    pids: u64,
    trace: RefCell<Option<Vec<String>>>,
}

impl World {
    pub(crate) fn new(schedule: Schedule, habits: Habits, traced: bool) -> Self {
        let waiting = schedule
            .faults
            .iter()
            .enumerate()
            .filter_map(|(index, fault)| match fault.when {
                When::Step { nth, .. } => Some((index, nth)),
                When::At(_) => None,
            })
            .collect();
        let mut world = Self {
            agenda: Agenda::new(),
            rng: Pcg64Mcg::seed_from_u64(schedule.seed),
            habits,
            hosts: ['A', 'B', 'C'].map(Host::new),
            lines: Default::default(),
            controller: Controller::new(),
            jobs: Vec::new(),
            disk: 0,
            killed_by_fault: false,
            meant_to_run: true,
            last_cut_end: [0; HOSTS],
            late_until: 0,
            twice_until: 0,
            lose_finish_answer: None,
            locked_until: 0,
            is_quiet: false,
            tally: Tally::default(),
            violations: Violations::default(),
            waiting,
            transfers: Vec::new(),
            pids: 0,
            trace: RefCell::new(traced.then(Vec::new)),
            schedule,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.first_image();
        let pid = self.new_pid();
        self.hosts[0].domain.defined = true;
        self.hosts[0].domain.qemu = Some(Qemu {
            pid,
            incoming: false,
            cpus: Cpus::StoppedOnArrival,
            ran: false,
            memory: Memory::Whole,
            broken: false,
            knows: 0,
        });
        self.run_cpus(0, "it was started here");
        self.start_controller();
        for host in 0..HOSTS {
            self.agenda.after(host as u64 * 10, Event::Dial { host, life: 0, attempt: 0 });
        }
        for (index, launch) in self.schedule.launches.iter().enumerate() {
            self.agenda.after(launch.at, Event::Launch(index));
        }
        for (index, fault) in self.schedule.faults.iter().enumerate() {
            if let When::At(at) = fault.when {
                self.agenda.after(at, Event::Inject(index));
            }
        }
        self.agenda.after(QUIET_AT, Event::Quiet);
    }

    /// Runs to this moment.
    pub(crate) fn run_until(&mut self, end: At) {
        while let Some(event) = self.agenda.next(end) {
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Inject(fault) => self.inject(fault),
            Event::Launch(launch) => self.try_launch(launch),
            Event::PowerOn(host) => self.power_on(host),
            Event::LibvirtdUp(host) => self.libvirtd_up(host),
            Event::AgentUp(host) => self.agent_up(host),
            Event::ControllerUp => self.controller_up(),
            Event::NetworkBack(host) => self.network_back(host),
            Event::Quiet => self.quiet(),
            Event::SayAgain { life } => self.say_again(life),
            Event::WatchHosts { life } => self.watch_hosts(life),
            Event::Ask { life, host, command } => self.asked(life, host, command),
            Event::Dial { host, life, attempt } => self.dial(host, life, attempt),
            Event::SessionSilent { host, session, since } => {
                self.session_silent(host, session, since);
            }
            Event::ToAgent { host, session, command } => self.reaches_agent(host, session, command),
            Event::ToController { host, life, said } => self.reaches_controller(host, life, said),
            Event::Depart { host, life, operation } => self.depart(host, life, operation),
            Event::Copied { host, life, operation } => self.copied(host, life, operation),
            Event::LookForProgress { host, life, operation } => {
                self.look_for_progress(host, life, operation);
            }
            Event::Recover { host, life, operation } => self.recover(host, life, operation),
            Event::Look { host, life, operation, turn } => self.look(host, life, operation, turn),
            Event::AttemptResume { host, life, wait } => self.attempt_resume(host, life, wait),
            Event::ExitSeen { host, life } => self.exit_seen(host, life),
            Event::JobReturned { host, life, job, outcome } => {
                self.job_returned(host, life, job, outcome);
            }
            Event::Connect { job, attempt } => self.connect(job, attempt),
            Event::Arrives { job, message } => self.arrives(job, message),
            Event::Started { job } => self.started(job),
            Event::Stream { job } => self.stream(job),
            Event::Switched { job } => self.switched(job),
            Event::SwitchArrives { job } => self.switch_arrives(job),
            Event::Finished { job } => self.finished(job),
            Event::Confirmed { job } => self.confirmed(job),
            Event::Closed { job, end } => self.closed(job, end),
            Event::Keepalive { job, end, since } => self.keepalive(job, end, since),
        }
    }

    fn try_launch(&mut self, index: usize) {
        if self.is_quiet {
            return;
        }
        let launch = self.schedule.launches[index];
        let from = host_ix(self.controller.owner.host);
        let to = (from + launch.turn) % HOSTS;
        if self.may_launch(to, launch.mode) {
            self.transfers.push(launch.transfer);
            let Launch { mode, auto_start, post_copy, .. } = launch;
            let settings =
                MigrationSettings { mode, auto_start, post_copy, ..MigrationSettings::default() };
            self.launch(to, settings);
        } else {
            self.agenda.after(LAUNCH_AGAIN, Event::Launch(index));
        }
    }

    pub(crate) fn transfer_of(&self, operation: OpIx) -> At {
        self.transfers[operation]
    }

    /// A step has been reached: faults that wait for it strike.
    pub(crate) fn moment(&mut self, moment: Moment) {
        if self.is_quiet {
            return;
        }
        let faults = &self.schedule.faults;
        let mut due = Vec::new();
        self.waiting.retain_mut(|(index, left)| match faults[*index].when {
            When::Step { moment: of, after, .. } if of == moment => {
                if *left == 0 {
                    due.push((*index, after));
                    return false;
                }
                *left -= 1;
                true
            }
            _ => true,
        });
        for (index, after) in due {
            self.agenda.after(after, Event::Inject(index));
        }
    }

    pub(crate) fn new_pid(&mut self) -> u64 {
        self.pids += 1;
        self.pids
    }

    /// The vCPUs of a copy begin to run, and it writes. False where the guest has a lease, and
    /// another copy holds it.
    pub(crate) fn run_cpus(&mut self, host: HostIx, why: &str) -> bool {
        let another = (0..HOSTS).any(|other| other != host && self.hosts[other].domain.runs());
        if another && self.schedule.leased && !self.habits.ignores_leases {
            self.say(|| format!("{} QEMU: cannot take the lease: {why}", self.name(host)));
            return false;
        }
        let other_disk = self.image_is_stale(host);
        let Some(qemu) = self.hosts[host].domain.qemu.as_mut() else { return false };
        let stale = qemu.knows != self.disk || other_disk;
        (qemu.cpus, qemu.ran) = (Cpus::Running, true);
        self.disk += 1;
        qemu.knows = self.disk;
        self.write_image(host);
        self.say(|| format!("{} QEMU: RUNS: {why}", self.name(host)));
        self.check_runs(stale);
        true
    }

    /// The last write is done; from here on the memory does not change.
    pub(crate) fn stop_cpus(&mut self, host: HostIx) {
        let Some(qemu) = self.hosts[host].domain.qemu.as_mut() else { return };
        let wrote = qemu.cpus == Cpus::Running;
        if wrote {
            self.disk += 1;
            qemu.knows = self.disk;
        }
        qemu.cpus = Cpus::StoppedForMigration;
        if wrote {
            self.write_image(host);
        }
        self.say(|| format!("{} QEMU: stops for the switch-over", self.name(host)));
    }

    /// A QEMU process ends, for whatever reason.
    pub(crate) fn end_process(&mut self, host: HostIx, why: &str) {
        let here = &mut self.hosts[host];
        let Some(ended) = here.domain.qemu.take() else { return };
        here.domain.departed = false;
        if ended.ran && self.rng.random_bool(SLOW_END) {
            self.locked_until = self.agenda.now() + self.rng.random_range(1..LONGEST_END);
        }
        let here = &mut self.hosts[host];
        let over = matches!(
            here.domain.job,
            Some((Phase::Prepare | Phase::Finish | Phase::Unattended, _))
        );
        if over && here.libvirtd.up {
            here.domain.job = None;
        }
        let life = here.agent.daemon.life;
        self.say(|| format!("{} QEMU: ends: {why}", self.name(host)));
        if why != DISCARDED {
            self.note_half_lost(host, ended);
        }
        for job in 0..self.jobs.len() {
            if self.jobs[job].source_pid == ended.pid {
                self.tell_half(job);
            }
        }
        self.agenda.after(2, Event::ExitSeen { host, life });
    }

    pub(crate) fn name(&self, host: HostIx) -> char {
        self.hosts[host].name
    }

    /// A line of the trace, made only where one is wanted.
    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.borrow_mut().as_mut() {
            let now = self.agenda.now();
            trace.push(format!("{:>4}.{:03} s  {}", now / 1000, now % 1000, line()));
        }
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// The hosts of the newest migration.
    pub(crate) fn sides(&self) -> (HostIx, HostIx) {
        let newest: Option<&Migration> = self.controller.operations.last();
        newest.map_or((0, 1), |migration| (host_ix(migration.from), host_ix(migration.to)))
    }

    /// The fault that was armed to lose libvirt's answer strikes now.
    pub(crate) fn lose_answer(&mut self, target: HostIx) {
        if let Some(lasting) = self.lose_finish_answer.take() {
            self.cut(target, Network::Migration, lasting);
        }
    }

    pub(crate) fn fault_kind(&self, index: usize) -> FaultKind {
        self.schedule.faults[index].kind
    }
}
