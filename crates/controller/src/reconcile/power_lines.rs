//! Learns anew what hosts draw by their CPU use, a few hosts a turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{HostId, Metric, PowerLine, Timestamp};
use drover_ports::{Clock, History};

use super::Reconcile;
use crate::power_line::{METRICS, look};
use crate::records::{PowerLineRecord, Records, Tables, Txn};

/// A line that is learned changes slowly: it is looked at once an hour.
const LEARNED_AGAIN: Duration = Duration::from_secs(3600);
/// One that cannot be learned may be as soon as the load changes.
const TRIED_AGAIN: Duration = Duration::from_secs(600);
/// And one of a host that has just come learns with every minute,
const YOUNG_AGAIN: Duration = Duration::from_secs(60);
/// for its first two hours.
const YOUNG: usize = 120;
/// Hosts of one turn: a day of one host at full rate takes some 20 ms to read.
const HOSTS_A_TURN: usize = 8;
/// A line that differs by no more than this part of its full power is the same: it need not
/// be stored again.
const SAME: f64 = 0.01;

/// See the module.
pub struct LearnPowerLines {
    /// Records.
    pub records: Arc<Records>,
    /// Metric history.
    pub history: Arc<dyn History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// When each host is looked at next.
    pub next: Mutex<BTreeMap<HostId, Timestamp>>,
}

#[async_trait]
impl Reconcile for LearnPowerLines {
    fn name(&self) -> &'static str {
        "learn-power-lines"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let now = self.clock.now();
        for (host, cores) in self.due(now) {
            let mut lines = BTreeMap::new();
            let mut rest = TRIED_AGAIN;
            for metric in METRICS {
                let known = look(self.history.as_ref(), host, cores, metric, now).await?;
                let of_machine = metric == Metric::PowerWatts;
                if known.line.is_learned() {
                    lines.insert(metric, known.line);
                    rest = if of_machine { LEARNED_AGAIN } else { rest };
                } else if of_machine && known.moments.len() < YOUNG {
                    rest = YOUNG_AGAIN;
                }
            }
            self.keep(host, lines, now).await?;
            self.next().insert(host, now.plus(rest));
        }
        Ok(())
    }
}

impl LearnPowerLines {
    /// The hosts whose turn it is, those that wait longest first.
    fn due(&self, now: Timestamp) -> Vec<(HostId, f64)> {
        let tables = self.records.read();
        let mut next = self.next();
        next.retain(|host, _| tables.hosts.get(*host).is_some());
        let mut due: Vec<(Timestamp, HostId, f64)> = tables
            .hosts
            .iter()
            .map(|record| (record.host.id, record.host.capabilities.cores.0))
            .map(|(id, cores)| (next.get(&id).copied().unwrap_or(Timestamp::EPOCH), id, cores))
            .filter(|(at, _, _)| *at <= now)
            .collect();
        due.sort_by_key(|(at, id, _)| (*at, *id));
        due.into_iter().take(HOSTS_A_TURN).map(|(_, host, cores)| (host, cores)).collect()
    }

    /// Stores what was learned. What was known before stays where nothing is learned now: a
    /// host that is off teaches nothing, and is what it was.
    async fn keep(
        &self,
        host: HostId,
        lines: BTreeMap<Metric, PowerLine>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let decide = |tables: &Tables| {
            let mut txn = Txn::none();
            let before = tables.power_lines.get(host);
            let mut all = before.map(|record| record.lines.clone()).unwrap_or_default();
            let news = lines
                .iter()
                .any(|(metric, line)| all.get(metric).is_none_or(|known| !is_same(known, line)));
            if news && tables.hosts.get(host).is_some() {
                all.extend(lines);
                txn.change(before, PowerLineRecord { host, lines: all, learned: now });
            }
            (txn, ())
        };
        self.records.update(decide).await?;
        Ok(())
    }

    fn next(&self) -> std::sync::MutexGuard<'_, BTreeMap<HostId, Timestamp>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(a: &PowerLine, b: &PowerLine) -> bool {
    let near = SAME * a.full.max(b.full);
    (a.idle - b.idle).abs() <= near && (a.full - b.full).abs() <= near
}
