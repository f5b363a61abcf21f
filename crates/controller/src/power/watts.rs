//! What BMCs say that hosts draw.
//!
//! Of a host that its BMC measures, the agent's own `power.watts` is left out: two sources in
//! one series would be no measurement of anything.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drover_model::{HostId, Metric, PowerReading, Timestamp};
use drover_ports::{Entity, SamplePoint};

use crate::records::{Tables, WattsFrom};

/// A BMC's word counts as the present value for so long: BMCs that are asked every few seconds
/// miss one now and then.
pub const FRESH: Duration = Duration::from_secs(60);

/// A BMC's last answer.
#[derive(Debug, Clone, PartialEq)]
pub struct BmcAnswer {
    /// When.
    pub at: Timestamp,
    /// What it said, or why nothing.
    pub reading: Result<PowerReading, String>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct BmcWatts(Mutex<BTreeMap<HostId, BmcAnswer>>);

/// Whether the controller asks the host's BMC what it draws.
pub fn is_measured(tables: &Tables, host: HostId) -> bool {
    let settings = tables.power.get(host).map(|record| &record.settings);
    settings.is_some_and(|of| of.watts == WattsFrom::Bmc && of.bmc.is_some())
}

impl BmcWatts {
    /// Notes an answer.
    pub fn answered(&self, host: HostId, answer: BmcAnswer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host, answer);
    }

    /// The last answer.
    pub fn last(&self, host: HostId) -> Option<BmcAnswer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&host).cloned()
    }

    /// An agent's samples as they are kept, and as they are shown now where that differs.
    pub fn overlay(
        &self,
        tables: &Tables,
        host: HostId,
        mut points: Vec<SamplePoint>,
    ) -> (Option<Vec<SamplePoint>>, Vec<SamplePoint>) {
        if !is_measured(tables, host) {
            return (None, points);
        }
        let of_host = Entity::Host(host);
        for point in points.iter_mut().filter(|point| point.entity == of_host) {
            point.values.retain(|(metric, _)| *metric != Metric::PowerWatts);
        }
        let mut shown = points.clone();
        let last = self.last(host);
        for point in shown.iter_mut().filter(|point| point.entity == of_host) {
            let fresh = last.as_ref().filter(|last| point.at.since(last.at) <= FRESH);
            let watts = fresh.and_then(|last| last.reading.as_ref().ok());
            point.values.extend(watts.map(|reading| (Metric::PowerWatts, reading.watts)));
        }
        (Some(shown), points)
    }
}
