//! What BMCs say that hosts draw.
//!
//! Of a host that its BMC measures, the agent's own `power.watts` is left out: two sources in
//! one series would be no measurement of anything.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drover_model::{HostId, Metric, PowerReading, Timestamp};
use drover_ports::{Entity, PowerError, SamplePoint};

use crate::records::{Tables, WattsFrom};

/// A BMC's word counts as the present value for so long: BMCs that are asked every few seconds
/// miss one now and then.
const FRESH: Duration = Duration::from_secs(60);

/// A BMC that refused the login is asked again after so long, unless another is set: those that
/// lock an account after some wrong tries count the tries of some minutes.
const AFTER_REFUSED_LOGIN: Duration = Duration::from_secs(1800);

/// A BMC's last answer.
#[derive(Debug, Clone, PartialEq)]
pub struct BmcAnswer {
    /// When.
    pub at: Timestamp,
    /// What it said, or why nothing.
    pub reading: Result<PowerReading, PowerError>,
}

impl BmcAnswer {
    /// Whether it is all that is known at a moment.
    pub fn counts(&self, now: Timestamp) -> bool {
        now.since(self.at) <= FRESH || self.forbids_more(now)
    }

    /// Whether the BMC is not to be asked again yet.
    pub fn forbids_more(&self, now: Timestamp) -> bool {
        let refused = self.reading.as_ref().is_err_and(PowerError::needs_a_person);
        refused && now.since(self.at) < AFTER_REFUSED_LOGIN
    }
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

    /// Another BMC or login is set: the last answer says nothing of it.
    pub fn forget(&self, host: HostId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&host);
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
