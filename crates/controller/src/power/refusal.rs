//! What speaks against parking a host, all of it at once, each with its cure.

use drover_model::{Host, HostId, HostState, WakeMethod};

use super::neighbours::{Reach, senders};
use super::{ParkPurpose, ParkWish, methods};
use crate::live::Live;
use crate::records::{PowerPhase, PowerRecord, ReserveName, ReserveRecord, Tables};

/// Labels that keep a host awake, and what they say of it.
pub const NEVER_PARKED_LABELS: [(&str, &str); 3] = [
    ("keep-awake", "it is labelled `keep-awake`"),
    ("etcd", "it is labelled `etcd`: without it the members that are left may have no quorum"),
    ("controller", "it is labelled `controller`: droverd runs there"),
];

/// What sort of refusal it is: stable, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkReason {
    /// Its agent cannot be told to switch it off.
    NotOnline,
    /// It is switched on or off already.
    UnderWay,
    /// Somebody said that it stays awake.
    KeepAwake,
    /// The controller runs on it.
    Controller,
    /// Nothing is known that wakes it.
    NoWakeMethod,
    /// Its BMC, which is to wake it, does not do what it is told.
    Bmc,
    /// That it can be woken was never shown.
    Untested,
    /// No awake host is where its magic packet must be sent.
    OutOfReach,
    /// Too few hosts would stay awake.
    MinAwake,
    /// Guests cannot leave.
    Guests,
    /// A failure of another host would leave guests without a place.
    SurviveFailures,
}

impl ParkReason {
    /// The word in answers and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotOnline => "not-online",
            Self::UnderWay => "under-way",
            Self::KeepAwake => "keep-awake",
            Self::Controller => "controller",
            Self::NoWakeMethod => "no-wake-method",
            Self::Bmc => "bmc",
            Self::Untested => "untested",
            Self::OutOfReach => "out-of-reach",
            Self::MinAwake => "min-awake",
            Self::Guests => "guests",
            Self::SurviveFailures => "survive-failures",
        }
    }

    /// What to do about it, in commands that can be pasted.
    pub fn cure(self, host: &str) -> String {
        match self {
            Self::NotOnline => format!("wait until `drover host show {host}` says online"),
            Self::UnderWay => format!("`drover host power {host}` tells how far it is"),
            Self::KeepAwake => format!(
                "`drover host power set {host} --keep-awake=false`, or `drover host label {host} \
                 LABEL-` for a label"
            ),
            Self::Controller => {
                "park another host, or move droverd to one that stays awake".to_owned()
            }
            Self::NoWakeMethod => name_a_way(host),
            Self::Bmc => format!(
                "set it right: `drover host bmc set {host} --help`; or wake it by its card alone: \
                 `drover host power set {host} --method wake-on-lan`"
            ),
            Self::Untested => format!(
                "`drover host check-wake {host}` tests it; `drover host park {host} --untested` \
                 parks it all the same"
            ),
            Self::OutOfReach => format!(
                "`drover host power set {host} --broadcast ADDRESS` names the directed broadcast \
                 address of its network; or set a BMC: `drover host bmc set {host} --help`"
            ),
            Self::MinAwake => "wake another host first, or lower what must stay: `drover host \
                               reserve --min-awake N`"
                .to_owned(),
            Self::Guests => format!(
                "the reasons tell what each host lacks; `drover host drain {host} --dry-run` \
                 shows all of them"
            ),
            Self::SurviveFailures => "wake another host first, or lower what must be survived: \
                                      `drover host reserve --survive-failures N`"
                .to_owned(),
        }
    }
}

/// How a host gets a way to be woken.
pub(super) fn name_a_way(host: &str) -> String {
    format!(
        "`drover host power set {host} --mac ADDRESS` names a card that wakes it; `drover host \
         bmc set {host} --help` tells how to name its BMC"
    )
}

/// One thing that speaks against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkRefusal {
    /// What sort.
    pub reason: ParkReason,
    /// In words, with its numbers.
    pub text: String,
}

/// How much of the cluster must stay awake.
pub(super) fn reserve(tables: &Tables) -> ReserveRecord {
    tables.reserve.get(ReserveName::Cluster).copied().unwrap_or_default()
}

