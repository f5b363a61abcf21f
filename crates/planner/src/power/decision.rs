//! What was decided, and the numbers it rests on.

use std::fmt;
use std::time::Duration;

use drover_model::{HostId, Timestamp, exact_duration};
use serde::{Deserialize, Serialize};

use crate::consolidate::LoadMove;

/// What one turn decided. Hosts are ids; compute units are those of the view.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// Hosts to wake.
    pub wakes: Vec<Wake>,
    /// What should be woken for, but no host can be.
    pub unmet: Option<WakeReason>,
    /// Hosts to park, in this order.
    pub parks: Vec<Park>,
    /// Why nothing at all is parked in this turn; none where each host has its own answer.
    pub held: Option<Refusal>,
    /// Hosts that stay on, and why; empty while `held` says it.
    pub kept: Vec<Kept>,
    /// What it rests on.
    pub outlook: Outlook,
}

/// The load and what there is for it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// Hosts that serve guests.
    pub hosts_on: usize,
    /// These, and hosts that are being woken.
    pub hosts_open: usize,
    /// Expected demand of all guests, compute units.
    pub load: f64,
    /// Its standard deviation, compute units.
    pub deviation: f64,
    /// CPU of the open hosts without those in reserve, compute units.
    pub capacity: f64,
    /// CPU below which a host is woken, compute units.
    pub need: f64,
    /// CPU that must remain when a host is parked: the highest of the window, compute units.
    pub need_to_park: f64,
    /// Memory of all guests, MB.
    pub memory_mb: f64,
    /// Memory of the open hosts without those in reserve, MB.
    pub memory_capacity_mb: f64,
    /// Highest mean load that history expects in the coming day, compute units; none where it
    /// shows no pattern.
    pub expected: Option<f64>,
    /// What the hosts that are on draw now by their curves, W.
    pub watts: f64,
    /// Since when the load has been too high for the open hosts.
    pub short_since: Option<Timestamp>,
}

/// A host to wake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wake {
    /// Which.
    pub host: HostId,
    /// Why.
    pub why: WakeReason,
    /// When it should be ready.
    pub ready_by: Timestamp,
    /// What it will draw while idle, W.
    pub idle_watts: f64,
    /// What this wake and the next parking draw without serving anybody, Wh.
    pub cycle_wh: f64,
    /// It does not sleep yet: it is being emptied to be parked, and that ends.
    pub called_back: bool,
}

/// Why a host is to wake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "for")]
pub enum WakeReason {
    /// The schedule wants more hosts awake.
    Schedule {
        /// So many.
        wanted: usize,
        /// So many are.
        awake: usize,
        /// From this moment on.
        from: Timestamp,
    },
    /// The load leaves fewer in reserve than the policy asks, or would not survive failures.
    Reserve {
        /// Hosts that the policy keeps beyond the load.
        reserve: usize,
        /// Failures to survive.
        failures: u8,
        /// Demand, compute units.
        load: f64,
        /// What is left without these hosts, compute units.
        capacity: f64,
    },
    /// A host has less CPU than its guests ask for, and no other has room for any of them.
    Pressed {
        /// Which.
        host: HostId,
        /// Demand, compute units.
        demand: f64,
        /// What it has, compute units.
        capacity: f64,
    },
    /// History knows a load that the open hosts do not carry with comfort.
    Expected {
        /// When it begins.
        from: Timestamp,
        /// Mean, compute units.
        load: f64,
        /// CPU it needs with its reserve, compute units.
        need: f64,
        /// CPU there is, compute units.
        capacity: f64,
    },
    /// The load has been too high throughout the window.
    Load {
        /// Since when.
        since: Timestamp,
        /// CPU it needs with its reserve, compute units.
        need: f64,
        /// CPU there is, compute units.
        capacity: f64,
        /// Memory it needs, MB.
        memory_mb: f64,
        /// Memory there is, MB.
        memory_capacity_mb: f64,
    },
}

/// A host to park.
#[derive(Debug, Clone, PartialEq)]
pub struct Park {
    /// Which.
    pub host: HostId,
    /// What is saved: its draw, less what it draws asleep and what the others draw more, W.
    pub saved_watts: f64,
    /// What the moves, going down and coming back cost, Wh.
    pub cost_wh: f64,
    /// After so long the cost is earned.
    pub pay_back: Duration,
    /// How long it will probably sleep.
    pub stay: Duration,
    /// What is saved over the stay, without the cost, kWh.
    pub saved_kwh: f64,
    /// Where its guests found room when this was decided; a plan with every placement rule
    /// may find other places.
    pub moves: Vec<LoadMove>,
    /// Memory to move, MB.
    pub moved_mb: f64,
}

/// A host that stays on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Which.
    pub host: HostId,
    /// Why.
    pub why: Refusal,
}

