//! What checks before moves have found is remembered for a while, so that the next plan
//! chooses another host.
//!
//! It counts until its time is over, until the guest's definition or what one of the two hosts
//! can do is another, or until a check finds nothing any more. What happens beside Drover, a
//! port that is opened, shows in none of these: hence the time.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{GuestId, Host, HostId, MigrationSettings, StorageCopy, Timestamp};
use drover_rules::constraint::{KnownRefusal, KnownRefusals, Way};
use drover_rules::preflight::{ANSWER, COPIED_DISK, Finding};
use drover_rules::{EMULATED_MEMORY, PlacementPolicy};

use crate::moment::sha256_hex;
use crate::records::{RecordError, Records, RefusalRecord, Refused, Tables, Txn};

/// What a check found counts for so long: a person who has removed its cause does not wait
/// longer, and a cluster with a cause that stays asks about it six times an hour.
pub const REFUSED_FOR: Duration = Duration::from_secs(600);
/// That somebody did not answer counts for so long: agents start anew in seconds.
pub const SILENT_FOR: Duration = Duration::from_secs(60);
/// Hosts that are remembered for one guest: as many as there are in most clusters, and few
/// enough for one record. The oldest are forgotten first.
const MOST_HOSTS: usize = 256;
/// Longest reason, characters: some findings in full.
const MOST_REASON: usize = 600;

/// A move that a check speaks against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The guest.
    pub guest: GuestId,
    /// Where it was to go.
    pub to: HostId,
    /// What blocks it; at least one.
    pub findings: Vec<Finding>,
}

impl Blocked {
    /// Whether no other host would take the guest either.
    pub fn is_everywhere(&self) -> bool {
        self.findings.iter().any(|finding| finding.everywhere)
    }

    /// Whether nothing is known but that somebody did not answer.
    pub fn is_silence(&self) -> bool {
        self.findings.iter().all(|finding| finding.check == ANSWER)
    }

    /// Causes with their checks.
    pub fn causes(&self) -> String {
        let of = |one: &Finding| format!("{} ({})", one.cause, one.check);
        self.findings.iter().map(of).collect::<Vec<String>>().join("; ")
    }

    /// Cures, each once.
    pub fn cures(&self) -> String {
        each_once(self.findings.iter().map(|finding| finding.cure.as_str())).join("; ")
    }

    /// As plans are told of it.
    pub fn refusal(&self, settings: &MigrationSettings, now: Timestamp) -> KnownRefusal {
        let lasts = if self.is_silence() { SILENT_FOR } else { REFUSED_FOR };
        let reason = self.causes().chars().take(MOST_REASON).collect();
        KnownRefusal { reason, at: now, until: now.plus(lasts), way: way(settings) }
    }
}

/// Cures in the order of their first mention.
pub fn each_once<'c>(cures: impl Iterator<Item = &'c str>) -> Vec<&'c str> {
    let mut named = Vec::new();
    for cure in cures {
        if !named.contains(&cure) {
            named.push(cure);
        }
    }
    named
}

/// The way of a move with these settings.
pub fn way(settings: &MigrationSettings) -> Way {
    Way {
        mode: settings.mode,
        copies_storage: settings.storage != StorageCopy::None,
        skips_cpu_check: settings.skip_cpu_check,
    }
}

/// The same policy for moves with these settings.
pub fn on_the_way(placement: PlacementPolicy, settings: &MigrationSettings) -> PlacementPolicy {
    let Way { mode, copies_storage, skips_cpu_check } = way(settings);
    PlacementPolicy { mode, copies_storage, skips_cpu_check, ..placement }
}

/// Adds a refusal to those that a plan must keep to.
pub fn add(known: &mut BTreeMap<GuestId, KnownRefusals>, blocked: &Blocked, is: KnownRefusal) {
    let of_guest = known.entry(blocked.guest).or_default();
    if blocked.is_everywhere() {
        of_guest.everywhere = Some(is);
    } else {
        of_guest.to.insert(blocked.to, is);
    }
}

/// What is remembered and still made on what there is.
pub fn known(tables: &Tables) -> BTreeMap<GuestId, KnownRefusals> {
    let with = |record: &RefusalRecord| {
        let counts = |refused: &Refused, to: Option<HostId>| {
            (fingerprint(tables, record.guest, to)? == refused.of).then(|| refused.refusal.clone())
        };
        let everywhere = record.everywhere.as_ref().and_then(|refused| counts(refused, None));
        let to = record.to.iter();
        let to = to.filter_map(|(host, refused)| Some((*host, counts(refused, Some(*host))?)));
        (record.guest, KnownRefusals { everywhere, to: to.collect() })
    };
    let any = |(_, known): &(GuestId, KnownRefusals)| *known != KnownRefusals::default();
    tables.refusals.iter().map(with).filter(any).collect()
}

