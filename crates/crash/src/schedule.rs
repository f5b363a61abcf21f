//! What a seed stands for: when guests are to move, and what goes wrong when.

use std::fmt;

use drover_model::{MigrationMode, PostCopy};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use crate::agenda::At;

/// Faults end here; from now on everything is up, and all must come to rest.
pub const QUIET_AT: At = 90_000;

/// The latest moment at which a fault begins.
const LAST_FAULT: At = 80_000;

/// The latest moment at which a migration is asked for.
const LAST_LAUNCH: At = 60_000;

/// Most faults of one schedule: with more, migrations hardly get anywhere.
const MAX_FAULTS: u32 = 6;

/// The host that a fault hits, seen from the migration under way, or else the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where the guest comes from.
    Source,
    /// Where it goes.
    Target,
}

/// One of a host's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Between agents and controller.
    Management,
    /// Between the libvirtds, and between the QEMUs.
    Migration,
    /// To the disks.
    Storage,
}

/// What goes wrong. Durations in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The controller is killed and comes back after a while.
    KillController(At),
    /// An agent is killed and comes back after a while.
    KillAgent(Side, At),
    /// A libvirtd is killed and comes back after a while.
    KillLibvirtd(Side, At),
    /// A QEMU process of the guest is killed.
    KillQemu(Side),
    /// A host loses power and boots after a while.
    KillHost(Side, At),
    /// A host's network is cut for a while.
    Cut(Side, Network, At),
    /// The target's disk is full for a while: no QEMU starts there.
    DiskFull(At),
    /// The network between the two is cut as libvirt's Finish is answered: for so long.
    LoseFinishReply(At),
    /// Somebody cancels the migration.
    Cancel,
    /// Somebody wants the migration switched to post-copy now.
    SwitchNow,
    /// For a while messages between agents and controller come late and out of order.
    Late(At),
    /// For a while messages between agents and controller come twice.
    Twice(At),
}

/// A step of a migration at which a fault may be set to strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The controller has stored a state and has not yet said what follows from it.
    Stored,
    /// The target has been asked to be ready.
    Offered,
    /// libvirt's job has begun on the source.
    Begin,
    /// The target's QEMU is being started.
    Prepare,
    /// Memory is sent.
    Perform,
    /// The source's vCPUs have stopped for the switch-over.
    SwitchOver,
    /// The target has everything; the source waits for Finish.
    PerformDone,
    /// The source has switched to post-copy.
    PostCopy,
    /// The target runs the guest before all of its memory is there.
    RunsAhead,
    /// The source's libvirt finds that the transfer broke after the switch.
    PostCopyFailed,
    /// The target finishes.
    Finish,
    /// The target has finished; its answer is on its way.
    Finished,
    /// The source ends its copy.
    Confirm,
    /// The source goes back to running its copy.
    ConfirmCancelled,
    /// No process of the guest is left on the source.
    SourceGone,
    /// The target is to let the guest run.
    Resuming,
    /// The target's copy is to be discarded.
    CleaningUp,
    /// The source is to let the guest run.
    Returning,
}

const MOMENTS: [Moment; 18] = [
    Moment::Stored,
    Moment::Offered,
    Moment::Begin,
    Moment::Prepare,
    Moment::Perform,
    Moment::SwitchOver,
    Moment::PerformDone,
    Moment::PostCopy,
    Moment::RunsAhead,
    Moment::PostCopyFailed,
    Moment::Finish,
    Moment::Finished,
    Moment::Confirm,
    Moment::ConfirmCancelled,
    Moment::SourceGone,
    Moment::Resuming,
    Moment::CleaningUp,
    Moment::Returning,
];

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At this time.
    At(At),
    /// So long after the `nth` such moment, counted from 0.
    Step {
        /// Which.
        moment: Moment,
        /// How many of them to let pass.
        nth: u32,
        /// How long after it.
        after: At,
    },
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub when: When,
    /// What.
    pub kind: FaultKind,
}

/// A migration that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// When; later if the guest is not free to move by then.
    pub at: At,
    /// The target: so many hosts further than where the guest is; 1 or 2 of 3.
    pub turn: usize,
    /// How long its memory, or its disks, take to send, milliseconds.
    pub transfer: At,
    /// Live; cold, for which its owner shuts it down; or a rescue, once its host is dead.
    pub mode: MigrationMode,
    /// After a cold move it is started.
    pub auto_start: bool,
    /// Whether a live one may, or is to, switch to post-copy.
    pub post_copy: PostCopy,
}