/// Why a host is not parked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "because")]
pub enum Refusal {
    /// The level parks nothing.
    Level,
    /// The load is not yet known for as long as the window is.
    Watching {
        /// From when on it is.
        until: Timestamp,
    },
    /// A host is being woken: the next turn knows more.
    Waking,
    /// The load is too high for the hosts that are awake.
    Short {
        /// Since when.
        since: Timestamp,
    },
    /// A host was woken lately because no move relieved another.
    Pressed {
        /// Until when that counts.
        until: Timestamp,
    },
    /// A host's guests ask for more CPU than it has: it is relieved first.
    Overloaded {
        /// Which.
        host: HostId,
    },
    /// The schedule allows no parking now.
    Schedule,
    /// The policy leaves the host alone.
    Excluded,
    /// The host cannot be parked.
    MayNot {
        /// Why.
        reason: String,
    },
    /// It has not been on for long enough.
    MinimumOn {
        /// Until when.
        until: Timestamp,
    },
    /// The others had not enough throughout the window.
    Needed {
        /// CPU needed, compute units.
        need: f64,
        /// CPU of the others without those in reserve, compute units.
        capacity: f64,
        /// Memory needed, MB.
        memory_mb: f64,
        /// Memory of the others without those in reserve, MB.
        memory_capacity_mb: f64,
    },
    /// It would be needed again too soon.
    Soon {
        /// When.
        at: Timestamp,
    },
    /// The schedule wants as many awake as there are.
    ScheduleAwake {
        /// So many.
        wanted: usize,
    },
    /// Without it the loss of other hosts would not be survived.
    Failures {
        /// So many.
        failures: u8,
    },
    /// A guest of it finds no room.
    NoRoom {
        /// The guest's number in the view.
        guest: usize,
    },
    /// Each move would save too little.
    Moves {
        /// Guests to move.
        guests: usize,
        /// W saved.
        saved_watts: f64,
        /// W that each move must save.
        wanted: f64,
    },
    /// It does not pay.
    Price {
        /// W saved.
        saved_watts: f64,
        /// Wh that it costs.
        cost_wh: f64,
        /// How long it would probably sleep.
        stay: Duration,
        /// Wh that must be saved in that time.
        wanted_wh: f64,
    },
    /// As many as may be are on their way to sleep.
    EnoughAtOnce {
        /// So many.
        most: usize,
    },
    /// It was not looked at: others that are cheaper to empty were tried.
    NotTried,
    /// It is the last one awake.
    Last,
}

/// Minutes and seconds as people read them.
fn span(of: Duration) -> String {
    exact_duration(Duration::from_secs(of.as_secs()))
}

impl fmt::Display for WakeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schedule { wanted, awake, .. } => {
                write!(f, "the schedule wants {wanted} host(s) awake, {awake} are")
            }
            Self::Reserve { reserve, failures, load, capacity } => write!(
                f,
                "a load of {load:.1} leaves too little: {capacity:.1} without {reserve} host(s) in \
                 reserve and {failures} that may fail"
            ),
            Self::Pressed { demand, capacity, .. } => write!(
                f,
                "a host of {capacity:.1} is asked for {demand:.1}, and no other has room for a \
                 guest of it"
            ),
            Self::Expected { load, need, capacity, .. } => write!(
                f,
                "history expects a load of {load:.1}, which needs {need:.1} with its reserve; there \
                 is {capacity:.1}"
            ),
            Self::Load { need, capacity, memory_mb, memory_capacity_mb, .. } => {
                if need > capacity {
                    write!(f, "the load needs {need:.1} with its reserve; there is {capacity:.1}")
                } else {
                    write!(
                        f,
                        "guests need {memory_mb:.0} MB with reserve; there is \
                         {memory_capacity_mb:.0}"
                    )
                }
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level => f.write_str("this level parks nothing"),
            Self::Watching { .. } => f.write_str("the load is not known for long enough yet"),
            Self::Waking => f.write_str("a host is being woken"),
            Self::Short { .. } => f.write_str("the load is too high for the hosts that are awake"),
            Self::Pressed { .. } => f.write_str("a host was woken lately to relieve another"),
            Self::Overloaded { .. } => {
                f.write_str("a host's guests ask for more CPU than it has: it is relieved first")
            }
            Self::Schedule => f.write_str("the schedule allows no parking now"),
            Self::Excluded => f.write_str("the policy leaves it alone"),
            Self::MayNot { reason } => f.write_str(reason),
            Self::MinimumOn { .. } => f.write_str("it has not been on for its minimum time"),
            Self::Needed { need, capacity, memory_mb, memory_capacity_mb } => {
                if need > capacity {
                    write!(
                        f,
                        "the load needed {need:.1} with its reserve; the others have {capacity:.1}"
                    )
                } else {
                    write!(
                        f,
                        "guests need {memory_mb:.0} MB with reserve; the others have \
                         {memory_capacity_mb:.0}"
                    )
                }
            }
            Self::Soon { .. } => f.write_str("it would be needed again too soon"),
            Self::ScheduleAwake { wanted } => {
                write!(f, "the schedule wants {wanted} host(s) awake")
            }
            Self::Failures { failures } => {
                write!(f, "without it the loss of {failures} other host(s) is not survived")
            }
            Self::NoRoom { .. } => f.write_str("a guest of it finds no room elsewhere"),
            Self::Moves { guests, saved_watts, wanted } => write!(
                f,
                "{guests} moves would save {saved_watts:.0} W, less than {wanted:.2} W each"
            ),
            Self::Price { saved_watts, cost_wh, stay, wanted_wh } => write!(
                f,
                "{saved_watts:.0} W over {} do not save {wanted_wh:.1} Wh, at a cost of \
                 {cost_wh:.1} Wh",
                span(*stay)
            ),
            Self::EnoughAtOnce { most } => write!(f, "{most} at once are enough"),
            Self::NotTried => f.write_str("others that are cheaper to empty were tried first"),
            Self::Last => f.write_str("it is the last one awake"),
        }
    }
}

impl fmt::Display for Park {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "saves {:.0} W for about {}: {:.2} kWh at a cost of {:.1} Wh ({} move(s)), earned after \
             {}",
            self.saved_watts,
            span(self.stay),
            self.saved_kwh,
            self.cost_wh,
            self.moves.len(),
            span(self.pay_back)
        )
    }
}
