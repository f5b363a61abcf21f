//! Sessions between agents and the controller: the agent dials. Within a session messages
//! keep their order; what a session loses is lost; a cut shorter than the pings' patience
//! only delays. While a fault says so messages come late, out of order, or twice, also into
//! a later session: more than TCP would do.

use drover_lifecycle::Failure;
use rand::RngExt as _;

use crate::agenda::At;
use crate::event::{Command, Event, HostIx, OpIx};
use crate::schedule::Network;
use crate::world::World;

/// A ping every 5 s, and 5 s for its answer.
const PING_PATIENCE: At = 10_000;

/// Longest pause before an agent dials again.
const MAX_BACKOFF: At = 3_000;
const MIN_BACKOFF: At = 200;

/// How late a late message comes, at most.
const LATEST: At = 8_000;

/// What an agent says.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Answer { command: Command, failure: Option<Failure> },
    Update { operation: OpIx, update: Update },
}

/// What the source tells of a migration.
#[derive(Debug, Clone)]
pub(crate) enum Update {
    SourceGone,
    Finished,
    Failed(Failure),
    Copied,
    WantsPostCopy,
    PostCopyFailed(Failure),
}

/// One session, as the controller sees it, and what a cut holds of it.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) session: Option<u64>,
    /// Nothing overtakes a message of the same session: the last one's time in each direction.
    to_agent_at: At,
    to_controller_at: At,
    held_commands: Vec<Command>,
    held_words: Vec<Said>,
}

impl World {
    fn management(&self, host: HostIx) -> bool {
        self.hosts[host].reaches(Network::Management, self.agenda.now())
    }

    pub(crate) fn dial(&mut self, host: HostIx, life: u32, attempt: u32) {
        let agent = &self.hosts[host].agent;
        if !agent.daemon.up || agent.daemon.life != life || agent.session.is_some() {
            return;
        }
        if !self.controller.daemon.up || !self.management(host) {
            let limit = (MIN_BACKOFF << attempt.min(5)).min(MAX_BACKOFF);
            let pause = self.rng.random_range(MIN_BACKOFF..=limit.max(MIN_BACKOFF + 1));
            return self.agenda.after(pause, Event::Dial { host, life, attempt: attempt + 1 });
        }
        let session = self.new_pid();
        self.hosts[host].agent.session = Some(session);
        self.lines[host] = Line { session: Some(session), ..Line::default() };
        self.say(|| format!("{} agent: in session", self.name(host)));
        self.hello(host);
    }

    /// The controller's end of a session is gone.
    pub(crate) fn drop_line(&mut self, host: HostIx) {
        self.lines[host] = Line::default();
    }

    /// The agent's end of a session is gone: it dials again.
    pub(crate) fn hang_up(&mut self, host: HostIx) {
        if self.hosts[host].agent.session.take().is_some() {
            let life = self.hosts[host].agent.daemon.life;
            let pause = self.rng.random_range(MIN_BACKOFF..2 * MIN_BACKOFF);
            self.agenda.after(pause, Event::Dial { host, life, attempt: 0 });
        }
    }

    /// A cut begins: pings will find out.
    pub(crate) fn watch_session(&mut self, host: HostIx) {
        if let Some(session) = self.lines[host].session {
            let since = self.agenda.now();
            self.agenda.after(PING_PATIENCE, Event::SessionSilent { host, session, since });
        }
    }

    pub(crate) fn session_silent(&mut self, host: HostIx, session: u64, since: At) {
        if self.management(host) || self.last_cut_end[host] > since {
            return;
        }
        if self.lines[host].session == Some(session) {
            self.drop_line(host);
        }
        if self.hosts[host].agent.session == Some(session) {
            self.hang_up(host);
        }
    }

    /// The management network is back: what it held goes on.
    pub(crate) fn release_held(&mut self, host: HostIx) {
        if !self.management(host) {
            return;
        }
        let line = &mut self.lines[host];
        let commands = std::mem::take(&mut line.held_commands);
        let words = std::mem::take(&mut line.held_words);
        for command in commands {
            self.order(host, command);
        }
        let life = self.controller.daemon.life;
        for said in words {
            self.agenda.after(2, Event::ToController { host, life: Some(life), said });
        }
    }

    /// The controller sends; without a session nothing is sent.
    pub(crate) fn order(&mut self, host: HostIx, command: Command) {
        if self.lines[host].session.is_none() {
            return;
        }
        self.tally.messages += 1;
        let (delay, again) = self.delays();
        if let Some(later) = again {
            self.agenda.after(later, Event::ToAgent { host, session: None, command });
        }
        let now = self.agenda.now();
        match delay {
            Some(late) => self.agenda.after(late, Event::ToAgent { host, session: None, command }),
            None if !self.management(host) => self.lines[host].held_commands.push(command),
            None => {
                let at = (now + self.rng.random_range(1..15)).max(self.lines[host].to_agent_at);
                self.lines[host].to_agent_at = at;
                let session = self.lines[host].session;
                self.agenda.after(at - now, Event::ToAgent { host, session, command });
            }
        }
    }

    /// Extra delays of a message and of its second copy.
    fn delays(&mut self) -> (Option<At>, Option<At>) {
        let now = self.agenda.now();
        let late = (now < self.late_until).then(|| self.rng.random_range(1..LATEST));
        let twice = (now < self.twice_until).then(|| self.rng.random_range(1..LATEST));
        (late, twice)
    }

    pub(crate) fn reaches_agent(&mut self, host: HostIx, session: Option<u64>, command: Command) {
        let meant = session.is_none() || self.hosts[host].agent.session == session;
        if !meant || !self.hosts[host].power {
            return;
        }
        if session.is_some() && !self.management(host) {
            return self.lines[host].held_commands.push(command);
        }
        self.obey(host, command);
    }

    /// An agent says something; without a session it is dropped.
    pub(crate) fn tell(&mut self, host: HostIx, said: Said) {
        if self.hosts[host].agent.session.is_none() {
            return;
        }
        self.tally.messages += 1;
        let (delay, again) = self.delays();
        if let Some(later) = again {
            let said = said.clone();
            self.agenda.after(later, Event::ToController { host, life: None, said });
        }
        let now = self.agenda.now();
        match delay {
            Some(late) => self.agenda.after(late, Event::ToController { host, life: None, said }),
            None if !self.management(host) => self.lines[host].held_words.push(said),
            None => {
                let at =
                    (now + self.rng.random_range(1..15)).max(self.lines[host].to_controller_at);
                self.lines[host].to_controller_at = at;
                let life = Some(self.controller.daemon.life);
                self.agenda.after(at - now, Event::ToController { host, life, said });
            }
        }
    }

    pub(crate) fn reaches_controller(&mut self, host: HostIx, life: Option<u32>, said: Said) {
        let daemon = self.controller.daemon;
        if !daemon.up || life.is_some_and(|life| life != daemon.life) {
            return;
        }
        if life.is_some() && !self.management(host) {
            if self.lines[host].session.is_some() {
                self.lines[host].held_words.push(said);
            }
            return;
        }
        self.hear(host, said);
    }
}