/// Everything that a run depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Where it came from; also decides delays within the run.
    pub seed: u64,
    /// The guest has a lease, without which post-copy is refused.
    pub leased: bool,
    /// Its disk is a file of one host, copied when it moves.
    pub local: bool,
    /// Migrations.
    pub launches: Vec<Launch>,
    /// Faults.
    pub faults: Vec<Fault>,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(seed ^ 0x5eed_0f5c_4ed1_u64);
        let (leased, local) = (rng.random_bool(0.5), rng.random_bool(0.3));
        let mut launches: Vec<Launch> = (0..rng.random_range(1..=3_u32))
            .map(|number| launch(&mut rng, number == 0, leased, local))
            .collect();
        launches.sort_by_key(|launch| launch.at);
        let faults = (0..rng.random_range(0..=MAX_FAULTS)).map(|_| fault(&mut rng)).collect();
        Self { seed, leased, local, launches, faults }
    }
}

fn launch(rng: &mut Pcg64Mcg, first: bool, leased: bool, local: bool) -> Launch {
    let mode = match rng.random_range(0..10) {
        0..=7 => MigrationMode::Live,
        8 => MigrationMode::Cold,
        // With its host a disk of its own is gone.
        _ if local => MigrationMode::Cold,
        _ => MigrationMode::Rescue,
    };
    let may_switch = leased && mode == MigrationMode::Live;
    Launch {
        at: if first {
            rng.random_range(1_000..4_000)
        } else {
            rng.random_range(2_000..LAST_LAUNCH)
        },
        turn: rng.random_range(1..=2),
        transfer: rng.random_range(400..8_000),
        mode,
        auto_start: rng.random_bool(0.7),
        post_copy: match rng.random_range(0..3) {
            0 if may_switch => PostCopy::Allow,
            1 if may_switch => PostCopy::Now,
            _ => PostCopy::Never,
        },
    }
}

fn fault(rng: &mut Pcg64Mcg) -> Fault {
    let when = if rng.random_bool(0.3) {
        When::At(rng.random_range(0..LAST_FAULT))
    } else {
        let moment = MOMENTS[rng.random_range(0..MOMENTS.len())];
        let after = match rng.random_range(0..4) {
            0 => 0,
            1 => rng.random_range(0..10),
            2 => rng.random_range(0..200),
            _ => rng.random_range(0..5_000),
        };
        When::Step { moment, nth: rng.random_range(0..3), after }
    };
    Fault { when, kind: kind(rng) }
}

fn kind(rng: &mut Pcg64Mcg) -> FaultKind {
    use FaultKind as K;
    let side = if rng.random_bool(0.5) { Side::Source } else { Side::Target };
    // Short ones are over before anybody notices; long ones outlast every timeout.
    let mut a_while = || match rng.random_range(0..3) {
        0 => rng.random_range(50..2_000),
        1 => rng.random_range(2_000..12_000),
        _ => rng.random_range(12_000..45_000),
    };
    let long = a_while();
    let short = long.min(15_000);
    match rng.random_range(0..23) {
        0 | 1 => K::KillController(short),
        2..=4 => K::KillAgent(side, short),
        5..=7 => K::KillLibvirtd(side, short),
        8 => K::KillQemu(side),
        9 => K::KillHost(side, long.max(2_000)),
        10 | 11 => K::Cut(side, Network::Management, long),
        12..=14 => K::Cut(side, Network::Migration, long),
        15 => K::Cut(side, Network::Storage, long),
        16 => K::DiskFull(long),
        17 => K::LoseFinishReply(rng.random_range(20_000..45_000)),
        18 => K::Cancel,
        19 | 20 => K::Late(long),
        21 => K::SwitchNow,
        _ => K::Twice(long),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::At(at) => write!(f, "{at} ms: {:?}", self.kind),
            When::Step { moment, nth, after } => {
                write!(f, "{after} ms after {moment:?} no. {}: {:?}", nth + 1, self.kind)
            }
        }
    }
}
