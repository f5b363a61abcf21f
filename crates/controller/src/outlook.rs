//! What a move is expected to take: measured and put together.

use std::time::Duration;

use drover_agent_api::v1::MeasureDirtying;
use drover_lifecycle::convergence::Limits;
use drover_lifecycle::forecast::{Correction, Forecast, Otherwise, Past, Prospect};
use drover_model::{
    Bytes, DirtyWindow, GuestId, HostId, Metric, MigrationMode, MigrationSettings, PostCopy,
    Timestamp,
};
use drover_ports::Entity;

use crate::live::{Answer, Live, Question};
use crate::records::{OperationRecord, Records, Tables};

/// Windows over which dirtying is measured where somebody waits for the forecast, seconds: two
/// tell rate and working set.
pub const DRY_RUN_WINDOWS: &[u32] = &[1, 3];
/// And where somebody waits for the move.
pub const MOVE_WINDOWS: &[u32] = &[1];
/// Past moves of a guest that its forecasts are corrected by, and of a pair of hosts that its
/// link is known by: the newest.
const PAST_MOVES: usize = 20;
/// Set-up and completion of a move, milliseconds, in which nothing is sent.
const AROUND_MS: u64 = 350;

/// A sample so old tells nothing of a guest's memory now; agents sample every few seconds.
const OLDEST_SAMPLE: Duration = Duration::from_secs(120);

/// A forecast of a live move; none of another, which sends no memory.
pub async fn foretell(
    records: &Records,
    live: &Live,
    now: Timestamp,
    step: (GuestId, HostId),
    settings: &MigrationSettings,
    windows: &[u32],
) -> Option<Forecast> {
    let (guest, to) = step;
    if settings.mode != MigrationMode::Live {
        return None;
    }
    let from = records.read().guests.get(guest)?.guest.host;
    let dirtied = measure(live, guest, from, windows).await;
    let used = live
        .latest(Entity::Guest(guest))
        .filter(|latest| now.since(latest.at) <= OLDEST_SAMPLE)
        .and_then(|latest| latest.values.get(&Metric::GuestResident).copied())
        .map(|resident| Bytes(whole(resident)));
    let tables = records.read();
    let memory = tables.guests.get(guest)?.guest.current_memory.bytes();
    let limits = Limits::of(settings);
    let prospect = Prospect {
        memory,
        used,
        dirtied,
        disks: Bytes(0),
        link: link(&tables, from, to),
        cap: settings.max_bandwidth_mib_s.map(|cap| cap << 20),
        tls: settings.tls.unwrap_or(false),
        streams: settings.parallel.unwrap_or(1),
        first_downtime_ms: limits.first_downtime_ms,
        max_downtime_ms: limits.max_downtime_ms,
        otherwise: otherwise(settings),
        at_once: settings.post_copy == PostCopy::Now,
    };
    Some(prospect.forecast(&Correction::learn(&past(&tables, guest))))
}

/// Nothing where the agent cannot tell: then the forecast says so.
async fn measure(live: &Live, guest: GuestId, from: HostId, windows: &[u32]) -> Vec<DirtyWindow> {
    let ask = MeasureDirtying { guest_id: guest.to_string(), seconds: windows.to_vec() };
    match live.ask(from, Question::MeasureDirtying(ask)).await {
        Ok(Answer::DirtiedJson(json)) => serde_json::from_slice(&json).unwrap_or_default(),
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::warn!(%guest, %error, "the dirty rate could not be measured");
            Vec::new()
        }
    }
}

const fn otherwise(settings: &MigrationSettings) -> Otherwise {
    if !matches!(settings.post_copy, PostCopy::Never) {
        Otherwise::PostCopy
    } else if settings.quickly_finish {
        Otherwise::ForceFinish
    } else if settings.auto_converge {
        Otherwise::Throttle
    } else {
        Otherwise::Nothing
    }
}

/// What past moves between two hosts carried, bytes a second: the best of the newest, since
/// a small guest does not fill a link. Moves in either direction and without a cap count.
fn link(tables: &Tables, from: HostId, to: HostId) -> Option<u64> {
    let between = |record: &&OperationRecord| {
        let (a, b) = (record.migration.from, record.migration.to);
        (a, b) == (from, to) || (a, b) == (to, from)
    };
    let uncapped =
        |record: &&OperationRecord| record.migration.settings.max_bandwidth_mib_s.is_none();
    let carried = |record: &OperationRecord| {
        let outcome = record.migration.outcome?;
        let ms = outcome.total_ms.saturating_sub(AROUND_MS).max(1);
        outcome.transferred.map(|sent| sent.0.saturating_mul(1000) / ms)
    };
    let newest = tables.operations.iter().rev().filter(between).filter(uncapped);
    newest.filter_map(carried).take(PAST_MOVES).max()
}

fn past(tables: &Tables, guest: GuestId) -> Vec<Past> {
    let mut newest: Vec<Past> = tables
        .operations
        .iter()
        .rev()
        .filter(|record| record.migration.guest == guest)
        .filter_map(|record| {
            let (forecast, outcome) = (record.forecast.as_ref()?, record.migration.outcome?);
            Some(Past {
                expected_total_ms: forecast.total_ms.expected,
                expected_downtime_ms: forecast.downtime_ms.expected,
                total_ms: outcome.total_ms,
                downtime_ms: outcome.downtime_ms,
            })
        })
        .take(PAST_MOVES)
        .collect();
    newest.reverse();
    newest
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes are measured as whole, non-negative numbers"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}
