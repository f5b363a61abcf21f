//! Looks at all moves of a plan before any of them begins.

use std::time::Duration;

use drover_model::{GuestId, HostId, MigrationSettings};
use drover_rules::preflight::{Finding, Severity};
use drover_rules::{Initiative, Move};
use futures::StreamExt as _;

use super::{Blocked, Candidate, Journey, look};
use crate::live::Live;
use crate::records::Records;

/// Moves that are looked at at the same time. Each asks up to four questions, and an agent
/// answers 128 at once.
const MOVES_AT_ONCE: usize = 8;

/// A move that nothing speaks against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// The guest.
    pub guest: GuestId,
    /// Where it goes.
    pub to: HostId,
    /// What was found all the same: it blocks nothing.
    pub warnings: Vec<Finding>,
}

/// What came of looking at them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Moves that may begin.
    pub clear: Vec<Cleared>,
    /// Moves that may not.
    pub blocked: Vec<Blocked>,
}

impl Verdicts {
    /// Whether the move has been looked at and may begin.
    pub fn is_clear(&self, step: &Move) -> bool {
        self.clear.iter().any(|one| (one.guest, one.to) == (step.guest, step.to))
    }

    /// Guests and hosts of the moves that may begin.
    pub fn pairs(&self) -> Vec<(GuestId, HostId)> {
        self.clear.iter().map(|one| (one.guest, one.to)).collect()
    }
}

/// Looks at these moves, which a person wants. With `patience`, what is not answered by then is in neither list: it
/// will be looked at when its turn comes.
pub async fn look_at_moves(
    live: &Live,
    records: &Records,
    moves: &[Move],
    settings: &MigrationSettings,
    patience: Option<Duration>,
) -> Verdicts {
    let journeys: Vec<(Journey, Candidate)> = {
        let tables = records.read();
        let with = |step: &Move| {
            let journey = Journey::of(&tables, step.guest, Initiative::Request, Some(settings))?;
            let host = tables.hosts.get(step.to)?.host.clone();
            Some((journey, Candidate { host, refusals: Vec::new() }))
        };
        moves.iter().filter_map(with).collect()
    };
    let looking = journeys.into_iter().map(|(journey, candidate)| async move {
        let (guest, to) = (journey.guest.id, candidate.host.id);
        (guest, to, look_at_one(live, &journey, candidate).await)
    });
    let mut looked = Verdicts::default();
    let mut answers =
        std::pin::pin!(futures::stream::iter(looking).buffer_unordered(MOVES_AT_ONCE));
    let over = async {
        match patience {
            Some(patience) => tokio::time::sleep(patience).await,
            None => std::future::pending().await,
        }
    };
    let mut over = std::pin::pin!(over);
    loop {
        let next = tokio::select! {
            biased;
            next = answers.next() => next,
            () = &mut over => None,
        };
        let Some((guest, to, findings)) = next else { break };
        match split(findings) {
            (blocks, warnings) if blocks.is_empty() => {
                looked.clear.push(Cleared { guest, to, warnings });
            }
            (findings, _) => looked.blocked.push(Blocked { guest, to, findings }),
        }
    }
    // In the order of the moves, whoever answered first.
    let place = |guest: GuestId| moves.iter().position(|step| step.guest == guest);
    looked.clear.sort_by_key(|one| place(one.guest));
    looked.blocked.sort_by_key(|one| place(one.guest));
    looked
}

/// Everything that was found of one move.
pub async fn look_at_one(live: &Live, journey: &Journey, candidate: Candidate) -> Vec<Finding> {
    let looked = look(live, journey, vec![candidate]).await;
    looked.into_iter().flat_map(|one| one.findings).collect()
}

/// What blocks, and what only warns.
pub fn split(findings: Vec<Finding>) -> (Vec<Finding>, Vec<Finding>) {
    findings.into_iter().partition(|finding| finding.severity == Severity::Blocks)
}
