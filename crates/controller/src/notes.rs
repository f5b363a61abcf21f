//! What agents tell before and during a migration: kept with the operation.

use drover_lifecycle::forecast::Forecast;
use drover_model::OperationId;
use drover_rules::preflight::Finding;

use crate::engine::{Engine, of_rule};
use crate::events::{Draft, Severity};
use crate::records::Txn;

/// Notes that are kept of one operation: convergence gives fewer than half as many.
const MAX_NOTES: usize = 64;
/// Longest note, bytes; a sentence has a fifth of it.
const MAX_NOTE: usize = 1000;

/// A warning as a note.
pub(crate) fn as_note(warning: &Finding) -> String {
    let text = format!("warning ({}): {}; {}", warning.check, warning.cause, warning.cure);
    text.chars().take(MAX_NOTE).collect()
}

impl Engine {
    /// Keeps a note and tells it as an event. The same one said twice in a row is a repeat.
    pub async fn note(&self, operation: OperationId, note: String) {
        let note: String = note.chars().take(MAX_NOTE).collect();
        let now = self.now();
        let kept = self
            .records()
            .update(|tables| {
                let mut txn = Txn::none();
                let Some(before) = tables.operations.get(operation) else { return (txn, None) };
                let repeated = before.notes.last().is_some_and(|(_, last)| *last == note);
                if repeated || before.notes.len() >= MAX_NOTES {
                    return (txn, None);
                }
                let mut after = before.clone();
                after.notes.push((now, note.clone()));
                let guest = tables.guest_name(after.migration.guest);
                let text = format!("{guest}: {note}");
                let draft = Draft::new("migration.note", Severity::Info, text)
                    .guest(guest)
                    .operation(operation)
                    .plan(after.plan);
                let draft = of_rule(draft, &after.cause);
                txn.change(before, after);
                (txn, Some(draft))
            })
            .await;
        match kept {
            Ok(Some(draft)) => self.events().record(draft).await,
            Ok(None) => {}
            Err(error) => tracing::error!(%operation, %error, "a note could not be stored"),
        }
    }

    /// Keeps what a check before the move warned of. It is no event: a rule's moves would tell
    /// of the same kernels again and again.
    pub async fn keep_warnings(&self, operation: OperationId, warnings: &[Finding]) {
        if warnings.is_empty() {
            return;
        }
        let now = self.now();
        let kept = self
            .records()
            .update(|tables| {
                let mut txn = Txn::none();
                let Some(before) = tables.operations.get(operation) else { return (txn, ()) };
                let mut after = before.clone();
                let known = |note: &String| before.notes.iter().any(|(_, text)| text == note);
                let new = warnings.iter().map(as_note).filter(|note| !known(note));
                after.notes.extend(new.map(|note| (now, note)));
                after.notes.truncate(MAX_NOTES);
                if after != *before {
                    txn.change(before, after);
                }
                (txn, ())
            })
            .await;
        if let Err(error) = kept {
            tracing::error!(%operation, %error, "warnings could not be stored");
        }
    }

    /// Keeps what an operation is expected to take.
    pub async fn keep_forecast(&self, operation: OperationId, forecast: Forecast) {
        let kept = self
            .records()
            .update(|tables| {
                let mut txn = Txn::none();
                if let Some(before) = tables.operations.get(operation) {
                    let mut after = before.clone();
                    after.forecast = Some(forecast);
                    txn.change(before, after);
                }
                (txn, ())
            })
            .await;
        if let Err(error) = kept {
            tracing::error!(%operation, %error, "a forecast could not be stored");
        }
    }
}