/// Remembers what was found, but for what a map of the request's own has to do with, and for
/// what depends on who wants the move: plans know that by themselves.
pub async fn remember(
    records: &Records,
    blocked: &[Blocked],
    settings: &MigrationSettings,
    now: Timestamp,
) -> Result<(), RecordError> {
    let is_own = |one: &Finding| {
        let of_map = !settings.storage_map.is_empty() && one.check == COPIED_DISK;
        of_map || one.check == EMULATED_MEMORY
    };
    let blocked: Vec<Blocked> = blocked
        .iter()
        .map(|one| {
            let findings = one.findings.iter().filter(|finding| !is_own(finding)).cloned();
            Blocked { findings: findings.collect(), ..one.clone() }
        })
        .filter(|one| !one.findings.is_empty())
        .collect();
    if blocked.is_empty() {
        return Ok(());
    }
    let decide = |tables: &Tables| {
        let mut changed: BTreeMap<GuestId, RefusalRecord> = BTreeMap::new();
        for one in &blocked {
            let to = (!one.is_everywhere()).then_some(one.to);
            let Some(of) = fingerprint(tables, one.guest, to) else { continue };
            let refused = Refused { refusal: one.refusal(settings, now), of };
            let record =
                changed.entry(one.guest).or_insert_with(|| current(tables, one.guest, now));
            match to {
                Some(to) => drop(record.to.insert(to, refused)),
                None => record.everywhere = Some(refused),
            }
            shorten(&mut record.to);
        }
        let mut txn = Txn::none();
        for (guest, record) in changed.into_iter().take(drover_ports::MAX_CHANGES) {
            txn.change(tables.refusals.get(guest), record);
        }
        (txn, ())
    };
    records.update(decide).await
}

/// Forgets what was found against moves that a check finds nothing against any more.
pub async fn forget(records: &Records, clear: &[(GuestId, HostId)]) -> Result<(), RecordError> {
    let any = {
        let tables = records.read();
        clear.iter().any(|(guest, _)| tables.refusals.get(*guest).is_some())
    };
    if !any {
        return Ok(());
    }
    let decide = |tables: &Tables| {
        let mut changed: BTreeMap<GuestId, RefusalRecord> = BTreeMap::new();
        for (guest, to) in clear {
            let Some(before) = tables.refusals.get(*guest) else { continue };
            let record = changed.entry(*guest).or_insert_with(|| before.clone());
            record.everywhere = None;
            record.to.remove(to);
        }
        let mut txn = Txn::none();
        for (guest, record) in changed.into_iter().take(drover_ports::MAX_CHANGES) {
            if record.to.is_empty() {
                txn.delete_refusal_if(tables, guest);
            } else if tables.refusals.get(guest) != Some(&record) {
                txn.change(tables.refusals.get(guest), record);
            }
        }
        (txn, ())
    };
    records.update(decide).await
}

/// Guests of which nothing that is remembered counts any more.
pub fn outdated(tables: &Tables, now: Timestamp) -> Vec<GuestId> {
    let lasting = |record: &&RefusalRecord| {
        let mut all = record.everywhere.iter().chain(record.to.values());
        tables.guests.get(record.guest).is_some() && all.any(|one| now < one.refusal.until)
    };
    let over = tables.refusals.iter().filter(|record| !lasting(record));
    over.map(|record| record.guest).collect()
}

/// The record without what is over.
fn current(tables: &Tables, guest: GuestId, now: Timestamp) -> RefusalRecord {
    let none = RefusalRecord { guest, everywhere: None, to: BTreeMap::new() };
    let mut record = tables.refusals.get(guest).cloned().unwrap_or(none);
    record.everywhere = record.everywhere.filter(|one| now < one.refusal.until);
    record.to.retain(|_, one| now < one.refusal.until);
    record
}

fn shorten(to: &mut BTreeMap<HostId, Refused>) {
    while to.len() > MOST_HOSTS {
        let oldest = to.iter().min_by_key(|(_, one)| one.refusal.at).map(|(host, _)| *host);
        let Some(oldest) = oldest else { return };
        to.remove(&oldest);
    }
}

/// What a check is made on, as far as Drover is told of it: the guest's definition, where it
/// is, and what both hosts can do. None for a guest or host that is gone.
fn fingerprint(tables: &Tables, guest: GuestId, to: Option<HostId>) -> Option<String> {
    let guest = &tables.guests.get(guest)?.guest;
    let host = |id| tables.hosts.get(id).map(|record| features(&record.host));
    let disks: Vec<String> = guest
        .disks
        .iter()
        // Not what grows while it runs.
        .map(|disk| {
            let of = (&disk.target, &disk.source, disk.readonly, disk.shareable);
            format!("{of:?} {:?} {:?} {:?}", disk.cache, disk.format, disk.backing)
        })
        .collect();
    let nics: Vec<_> = guest.nics.iter().map(|nic| &nic.source).collect();
    let own = (guest.state, guest.memory, &guest.machine, &guest.virt_type, &guest.arch);
    let cpu = (&guest.cpu_mode, &guest.cpu_model, guest.host_devices);
    let (from, to) = (host(guest.host)?, to.map_or_else(|| Some(String::new()), host)?);
    let all = format!("{own:?} {cpu:?} {disks:?} {:?} {nics:?} {from} {to}", guest.leases);
    Some(sha256_hex(all.as_bytes()))
}

