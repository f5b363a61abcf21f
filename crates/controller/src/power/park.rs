//! Asking for a park, and for the test that a host can be woken.

use std::collections::BTreeMap;

use drover_lifecycle::power::{Park, ParkSettings};
use drover_model::{HostId, MigrationSettings, Timestamp, WakeMethod};

use super::refusal::{ParkReason, ParkRefusal, reasons, reserve};
use super::sight::belongings;
use super::survive::fatal_loss;
use super::{Switchboard, methods};
use crate::drain::{Certificate, certificate, in_words, leaving};
use crate::events::{Draft, Severity};
use crate::moment::seed;
use crate::picture::look;
use crate::placement::initiative;
use crate::records::{
    Cause, MaintenancePhase, MaintenanceRecord, PowerPhase, PowerRecord, RecordError, Tables, Txn,
};

/// Guests that a refusal names; `drover host drain --dry-run` names all.
const MOST_NAMED: usize = 20;

/// What a host is parked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkPurpose {
    /// To save power.
    Sleep,
    /// To be woken at once: a test of both.
    Test,
}

/// How a host is to be parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkWish {
    /// What for.
    pub purpose: ParkPurpose,
    /// Also when it was never shown that it can be woken.
    pub untested: bool,
    /// Who wants it.
    pub cause: Cause,
}

