//! Hosts and guests at one moment.

use drover_model::{Bytes, Epoch, OwnerPhase, OwnerRecord, Timestamp};

use crate::cluster::GuestSpec;
use crate::trace::Cursor;

/// Samples of one metric, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<(Timestamp, f64)>);

impl Samples {
    pub(super) fn push(&mut self, at: Timestamp, value: f64, oldest: Timestamp) {
        // Now and then, not each time: what is old is half of it at most.
        if self.0.len() > 64 && self.0[self.0.len() / 2].0 < oldest {
            self.0.drain(..self.0.len() / 2);
        }
        self.0.push((at, value));
    }

    /// Those from `oldest` on.
    pub(super) fn since(&self, oldest: Timestamp) -> &[(Timestamp, f64)] {
        &self.0[self.0.partition_point(|(at, _)| *at < oldest)..]
    }
}

/// A host at one moment.
#[derive(Debug)]
pub(super) struct HostState {
    pub(super) up: bool,
    /// When a move last ended on it.
    pub(super) disturbed: Option<Timestamp>,
    /// Guests that run here.
    pub(super) running: Vec<usize>,
    /// Cores in use, the host's own included.
    pub(super) used: f64,
    /// Memory that is not taken, bytes.
    pub(super) available: f64,
    pub(super) cpu_samples: Samples,
    pub(super) memory_samples: Samples,
}

impl HostState {
    pub(super) fn new() -> Self {
        Self {
            up: true,
            disturbed: None,
            running: Vec::new(),
            used: 0.0,
            available: 0.0,
            cpu_samples: Samples::default(),
            memory_samples: Samples::default(),
        }
    }
}

/// What a copy of a guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    /// Its vCPUs run.
    Running,
    /// It arrives, and has not been resumed.
    Incoming,
}

/// A guest at one moment.
#[derive(Debug)]
pub(super) struct GuestState {
    /// Where there is something of it: the checkers see to it that one runs at most.
    pub(super) copies: Vec<(usize, Copy)>,
    pub(super) owner: OwnerRecord,
    pub(super) last_moved: Option<Timestamp>,
    pub(super) cursor: Cursor,
    /// Cores that it wants.
    pub(super) wants: f64,
    /// Cores that it gets.
    pub(super) gets: f64,
    /// Memory it holds, bytes.
    pub(super) resident: f64,
    pub(super) cpu_samples: Samples,
    pub(super) memory_samples: Samples,
}

impl GuestState {
    pub(super) fn new(spec: &GuestSpec, host: usize) -> Self {
        let owner = OwnerRecord {
            guest: spec.id,
            host: spec.host,
            epoch: Epoch(1),
            phase: OwnerPhase::Settled,
        };
        Self {
            copies: vec![(host, Copy::Running)],
            owner,
            last_moved: None,
            cursor: Cursor::default(),
            wants: 0.0,
            gets: 0.0,
            resident: as_float(spec.memory.bytes()),
            cpu_samples: Samples::default(),
            memory_samples: Samples::default(),
        }
    }

    /// Where it runs.
    pub(super) fn runs_on(&self) -> Option<usize> {
        self.copies.iter().find(|(_, copy)| *copy == Copy::Running).map(|(host, _)| *host)
    }

    /// What there is of it on a host.
    pub(super) fn copy_on(&self, host: usize) -> Option<Copy> {
        self.copies.iter().find(|(on, _)| *on == host).map(|(_, copy)| *copy)
    }

    pub(super) fn set_copy(&mut self, host: usize, copy: Option<Copy>) {
        self.copies.retain(|(on, _)| *on != host);
        self.copies.extend(copy.map(|copy| (host, copy)));
    }
}

/// Memory sizes stay far below 2^53.
pub(super) const fn as_float(bytes: Bytes) -> f64 {
    bytes.0 as f64
}
