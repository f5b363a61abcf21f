//! Faults as they strike, and how what they broke comes back.

use crate::agenda::At;
use crate::event::{Event, HostIx};
use crate::host::Memory;
use crate::schedule::{FaultKind, Network, Side};
use crate::world::{HOSTS, World};

/// A host's daemons need so long to come up after it has power.
const BOOT: At = 1_500;

impl World {
    pub(crate) fn inject(&mut self, index: usize) {
        if self.is_quiet {
            return;
        }
        let kind = self.fault_kind(index);
        let (source, target) = self.sides();
        let of = |side| match side {
            Side::Source => source,
            Side::Target => target,
        };
        let now = self.agenda.now();
        self.tally.faults += 1;
        self.say(|| {
            let hosts = format!("source {}, target {}", self.name(source), self.name(target));
            format!("FAULT: {kind:?} ({hosts})")
        });
        match kind {
            FaultKind::KillController(down) => self.kill_controller(down),
            FaultKind::KillAgent(side, down) => {
                self.kill_agent(of(side));
                self.agenda.after(down, Event::AgentUp(of(side)));
            }
            FaultKind::KillLibvirtd(side, down) => {
                if self.hosts[of(side)].libvirtd.up {
                    self.lose_libvirtd(of(side));
                }
                self.agenda.after(down, Event::LibvirtdUp(of(side)));
            }
            FaultKind::KillQemu(side) => {
                self.note_killed(of(side));
                self.end_process(of(side), "killed");
            }
            FaultKind::KillHost(side, down) => self.kill_host(of(side), down),
            FaultKind::Cut(side, network, lasting) => self.cut(of(side), network, lasting),
            FaultKind::DiskFull(lasting) => self.hosts[target].disk_full_until = now + lasting,
            FaultKind::LoseFinishReply(lasting) => self.lose_finish_answer = Some(lasting),
            FaultKind::Cancel => self.cancel_migration(),
            FaultKind::SwitchNow => self.switch_now(),
            FaultKind::Late(lasting) => self.late_until = self.late_until.max(now + lasting),
            FaultKind::Twice(lasting) => self.twice_until = self.twice_until.max(now + lasting),
        }
    }

    fn kill_controller(&mut self, down: At) {
        self.controller.daemon.up = false;
        for host in 0..HOSTS {
            self.drop_line(host);
            if self.hosts[host].reaches(Network::Management, self.agenda.now()) {
                self.hang_up(host);
            }
        }
        self.agenda.after(down, Event::ControllerUp);
    }

    fn kill_agent(&mut self, host: HostIx) {
        let reaches = self.hosts[host].reaches(Network::Management, self.agenda.now());
        let agent = &mut self.hosts[host].agent;
        agent.daemon.up = false;
        agent.departures.clear();
        agent.waits.clear();
        agent.session = None;
        if reaches {
            self.drop_line(host);
        }
    }

    fn kill_host(&mut self, host: HostIx, down: At) {
        self.agenda.after(down, Event::PowerOn(host));
        if !self.hosts[host].power {
            return;
        }
        self.note_killed(host);
        self.watch_session(host);
        self.watch_silence(host);
        let now = self.agenda.now();
        let dead = &mut self.hosts[host];
        dead.power = false;
        dead.silent_since.get_or_insert(now);
        self.kill_agent(host);
        self.lose_libvirtd(host);
        self.end_process(host, "its host lost power");
        self.hosts[host].domain.job = None;
    }

    /// The guest's life may have hung on this copy: whoever misses it later knows why.
    fn note_killed(&mut self, host: HostIx) {
        let is_whole = |of: HostIx| {
            self.hosts[of]
                .domain
                .qemu
                .is_some_and(|qemu| qemu.memory == Memory::Whole && qemu.knows == self.disk)
        };
        let another = (0..HOSTS).any(|other| other != host && is_whole(other));
        // Until its Finish is done, the source keeps the guest.
        let arriving = self.hosts[host].domain.job.is_some() && self.is_incoming(host);
        if is_whole(host) && !(another && arriving) {
            self.killed_by_fault = true;
        }
    }

    fn is_incoming(&self, host: HostIx) -> bool {
        self.hosts[host].domain.job.is_some_and(|(_, job)| self.jobs[job].target == host)
    }

    pub(crate) fn cut(&mut self, host: HostIx, network: Network, lasting: At) {
        let now = self.agenda.now();
        match network {
            Network::Management => self.watch_session(host),
            Network::Migration if self.hosts[host].silent_since.is_none() => {
                self.hosts[host].silent_since = Some(now);
                self.watch_silence(host);
            }
            Network::Migration | Network::Storage => {}
        }
        self.hosts[host].cut(network, now + lasting);
        self.agenda.after(lasting, Event::NetworkBack(host));
    }

    pub(crate) fn network_back(&mut self, host: HostIx) {
        let now = self.agenda.now();
        if self.hosts[host].reaches(Network::Migration, now) {
            if self.hosts[host].silent_since.take().is_some() {
                self.say(|| format!("{}: the migration network is back", self.name(host)));
            }
            self.link_back(host);
        }
        if self.hosts[host].reaches(Network::Management, now) {
            self.last_cut_end[host] = now;
            // A session that only one end knows ends at its next packet.
            let agent = self.hosts[host].agent.session;
            if agent != self.lines[host].session {
                self.drop_line(host);
                self.hang_up(host);
            }
            self.release_held(host);
        }
    }

    /// It boots with no guest running.
    pub(crate) fn power_on(&mut self, host: HostIx) {
        if self.hosts[host].power {
            return;
        }
        self.hosts[host].power = true;
        self.say(|| format!("{}: has power again", self.name(host)));
        self.network_back(host);
        self.agenda.after(BOOT, Event::LibvirtdUp(host));
        self.agenda.after(BOOT + 500, Event::AgentUp(host));
    }

    pub(crate) fn agent_up(&mut self, host: HostIx) {
        let here = &mut self.hosts[host];
        if !here.power || here.agent.daemon.up {
            return;
        }
        here.agent.daemon.start();
        let life = here.agent.daemon.life;
        self.say(|| format!("{} agent: up", self.name(host)));
        self.agenda.after(100, Event::Dial { host, life, attempt: 0 });
    }

    pub(crate) fn controller_up(&mut self) {
        if self.controller.daemon.up {
            return;
        }
        self.controller.daemon.start();
        self.say(|| "controller: up".to_owned());
        self.start_controller();
    }

    /// Faults are over: everything comes up and stays up.
    pub(crate) fn quiet(&mut self) {
        self.say(|| "faults cease".to_owned());
        self.is_quiet = true;
        (self.late_until, self.twice_until) = (0, 0);
        self.lose_finish_answer = None;
        for host in 0..HOSTS {
            self.hosts[host].heal();
            self.hosts[host].disk_full_until = 0;
            self.power_on(host);
            self.network_back(host);
            self.agenda.after(BOOT, Event::LibvirtdUp(host));
            self.agenda.after(BOOT + 500, Event::AgentUp(host));
        }
        self.agenda.after(BOOT, Event::ControllerUp);
    }
}