/// What speaks against it without a look at the guests.
pub fn reasons(tables: &Tables, live: &Live, host: HostId, wish: &ParkWish) -> Vec<ParkRefusal> {
    let Some(known) = tables.hosts.get(host).map(|record| &record.host) else {
        return Vec::new();
    };
    let record = tables.power.get(host);
    let mut all = Vec::new();
    let mut say = |reason: ParkReason, text: String| all.push(ParkRefusal { reason, text });
    if let Some(phase) = record.map(|record| &record.phase).filter(|phase| is_busy(phase)) {
        say(ParkReason::UnderWay, format!("it is {} already", phase.as_str()));
    } else if known.state != HostState::Online || !live.is_connected(host) {
        let state = match known.state {
            HostState::Online => "its agent is not connected".to_owned(),
            state => format!("it is {}", state.as_str()),
        };
        say(ParkReason::NotOnline, format!("{state}: nobody can switch it off in order"));
    }
    for text in kept_awake(tables, known, record) {
        say(ParkReason::KeepAwake, text);
    }
    if live.session(host).is_some_and(|session| session.beside) {
        say(ParkReason::Controller, "this controller runs on it".to_owned());
    }
    if let Some((reason, text)) = unwakeable(tables, live, known, record, wish) {
        say(reason, text);
    }
    let reserve = reserve(tables);
    let stay = awake_without(tables, host);
    if stay < reserve.min_awake {
        let text = format!("{stay} host(s) would stay awake, and {} must", reserve.min_awake);
        say(ParkReason::MinAwake, text);
    }
    all
}

const fn is_busy(phase: &PowerPhase) -> bool {
    matches!(phase, PowerPhase::Parking(_) | PowerPhase::Parked(_) | PowerPhase::Waking(_))
}

fn kept_awake(tables: &Tables, host: &Host, record: Option<&PowerRecord>) -> Vec<String> {
    let mut all = Vec::new();
    if record.is_some_and(|record| record.settings.keep_awake) {
        all.push("it is set to stay awake".to_owned());
    }
    let labels = tables.labels.get(host.id).map(|of| of.labels.clone()).unwrap_or_default();
    for (label, text) in NEVER_PARKED_LABELS {
        if labels.get(label).is_some_and(|value| value != "false") {
            all.push(text.to_owned());
        }
    }
    all
}

/// Whether it could be woken again.
fn unwakeable(
    tables: &Tables,
    live: &Live,
    host: &Host,
    record: Option<&PowerRecord>,
    wish: &ParkWish,
) -> Option<(ParkReason, String)> {
    let methods = methods(tables, host.id);
    if methods.is_empty() {
        let text = "nothing is known that wakes it".to_owned();
        return Some((ParkReason::NoWakeMethod, text));
    }
    if methods == [WakeMethod::WakeOnLan] {
        let (found, reach) = senders(tables, host.id, |other| live.is_connected(other));
        let directed = record.is_some_and(|record| !record.settings.broadcasts.is_empty());
        // Agents that do not tell their networks may share one all the same.
        let told = !host.capabilities.nics.is_empty();
        if found.is_empty() || (reach == Reach::Anybody && told && !directed) {
            let text = "no awake host shares a network with it: nobody could send its magic packet";
            return Some((ParkReason::OutOfReach, text.to_owned()));
        }
    }
    let tested = record.is_some_and(PowerRecord::is_tested);
    let failed = || {
        let last = record.and_then(|record| record.last_wake.as_ref()).filter(|_| !tested);
        last.and_then(|last| last.failure.clone())
    };
    if tested || wish.untested || wish.purpose == ParkPurpose::Test {
        return None;
    }
    let text = match failed() {
        Some(failure) => format!("its last wake failed: {failure}"),
        None => "that it can be woken was never shown".to_owned(),
    };
    Some((ParkReason::Untested, text))
}

/// Hosts that are of use and stay so.
fn awake_without(tables: &Tables, host: HostId) -> u32 {
    let settled =
        |id: HostId| tables.power.get(id).is_none_or(|record| record.phase == PowerPhase::Settled);
    let of_use = tables.hosts.iter().map(|record| &record.host).filter(|other| {
        other.id != host
            && other.state == HostState::Online
            && settled(other.id)
            && tables.maintenance.get(other.id).is_none()
    });
    u32::try_from(of_use.count()).unwrap_or(u32::MAX)
}