fn features(host: &Host) -> String {
    format!(
        "{} {:?} {} {} {}",
        host.id, host.capabilities, host.migration_address, host.peer_uri, host.agent_version
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drover_ports::memory::MemoryStore;
    use drover_rules::preflight::Severity;
    use drover_testkit::{guest, guest_id, host, host_id};

    use super::*;
    use crate::records::{GuestRecord, HostRecord};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    async fn records() -> Records {
        let records = Records::load(Arc::new(MemoryStore::default())).await.unwrap();
        let put = |_: &Tables| {
            let mut txn = Txn::none();
            for n in [1, 2, 3] {
                txn.put(HostRecord { host: host(n, 4.0, 16), disturbed: None });
            }
            txn.put(GuestRecord { guest: guest(1, 1, 512), last_moved: None, absent: false });
            (txn, ())
        };
        records.update(put).await.unwrap();
        records
    }

    fn blocked(to: u128, check: &str, everywhere: bool) -> Blocked {
        let finding = Finding {
            check: check.to_owned(),
            severity: Severity::Blocks,
            cause: "it does not fit".to_owned(),
            cure: "mend it".to_owned(),
            everywhere,
        };
        Blocked { guest: guest_id(1), to: host_id(to), findings: vec![finding] }
    }

    async fn remembered(records: &Records, one: Blocked) -> Option<KnownRefusals> {
        let settings = MigrationSettings::default();
        remember(records, &[one], &settings, NOW).await.unwrap();
        known(&records.read()).remove(&guest_id(1))
    }

    #[tokio::test]
    async fn a_refusal_is_of_one_host_unless_it_is_the_guests_own() {
        let records = records().await;
        let one = remembered(&records, blocked(2, "cpu", false)).await.unwrap();
        assert_eq!(one.to.keys().copied().collect::<Vec<_>>(), [host_id(2)]);
        assert_eq!(one.to[&host_id(2)].reason, "it does not fit (cpu)");
        assert_eq!(one.to[&host_id(2)].until, NOW.plus(REFUSED_FOR));
        let both = remembered(&records, blocked(3, "device", true)).await.unwrap();
        assert!(both.everywhere.is_some() && both.to.len() == 1, "{both:?}");
    }

    #[tokio::test]
    async fn silence_is_forgotten_sooner() {
        let one = remembered(&records().await, blocked(2, ANSWER, false)).await.unwrap();
        assert_eq!(one.to[&host_id(2)].until, NOW.plus(SILENT_FOR));
    }

    #[tokio::test]
    async fn what_has_changed_since_is_looked_at_again() {
        let records = records().await;
        remembered(&records, blocked(2, "cpu", false)).await.unwrap();
        let change = |change: fn(&mut drover_model::Host)| {
            let mut other = host(2, 4.0, 16);
            change(&mut other);
            other
        };
        for (host, counts) in [
            (change(|host| host.last_seen = NOW), true),
            (change(|host| host.capabilities.kernel = "6.12".to_owned()), false),
            (change(|_| {}), true),
            (change(|host| host.peer_uri = "qemu+tls://new/system".to_owned()), false),
        ] {
            let put = |_: &Tables| {
                let mut txn = Txn::none();
                txn.put(HostRecord { host: host.clone(), disturbed: None });
                (txn, ())
            };
            records.update(put).await.unwrap();
            assert_eq!(known(&records.read()).contains_key(&guest_id(1)), counts, "{host:?}");
        }
    }

    #[tokio::test]
    async fn what_is_clear_or_over_is_forgotten() {
        let records = records().await;
        remembered(&records, blocked(2, "cpu", false)).await.unwrap();
        remembered(&records, blocked(3, "cpu", false)).await.unwrap();
        forget(&records, &[(guest_id(1), host_id(2))]).await.unwrap();
        let left = known(&records.read()).remove(&guest_id(1)).unwrap();
        assert_eq!(left.to.keys().copied().collect::<Vec<_>>(), [host_id(3)]);
        assert_eq!(outdated(&records.read(), NOW), []);
        assert_eq!(outdated(&records.read(), NOW.plus(REFUSED_FOR)), [guest_id(1)]);
        forget(&records, &[(guest_id(1), host_id(3))]).await.unwrap();
        assert!(records.read().refusals.is_empty());
    }
}
