//! One immutable, dated picture of the cluster: all that a decision may look at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Guest, GuestId, Host, HostId, Metric, OperationId, PowerLine, Reading, Timestamp};

/// A host with its readings over the window in question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostView {
    /// The host.
    pub host: Host,
    /// Value of each metric over the window, or why there is none.
    pub readings: BTreeMap<Metric, Reading>,
    /// By metric in watts: what it draws by its CPU use, where that has been learned.
    #[serde(default)]
    pub lines: BTreeMap<Metric, PowerLine>,
}

impl HostView {
    /// Whether the metric's value is an estimate and no measurement.
    pub fn is_estimate(&self, metric: Metric) -> bool {
        self.host.capabilities.is_estimate(metric)
    }
}

/// A guest with its readings over the window in question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestView {
    /// The guest, on the host that owns it.
    pub guest: Guest,
    /// Value of each metric over the window, or why there is none.
    pub readings: BTreeMap<Metric, Reading>,
    /// When it last arrived by a move of ours.
    pub last_moved: Option<Timestamp>,
}

/// A move that has begun and not ended: it holds resources on both hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlightMove {
    /// The operation that does it.
    pub operation: OperationId,
    /// The guest.
    pub guest: GuestId,
    /// Where it runs.
    pub from: HostId,
    /// Where it goes.
    pub to: HostId,
}

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClusterView {
    /// When the picture was taken.
    pub at: Timestamp,
    /// All hosts by id.
    pub hosts: BTreeMap<HostId, HostView>,
    /// All guests by id.
    pub guests: BTreeMap<GuestId, GuestView>,
    /// Moves under way.
    pub in_flight: Vec<InFlightMove>,
}

impl ClusterView {
    /// A metric of a host, if it has a value.
    pub fn host_value(&self, host: HostId, metric: Metric) -> Option<f64> {
        self.hosts.get(&host)?.readings.get(&metric)?.value()
    }

    /// Whether a metric's value of a host is an estimate and no measurement.
    pub fn is_estimate(&self, host: HostId, metric: Metric) -> bool {
        self.hosts.get(&host).is_some_and(|view| view.is_estimate(metric))
    }

    /// A metric of a guest, if it has a value.
    pub fn guest_value(&self, guest: GuestId, metric: Metric) -> Option<f64> {
        self.guests.get(&guest)?.readings.get(&metric)?.value()
    }

    /// Guests that belong to a host, in id order.
    pub fn guests_on(&self, host: HostId) -> impl Iterator<Item = &GuestView> {
        self.guests.values().filter(move |view| view.guest.host == host)
    }

    /// A host's name, or its id when it is unknown.
    pub fn host_name(&self, host: HostId) -> String {
        self.hosts.get(&host).map_or_else(|| host.to_string(), |view| view.host.name.clone())
    }

    /// A guest's name, or its id when it is unknown.
    pub fn guest_name(&self, guest: GuestId) -> String {
        self.guests.get(&guest).map_or_else(|| guest.to_string(), |view| view.guest.name.clone())
    }
}
