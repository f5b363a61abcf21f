//! Looks at moves before they begin: asks source and target, and judges by
//! [`drover_rules::preflight`].

mod ask;
pub mod memory;
pub mod moves;

use drover_lifecycle::Migration;
use drover_model::{
    DiskCopy, Guest, GuestInspection, GuestState, Host, HostId, IncomingCheck, MigrationMode,
    MigrationSettings,
};
use drover_rules::preflight::{Facts, Finding, Told, findings};
use drover_rules::{Initiative, Refusal};
use futures::StreamExt as _;

use crate::admission::copies;
use crate::live::{AskError, Live};
use crate::records::Tables;

pub use ask::{cpu_fit, decode, encode, inspect, platform_of};
pub use memory::Blocked;
pub use moves::{Cleared, Verdicts, look_at_moves};

/// Hosts that are asked at the same time about one guest: the source connects to each of
/// them, so it is a fraction of what one agent answers at once.
const TARGETS_AT_ONCE: usize = 16;

/// A guest, where it is, and how it would go.
#[derive(Debug, Clone)]
pub struct Journey {
    /// The guest as it is recorded.
    pub guest: Guest,
    /// Where it is.
    pub source: Host,
    /// Who wants it to go.
    pub initiative: Initiative,
    /// How it would go.
    pub settings: MigrationSettings,
    /// The disks that would go with it.
    pub copies: Vec<DiskCopy>,
    /// Hosts from which what an earlier move left is still to be removed, which Drover does.
    pub unclean: Vec<HostId>,
}

/// A target and what placement constraints say of it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The host.
    pub host: Host,
    /// What placement constraints say.
    pub refusals: Vec<Refusal>,
}

/// What was found at one target.
#[derive(Debug, Clone)]
pub struct Looked {
    /// The host.
    pub host: HostId,
    /// What speaks against it.
    pub findings: Vec<Finding>,
}

/// The settings with which a guest would move if nobody said how: one that is off goes cold.
pub fn usual_settings(guest: &Guest) -> MigrationSettings {
    let mode = match guest.state {
        GuestState::ShutOff => MigrationMode::Cold,
        _ => MigrationMode::Live,
    };
    MigrationSettings { mode, ..MigrationSettings::default() }
}

impl Journey {
    /// The journey of a guest by these settings; none when guest or host is not known.
    pub fn of(
        tables: &Tables,
        guest: drover_model::GuestId,
        initiative: Initiative,
        settings: Option<&MigrationSettings>,
    ) -> Option<Self> {
        let guest = tables.guests.get(guest)?.guest.clone();
        let source = tables.hosts.get(guest.host)?.host.clone();
        let settings = settings.cloned().unwrap_or_else(|| usual_settings(&guest));
        // A disk that cannot be copied is refused by admission.
        let copies = copies(tables, guest.id, &settings).unwrap_or_default();
        let left = tables.operations.iter().map(|of| &of.migration);
        let unclean =
            left.filter(|left| left.guest == guest.id).flat_map(Migration::unclean).collect();
        Some(Self { guest, source, initiative, settings, copies, unclean })
    }
}

/// Looks at every candidate, several at a time; in the order of the candidates.
pub async fn look(live: &Live, journey: &Journey, candidates: Vec<Candidate>) -> Vec<Looked> {
    let inspection = match journey.settings.mode {
        // Nobody is left to ask.
        MigrationMode::Rescue => None,
        MigrationMode::Live | MigrationMode::Cold => {
            Some(ask::inspect(live, journey.source.id, journey.guest.id).await)
        }
    };
    let inspection = inspection.as_ref();
    let each = candidates.into_iter().map(|candidate| async move {
        let findings = look_at(live, journey, inspection, &candidate).await;
        Looked { host: candidate.host.id, findings }
    });
    futures::stream::iter(each).buffered(TARGETS_AT_ONCE).collect().await
}

async fn look_at(
    live: &Live,
    journey: &Journey,
    inspection: Option<&Result<GuestInspection, String>>,
    candidate: &Candidate,
) -> Vec<Finding> {
    let (target, known) = (&candidate.host, inspection.and_then(|told| told.as_ref().ok()));
    let is_live = journey.settings.mode == MigrationMode::Live;
    let (incoming, ports) = tokio::join!(ask::incoming(live, target.id, journey, known), async {
        // Where the source is silent it cannot connect either, and that is said once.
        match known {
            Some(_) if is_live => Some(ask::ports(live, journey.source.id, target).await),
            _ => None,
        }
    });
    let skew = live.clock_skew_ms(target.id).zip(live.clock_skew_ms(journey.source.id));
    let source = &journey.source;
    let facts = Facts {
        // What it is now counts, not what it was when it was recorded.
        guest: known.map_or(&journey.guest, |known| &known.guest),
        source,
        target,
        initiative: journey.initiative,
        settings: &journey.settings,
        // What is in the way there is ours, and goes by itself.
        copies: if journey.unclean.contains(&target.id) { &[] } else { &journey.copies },
        refusals: &candidate.refusals,
        inspection: told(inspection, &[source], |found| found),
        incoming: told(Some(&incoming), &[target], |found| found),
        ports: told(ports.as_ref(), &[source, target], Vec::as_slice),
        skew_ms: skew.map(|(target, source)| target.saturating_sub(source)),
    };
    findings(&facts)
}

/// What these hosts told. No answer at all from an agent that is older than the controller is
/// not silence: it knows no such question.
fn told<'a, A, T: ?Sized>(
    answer: Option<&'a Result<A, String>>,
    of: &[&'a Host],
    as_told: impl Fn(&'a A) -> &'a T,
) -> Told<'a, T> {
    match answer {
        Some(Ok(answer)) => Told::This(as_told(answer)),
        Some(Err(why)) if why.ends_with(&AskError::NoAnswer.to_string()) => {
            let older = of.iter().find(|host| is_older(&host.agent_version));
            older.map_or(Told::Nothing(why), |host| Told::Unable(&host.agent_version))
        }
        Some(Err(why)) => Told::Nothing(why),
        None => Told::NotAsked,
    }
}

/// Whether an agent's version comes before the controller's.
fn is_older(version: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        let plain = text.split(['-', '+']).next().unwrap_or_default();
        plain.split('.').map_while(|part| part.parse().ok()).collect()
    };
    let told = numbers(version);
    !told.is_empty() && told < numbers(env!("CARGO_PKG_VERSION"))
}

/// What a target answers, or why it does not.
type Incoming = Result<IncomingCheck, String>;

#[cfg(test)]
mod tests {
    use drover_testkit::host;

    use super::*;

    #[test]
    fn no_answer_from_an_older_agent_is_no_silence() {
        let silent: Result<u8, String> = Err(AskError::NoAnswer.to_string());
        let gone: Result<u8, String> = Err(AskError::NotConnected.to_string());
        let asked = |version: &str| Host { agent_version: version.to_owned(), ..host(1, 4.0, 16) };
        let old = asked("0.0.9");
        let of = |answer| told(Some(answer), &[&old], |number: &u8| number);
        assert!(matches!(of(&silent), Told::Unable("0.0.9")));
        assert!(matches!(of(&gone), Told::Nothing(_)), "it was not asked");
        for version in [env!("CARGO_PKG_VERSION"), "99.0.0", "", "unknown"] {
            let host = asked(version);
            let told = told(Some(&silent), &[&host], |number: &u8| number);
            assert!(matches!(told, Told::Nothing(_)), "{version}");
        }
    }
}
