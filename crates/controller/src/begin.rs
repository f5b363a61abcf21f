//! Lets queued operations begin: those whose turn it is, whose grounds still hold, and against
//! which their hosts say nothing.
//!
//! Whoever wants a move, its hosts are asked before it begins ([`crate::preflight`]). That takes
//! time, and an agent that is silent takes all of it: so looks run beside each other, bounded
//! ([`crate::live::Look`]), and a move that is looked at keeps no place in the queue. It has one
//! again once it is clear. A look at a request that was made a moment ago counts.
//!
//! It runs when operations are stored, whenever one ends, and in each turn of
//! `CarryOutOperations`.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use drover_lifecycle::{Failure, FailureKind, MigrationEvent, MigrationState};
use drover_model::{HostState, OperationId, Timestamp};

use crate::engine::Engine;
use crate::live::Look;
use crate::outlook::{MOVE_WINDOWS, foretell};
use crate::placement::initiative;
use crate::preflight::memory::{forget, remember};
use crate::preflight::moves::{look_at_one, split};
use crate::preflight::{Blocked, Candidate, Journey};
use crate::queue::{Grounds, grounds, is_looked_at, places_of};
use crate::records::{OperationRecord, Tables};

/// What is next for a queued operation whose turn it is.
enum Next {
    /// It begins, or ends without having begun.
    Take(MigrationEvent),
    /// Its hosts are asked.
    Ask(Box<Asked>),
    /// It keeps its place: that it cannot begin will pass in a moment.
    Stays,
    /// It lets others pass until its hosts can be asked.
    StandsAside,
}

/// A move whose hosts are asked.
struct Asked {
    look: Look,
    journey: Journey,
    candidate: Candidate,
}

impl Engine {
    /// Begins every queued operation whose turn it is and whose grounds hold; those whose
    /// grounds are gone end with the reason.
    pub fn begin_admitted(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Boxed: an operation that ends here lets the next begin.
        Box::pin(async move {
            let (events, asked) = self.due(self.clock.now());
            for one in asked {
                let engine = self.clone();
                tokio::spawn(async move { engine.ask_hosts(one).await });
            }
            for (operation, event) in events {
                self.take(operation, event).await;
            }
        })
    }

    fn due(&self, now: Timestamp) -> (Vec<(OperationId, MigrationEvent)>, Vec<Asked>) {
        let tables = self.records.read();
        let waits = |id| {
            let record = tables.operations.get(id);
            record.is_some_and(|of| matches!(of.migration.state, MigrationState::Admitted))
        };
        self.live.keep_looks(waits);
        let mut aside = self.live.looked_at();
        let in_line = |record: &OperationRecord| self.is_in_line(&tables, now, record);
        let mut known = BTreeSet::new();
        let (mut events, mut asked) = (Vec::new(), Vec::new());
        loop {
            let part = |record: &OperationRecord| {
                !aside.contains(&record.migration.operation) && in_line(record)
            };
            let places = places_of(&tables, &part).into_iter();
            let free: Vec<OperationId> = places
                .filter(|place| place.wait.is_none())
                .map(|place| place.waiting.operation)
                .filter(|operation| known.insert(*operation))
                .collect();
            let before = aside.len();
            for record in free.iter().filter_map(|id| tables.operations.get(*id)) {
                let id = record.migration.operation;
                match self.next(&tables, now, record) {
                    Next::Take(event) => events.push((id, event)),
                    Next::Stays => {}
                    Next::StandsAside => drop(aside.insert(id)),
                    Next::Ask(one) => {
                        aside.insert(id);
                        asked.push(*one);
                    }
                }
            }
            if aside.len() == before {
                return (events, asked);
            }
        }
    }

    /// Whether it can begin, end or be looked at now: what cannot lets others pass.
    fn is_in_line(&self, tables: &Tables, now: Timestamp, record: &OperationRecord) -> bool {
        let migration = &record.migration;
        if !is_looked_at(record) || self.live.is_clear_to_begin(migration.operation, now) {
            return true;
        }
        let (from, to) = (migration.from, migration.to);
        // An agent that is away comes back, or its host is found to be unreachable in a moment.
        let comes_back = |host| {
            let state = tables.hosts.get(host).map(|of| of.host.state);
            !self.live.is_connected(host) && state != Some(HostState::Unreachable)
        };
        !comes_back(from) && !comes_back(to) && self.live.has_room_to_look(from, to)
    }

    fn next(&self, tables: &Tables, now: Timestamp, record: &OperationRecord) -> Next {
        let migration = &record.migration;
        let id = migration.operation;
        match grounds(tables, &self.live, now, record) {
            Grounds::Gone(cause) => return Next::Take(MigrationEvent::Withdrawn(cause)),
            Grounds::Unclear(why) => {
                tracing::debug!(operation = %id, why, "waits");
                return Next::Stays;
            }
            Grounds::Hold => {}
        }
        if !is_looked_at(record) || self.live.is_clear_to_begin(id, now) {
            return Next::Take(MigrationEvent::Begin);
        }
        let (from, to) = (migration.from, migration.to);
        let there = self.live.is_connected(from) && self.live.is_connected(to);
        let wants = initiative(tables, &record.cause);
        let journey = Journey::of(tables, migration.guest, wants, Some(&migration.settings));
        let target = tables.hosts.get(to).map(|of| of.host.clone());
        let (Some(journey), Some(host), true) = (journey, target, there) else {
            return Next::StandsAside;
        };
        let Some(look) = self.live.begin_look(id, from, to) else { return Next::StandsAside };
        let candidate = Candidate { host, refusals: Vec::new() };
        Next::Ask(Box::new(Asked { look, journey, candidate }))
    }

    /// Asks the hosts of a move, and lets it begin or end.
    async fn ask_hosts(&self, asked: Asked) {
        let Asked { look, journey, candidate } = asked;
        let (operation, guest) = (look.operation(), journey.guest.id);
        let (from, to) = (journey.source.id, candidate.host.id);
        let settings = journey.settings.clone();
        let now = self.clock.now();
        // Both take about a second, most of it of waiting.
        let (found, forecast) = tokio::join!(
            look_at_one(&self.live, &journey, candidate),
            foretell(&self.records, &self.live, now, (guest, to), &settings, MOVE_WINDOWS)
        );
        let (findings, warnings) = split(found);
        let now = self.clock.now();
        if findings.is_empty() {
            self.keep_warnings(operation, &warnings).await;
            if let Some(forecast) = forecast {
                self.keep_forecast(operation, forecast).await;
            }
            if let Err(error) = forget(&self.records, &[(guest, to)]).await {
                tracing::error!(%operation, %error, "what was found before could not be forgotten");
            }
            self.live.looks_clear(operation, now);
            drop(look);
            return self.begin_admitted().await;
        }
        let blocked = Blocked { guest, to, findings };
        let there = self.live.is_connected(from) && self.live.is_connected(to);
        if blocked.is_silence() && !there {
            // The session ended meanwhile: nothing was said.
            return;
        }
        if let Err(error) =
            remember(&self.records, std::slice::from_ref(&blocked), &settings, now).await
        {
            tracing::error!(%operation, %error, "what was found could not be remembered");
        }
        let failure = Failure { kind: FailureKind::Preflight, message: said(&blocked) };
        // The look ends after the operation, so that no other one begins in between.
        self.take(operation, MigrationEvent::Withdrawn(failure)).await;
        drop(look);
    }
}

fn said(blocked: &Blocked) -> String {
    format!(
        "the check before the move said no: {}; what to do: {}",
        blocked.causes(),
        blocked.cures()
    )
}