/// Why a host is not parked.
#[derive(Debug, thiserror::Error)]
pub enum ParkError {
    /// There is none.
    #[error("there is no such host")]
    NoHost,
    /// Nothing was begun; every reason.
    #[error("{}", .0.iter().map(|one| one.text.clone()).collect::<Vec<_>>().join("; "))]
    Refused(Vec<ParkRefusal>),
    /// The cluster could not be looked at.
    #[error(transparent)]
    Look(#[from] anyhow::Error),
    /// Not stored.
    #[error("the park is not stored")]
    Record(#[from] RecordError),
}

impl Switchboard {
    /// What speaks against parking a host: everything, from its settings to its guests.
    pub async fn park_refusals(
        &self,
        host: HostId,
        wish: &ParkWish,
    ) -> Result<Vec<ParkRefusal>, ParkError> {
        let mut all = {
            let tables = self.records.read();
            if tables.hosts.get(host).is_none() {
                return Err(ParkError::NoHost);
            }
            reasons(&tables, &self.live, host, wish)
        };
        // Guests of a host that does not answer are not known.
        if !all.iter().any(|one| matches!(one.reason, ParkReason::NotOnline | ParkReason::UnderWay))
        {
            all.extend(self.of_guests(host, &wish.cause).await?);
            all.extend(self.of_bmc(host).await);
        }
        Ok(all)
    }

    /// Whether its BMC, where that is to wake it, can be told to. One that refuses the login will
    /// not switch it on again; one that is silent may, where the card is a second way.
    async fn of_bmc(&self, host: HostId) -> Option<ParkRefusal> {
        let ways = methods(&self.records.read(), host);
        if !ways.contains(&WakeMethod::Bmc) {
            return None;
        }
        let error = self.bmcs.state(&self.records, host).await.err()?;
        (error.needs_a_person() || ways.len() == 1).then(|| ParkRefusal {
            reason: ParkReason::Bmc,
            text: format!("its BMC could not wake it: {error}"),
        })
    }

    /// Begins to park a host, unless something speaks against it: the reconciler carries it
    /// out. The outcome is an event, `host.parked` or `host.park_failed`.
    pub async fn request_park(&self, host: HostId, wish: ParkWish) -> Result<(), ParkError> {
        let refusals = self.park_refusals(host, &wish).await?;
        if !refusals.is_empty() {
            self.tell_refused(host, &wish, &refusals).await;
            return Err(ParkError::Refused(refusals));
        }
        let now = self.clock.now();
        let begun = self
            .records
            .update(|tables| {
                // Somebody may have parked another host since.
                let refusals = reasons(tables, &self.live, host, &wish);
                let mut txn = Txn::none();
                if refusals.is_empty() {
                    self.begin_park(tables, &mut txn, host, &wish, now);
                }
                (txn, if refusals.is_empty() { Ok(()) } else { Err(refusals) })
            })
            .await?;
        if let Err(refusals) = begun {
            self.tell_refused(host, &wish, &refusals).await;
            return Err(ParkError::Refused(refusals));
        }
        let (name, count) = {
            let tables = self.records.read();
            (tables.host_name(host), leaving(&tables, host).len())
        };
        let what = match wish.purpose {
            ParkPurpose::Sleep => "is being parked",
            ParkPurpose::Test => "is being parked and woken again, as a test",
        };
        let text = format!("{name} {what} ({}); {count} guest(s) leave first", wish.cause);
        self.events.record(Draft::new("host.parking", Severity::Info, text).host(name)).await;
        Ok(())
    }

    fn begin_park(
        &self,
        tables: &Tables,
        txn: &mut Txn,
        host: HostId,
        wish: &ParkWish,
        now: Timestamp,
    ) {
        let Some(known) = tables.hosts.get(host).map(|record| &record.host) else { return };
        let before = tables.power.get(host);
        let mut record = before.cloned().unwrap_or_else(|| PowerRecord::new(host, now));
        let silence = self.unreachable_after * ParkSettings::SILENCES;
        let settings = ParkSettings { silence, ..ParkSettings::default() };
        let park = Park::new(now, settings, record.settings.bmc.is_some());
        record.phase = PowerPhase::Parking(park);
        record.since = now;
        record.cause = Some(wish.cause.clone());
        record.called_back = None;
        record.belongings = Some(belongings(known));
        record.testing = (wish.purpose == ParkPurpose::Test).then_some(now);
        // A host that somebody drained before stays so when it is awake again.
        let drain = tables.maintenance.get(host).map(|drain| drain.begun);
        record.drain = record.drain.filter(|ours| drain == Some(*ours));
        if drain.is_none() {
            record.drain = Some(now);
            txn.add(MaintenanceRecord {
                host,
                phase: MaintenancePhase::Draining,
                who: wish.cause.to_string(),
                initiative: initiative(tables, &wish.cause),
                begun: now,
                drained: None,
                to_labels: BTreeMap::new(),
                settings: MigrationSettings::default(),
                guests: u32::try_from(leaving(tables, host).len()).unwrap_or(u32::MAX),
                hanging: Vec::new(),
            });
        }
        txn.change(before, record);
    }

    /// Whether its guests can leave, and the rest can take a failure.
    async fn of_guests(&self, host: HostId, cause: &Cause) -> anyhow::Result<Vec<ParkRefusal>> {
        let _turn = self.searching.lock().await;
        let now = self.clock.now();
        let history = self.history.as_ref();
        let picture = look(&self.records, history, now, self.sample_interval).await?;
        let (wants, failures) = {
            let tables = self.records.read();
            (initiative(&tables, cause), reserve(&tables).survive_failures)
        };
        let picture = picture.wanted_by(wants);
        let search = move || -> anyhow::Result<_> {
            let found = certificate(&picture, host, &BTreeMap::new(), seed())?;
            let fatal = found
                .is_feasible()
                .then(|| fatal_loss(&picture, host, &found.plan, failures, seed()))
                .flatten();
            Ok((found, fatal))
        };
        let (found, fatal) = tokio::task::spawn_blocking(search).await??;
        let tables = self.records.read();
        let mut all = Vec::new();
        if !found.is_feasible() {
            let text = blocked(&tables, &found);
            all.push(ParkRefusal { reason: ParkReason::Guests, text });
        }
        if let Some((lost, guests)) = fatal {
            let hosts: Vec<String> = lost.iter().map(|id| tables.host_name(*id)).collect();
            let named = guests.iter().take(MOST_NAMED).map(|id| tables.guest_name(*id));
            let text = format!(
                "should {} fail then, there is no place for {}",
                hosts.join(" and "),
                named.collect::<Vec<_>>().join(", ")
            );
            all.push(ParkRefusal { reason: ParkReason::SurviveFailures, text });
        }
        Ok(all)
    }

    async fn tell_refused(&self, host: HostId, wish: &ParkWish, refusals: &[ParkRefusal]) {
        let name = self.records.read().host_name(host);
        let texts: Vec<&str> = refusals.iter().map(|one| one.text.as_str()).collect();
        let kinds: Vec<&str> = refusals.iter().map(|one| one.reason.as_str()).collect();
        let text = format!("{name} is not parked ({}): {}", wish.cause, texts.join("; "));
        let draft = Draft::new("host.park_refused", Severity::Warning, text);
        self.events.record(draft.host(name).with("reasons", kinds.join(","))).await;
    }
}

fn blocked(tables: &Tables, found: &Certificate) -> String {
    let named: Vec<String> = found
        .blocked
        .iter()
        .take(MOST_NAMED)
        .map(|(guest, reasons)| format!("{} ({})", tables.guest_name(*guest), in_words(reasons)))
        .collect();
    let more = found.blocked.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} guest(s) cannot leave it: {}{more}", found.blocked.len(), named.join(", "))
}
