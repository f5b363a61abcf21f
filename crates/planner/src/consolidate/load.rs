//! What consolidation looks at: how busy guests have been, and what hosts draw.

use drover_model::PowerCurve;

/// What is known of a guest. CPU is in compute units, the same for all guests and hosts.
#[derive(Debug, Clone)]
pub struct GuestLoad {
    /// The most it can ask for, compute units.
    pub size: f64,
    /// Memory to copy when it moves, MB.
    pub image_mb: f64,
    /// Memory it claims on its host, MB.
    pub memory_mb: f64,
    /// What it asks for now, compute units.
    pub demand: f64,
    /// What it asked for at past steps as a part of `size`, newest first (the first is
    /// `demand`).
    pub history: Vec<f64>,
    /// Where it runs; none before it is placed and after it has ended.
    pub host: Option<usize>,
}

/// What is known of a host.
#[derive(Debug, Clone)]
pub struct HostLoad {
    /// Over all cores, compute units.
    pub capacity: f64,
    /// Of one core, compute units: the largest guest it can take.
    pub core: f64,
    /// Memory, MB.
    pub memory_mb: f64,
    /// What it draws.
    pub power: PowerCurve,
    /// How busy it is now, a fraction.
    pub utilisation: f64,
    /// Its guests, in order of arrival.
    pub guests: Vec<usize>,
}

/// What is known of a cluster at one step; guests and hosts are numbers.
#[derive(Debug, Clone, Default)]
pub struct LoadView {
    /// The guests.
    pub guests: Vec<GuestLoad>,
    /// The hosts.
    pub hosts: Vec<HostLoad>,
}

/// A migration to start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadMove {
    /// Which guest.
    pub guest: usize,
    /// Where it goes.
    pub to: usize,
}
