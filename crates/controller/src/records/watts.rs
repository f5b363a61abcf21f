//! What was learned of the power that hosts draw.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{HostId, Metric, Name, PowerLine, RuleId, Timestamp};
use serde::{Deserialize, Serialize};

/// What a host draws by its CPU use. Kept, since a host that is off cannot be measured and
/// its history ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PowerLineRecord {
    /// The host.
    pub host: HostId,
    /// Learned lines by metric in watts.
    pub lines: BTreeMap<Metric, PowerLine>,
    /// When they were learned.
    pub learned: Timestamp,
}

/// When a host was parked, as far back as history goes: what parking has saved follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRecord {
    /// The host.
    pub host: HostId,
    /// Begin and end, the oldest first; the end is none while it is parked.
    pub spans: Vec<(Timestamp, Option<Timestamp>)>,
}

impl ParkedRecord {
    /// So many are kept: ten a day for a year, more than a machine should be switched.
    pub const MOST: usize = 3660;

    /// The same after it was seen at `now`, off since `parked` or not parked. None where that
    /// is nothing new.
    pub fn seen(&self, parked: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        let mut spans = self.spans.clone();
        let open = spans.last().is_some_and(|(_, to)| to.is_none());
        match (open, parked) {
            (true, None) => {
                if let Some(last) = spans.last_mut() {
                    last.1 = Some(now.max(last.0));
                }
            }
            (false, Some(since)) => spans.push((since, None)),
            (true, Some(_)) | (false, None) => return None,
        }
        let beyond = spans.len().saturating_sub(Self::MOST);
        spans.drain(..beyond);
        Some(Self { host: self.host, spans })
    }
}

/// Which hosts a cap is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CappedHosts {
    /// All that have this value of a label.
    Label {
        /// The label.
        label: String,
        /// Its value.
        value: String,
    },
    /// These.
    Named(Vec<HostId>),
}

/// A group of hosts may draw no more than so much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PowerCapRecord {
    /// Id.
    pub id: RuleId,
    /// Unique name.
    pub name: Name,
    /// The hosts.
    pub hosts: CappedHosts,
    /// The most that they may draw together.
    pub watts: f64,
    /// Their draw is averaged over so long.
    pub window: Duration,
    /// Most moves of one plan.
    pub max_moves: u32,
    /// When it was set.
    pub set: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_parked_from_its_park_to_its_wake() {
        let at = Timestamp::from_millis;
        let none = ParkedRecord { host: HostId::from_u128(1), spans: vec![] };
        assert_eq!(none.seen(None, at(5)), None);
        let off = none.seen(Some(at(5)), at(7)).unwrap();
        assert_eq!(off.spans, [(at(5), None)]);
        assert_eq!(off.seen(Some(at(5)), at(8)), None);
        let on = off.seen(None, at(9)).unwrap();
        assert_eq!(on.spans, [(at(5), Some(at(9)))]);
        assert_eq!(on.seen(Some(at(12)), at(12)).unwrap().spans.len(), 2);
    }
}
