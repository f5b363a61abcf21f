//! How much may still be moved: pure.
//!
//! All operations count, whoever wanted them: what an operator or a rule moved is churn as
//! well for the guests and the network. Those that were refused before they began moved
//! nothing.

use std::time::Duration;

use drover_model::Timestamp;

use crate::records::{BalanceRecord, Tables};

/// The span that churn is counted over.
const HOUR: Duration = Duration::from_secs(3600);

/// Moves that began within the last hour.
pub fn moves_of_last_hour(tables: &Tables, now: Timestamp) -> usize {
    let begun = tables.operations.iter().filter(|op| !op.is_refused());
    begun.filter(|op| now.since(op.created) < HOUR).count()
}

/// Moves that one more plan of the policy may take now.
pub fn left(tables: &Tables, policy: &BalanceRecord, now: Timestamp) -> usize {
    let of_hour = policy.moves_per_hour as usize;
    let left = of_hour.saturating_sub(moves_of_last_hour(tables, now));
    left.min(policy.max_moves as usize)
}

/// How long a guest stays after a move, so that no hour sees more moves of it than allowed.
pub fn rest(policy: &BalanceRecord) -> Duration {
    HOUR / policy.moves_per_guest_per_hour.max(1)
}

/// When a move last ended; none when there never was one.
pub fn last_move_ended(tables: &Tables) -> Option<Timestamp> {
    let over = tables.operations.iter().filter(|op| op.migration.state.is_finished());
    over.filter(|op| !op.is_refused()).map(crate::records::OperationRecord::changed).max()
}
