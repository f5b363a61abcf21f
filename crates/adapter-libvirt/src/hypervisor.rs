//! The hypervisor port: each call on a thread of its own, so that a migration of an hour
//! starves nobody.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use drover_model::{
    BrokenStream, Bytes, DirtyWindow, DiskCopy, Guest, GuestId, GuestState, HostId,
    MigrationOutcome, MigrationProgress, NetworkDescription, Timestamp,
};
use drover_ports::{
    GuestStats, HostDescription, Hypervisor, HypervisorError, HypervisorEvent, ImageSink,
    IncomingDisposal, MAX_DIRTY_WINDOW_S, OutgoingMigration,
};
use tokio::sync::{broadcast, oneshot};
use virt_sys as sys;

use crate::connection::{Connection, Domain, Params, Value};
use crate::error::LibvirtError;
use crate::images;
use crate::outgoing;
use crate::parse;
use crate::post_copy;
use crate::process::{Processes, QemuProcess};
use crate::reconnect::Reconnecting;
use crate::relocate::{left_behind, relocated};

/// A guest that arrived and has never run has used less vCPU time than this, ns: QEMU's
/// vCPU threads only start up. A guest that ran for a tenth of a second has used more.
const NEVER_RAN_NS: u64 = 50_000_000;

/// What libvirt takes for no cap, MiB/s: the largest that fits QEMU's bytes per second.
const NO_CAP_MIB_S: u64 = (i64::MAX as u64) >> 20;

/// How long the statistics of a job may take after its end, and how often is looked.
/// Nobody waits for them: that the source is gone was told before.
const STATISTICS_WAIT: Duration = Duration::from_millis(1000);
const STATISTICS_LOOK: Duration = Duration::from_millis(10);

/// After the window QEMU compares its sample: so often and so long it is asked whether it is
/// done. On a loaded host it took a second.
const DIRTY_LOOK: Duration = Duration::from_millis(100);
const DIRTY_LOOKS: u32 = 50;

/// One libvirtd.
#[derive(Debug, Clone)]
pub struct Libvirt {
    link: Arc<Reconnecting>,
    pub(crate) processes: Processes,
}

impl Libvirt {
    /// A hypervisor at this libvirt URI, e.g. `qemu:///system`. It need not answer yet:
    /// the connection is made in the background and comes back by itself.
    ///
    /// Its QEMU processes must be visible in this process's /proc.
    pub fn connect(uri: &str) -> Self {
        Self { link: Reconnecting::start(uri.to_owned()), processes: Processes::default() }
    }

    /// The same for a libvirtd of several whose QEMU processes are visible here: those of
    /// this one are in the PID namespace of process `pid`.
    pub fn connect_in_namespace(uri: &str, pid: u32) -> std::io::Result<Self> {
        let processes = Processes::in_namespace_of(pid)?;
        Ok(Self { link: Reconnecting::start(uri.to_owned()), processes })
    }

    /// Whether libvirtd answers now.
    pub fn is_connected(&self) -> bool {
        self.link.get().is_some()
    }

    /// Of the job that has just ended. Its event comes by another way than the answer to
    /// the call, and may come later.
    async fn statistics(&self, guest: GuestId) -> Option<Params> {
        let begun = Instant::now();
        loop {
            match self.link.take_job(guest) {
                None if begun.elapsed() < STATISTICS_WAIT => {
                    tokio::time::sleep(STATISTICS_LOOK).await;
                }
                found => return found,
            }
        }
    }

    /// Runs a migration to the end of its job, and tells what that took.
    async fn carry_out(
        &self,
        migration: OutgoingMigration,
        job: impl FnOnce(&Connection, &OutgoingMigration) -> Result<(), LibvirtError> + Send + 'static,
    ) -> Result<MigrationOutcome, HypervisorError> {
        let guest = migration.guest;
        self.link.take_job(guest);
        let begun = Instant::now();
        self.call(Some(guest), move |connection| job(connection, &migration)).await?;
        let total_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(parse::outcome(self.statistics(guest).await.as_ref(), total_ms))
    }

    pub(crate) async fn call<T: Send + 'static>(
        &self,
        guest: Option<GuestId>,
        job: impl FnOnce(&Connection) -> Result<T, LibvirtError> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let connection = self
            .link
            .get()
            .ok_or_else(|| HypervisorError::Retry("libvirtd does not answer".to_owned()))?;
        on_thread("libvirt-call", move || job(&connection))
            .await?
            .map_err(|error| error.translate(guest))
    }
}

/// Runs a blocking job that ends by itself on a thread of its own.
async fn on_thread<T: Send + 'static>(
    name: &str,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HypervisorError> {
    on_thread_while_wanted(name, move |_| job()).await
}

/// The same for a job that may have no end of its own: it is to ask whether its caller still
/// waits, and end where none does.
async fn on_thread_while_wanted<T: Send + 'static>(
    name: &str,
    job: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> Result<T, HypervisorError> {
    let (answer, waiting) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let said = job(&|| !answer.is_closed());
            // A caller that no longer waits is no error.
            let _ = answer.send(said);
        })
        .map_err(|error| HypervisorError::Broken(format!("no thread: {error}")))?;
    waiting.await.map_err(|_| HypervisorError::Broken("a libvirt call panicked".to_owned()))
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn describe(&self) -> Result<HostDescription, HypervisorError> {
        self.call(None, describe).await
    }

    async fn guests(&self, host: HostId) -> Result<Vec<Guest>, HypervisorError> {
        let processes = self.processes.clone();
        self.call(None, move |connection| {
            let domains = connection.domains()?;
            let read = domains.iter().filter_map(|domain| read_guest(domain, host));
            let mut guests: Vec<Guest> = read.collect();
            processes.fill_in(&mut guests);
            Ok(guests)
        })
        .await
    }

    async fn stats(&self) -> Result<Vec<GuestStats>, HypervisorError> {
        self.call(None, |connection| {
            let all = connection.stats()?;
            Ok(all.iter().map(|(guest, params)| parse::guest_stats(*guest, params)).collect())
        })
        .await
    }

    async fn migrate_out(
        &self,
        migration: OutgoingMigration,
    ) -> Result<MigrationOutcome, HypervisorError> {
        self.carry_out(migration, send_away).await
    }

    async fn progress(&self, guest: GuestId) -> Result<Option<MigrationProgress>, HypervisorError> {
        let at = now();
        self.call(Some(guest), move |connection| {
            let (kind, params) = connection.domain(guest)?.job()?;
            Ok((kind != sys::VIR_DOMAIN_JOB_NONE).then(|| parse::progress(&params, at)))
        })
        .await
    }

    async fn cancel_migration(&self, guest: GuestId) -> Result<(), HypervisorError> {
        let aborted =
            self.call(Some(guest), move |connection| connection.domain(guest)?.abort_job()).await;
        match aborted {
            // No job runs any more.
            Err(HypervisorError::Conflict(_)) => Ok(()),
            other => other,
        }
    }

    async fn set_max_downtime(&self, guest: GuestId, millis: u64) -> Result<(), HypervisorError> {
        self.call(Some(guest), move |connection| connection.domain(guest)?.set_max_downtime(millis))
            .await
    }

    async fn set_bandwidth(
        &self,
        guest: GuestId,
        mib_per_s: Option<u64>,
    ) -> Result<(), HypervisorError> {
        let speed = mib_per_s.unwrap_or(NO_CAP_MIB_S);
        self.call(Some(guest), move |connection| {
            let domain = connection.domain(guest)?;
            domain.set_max_speed(speed)?;
            // QEMU takes none for no cap; where it knows no post-copy there is nothing to cap.
            let _ = domain.set_max_post_copy_speed(mib_per_s.unwrap_or(0));
            Ok(())
        })
        .await
    }

    async fn start_post_copy(&self, guest: GuestId) -> Result<(), HypervisorError> {
        let switched =
            self.call(Some(guest), move |connection| connection.domain(guest)?.start_post_copy());
        match switched.await {
            // libvirt has begun the job, and QEMU has not: its own refusal comes as a fault.
            Err(HypervisorError::Broken(message)) if message.contains("start-postcopy") => {
                Err(HypervisorError::Conflict(message))
            }
            other => other,
        }
    }

    async fn recover_post_copy(
        &self,
        migration: OutgoingMigration,
        stream: BrokenStream,
    ) -> Result<MigrationOutcome, HypervisorError> {
        let go_on = move |connection: &Connection, migration: &OutgoingMigration| {
            post_copy::go_on(connection, migration, stream)
        };
        self.carry_out(migration, go_on).await
    }

    async fn is_busy_at_target(
        &self,
        migration: OutgoingMigration,
    ) -> Result<bool, HypervisorError> {
        let guest = migration.guest;
        let asked = on_thread("libvirt-peer", move || {
            // Nobody listens to the peer's events.
            let (notices, _) = std::sync::mpsc::channel();
            let peer = Connection::open(&migration.peer_uri, notices)?;
            let domain = match peer.domain(guest) {
                Err(error) if error.code == sys::VIR_ERR_NO_DOMAIN => return Ok(false),
                other => other?,
            };
            Ok(parse::guest_state(domain.state()?).is_active() && domain.is_busy()?)
        });
        asked.await?.map_err(|error: LibvirtError| error.translate(Some(guest)))
    }

    async fn resume(&self, guest: GuestId) -> Result<(), HypervisorError> {
        let resumed = self
            .call(Some(guest), move |connection| {
                let domain = connection.domain(guest)?;
                let state = domain.state()?;
                if parse::is_half_here(state) {
                    let message = "half of its memory is still on its way".to_owned();
                    return Err(LibvirtError { code: sys::VIR_ERR_OPERATION_INVALID, message });
                }
                match parse::guest_state(state) {
                    GuestState::Running => Ok(()),
                    // libvirt's own answer takes 30 s: its Finish holds the lock for ever.
                    GuestState::PostCopyFailed => {
                        let message = "half of its memory has not come".to_owned();
                        Err(LibvirtError { code: sys::VIR_ERR_OPERATION_INVALID, message })
                    }
                    _ => domain.resume(),
                }
            })
            .await;
        match resumed {
            // libvirt refuses while the incoming migration is not finished.
            Err(HypervisorError::Refused(message)) if message.contains("migrat") => {
                Err(HypervisorError::Conflict(message))
            }
            other => other,
        }
    }

    async fn wait_until_gone(&self, guest: GuestId) -> Result<(), HypervisorError> {
        let processes = self.processes.clone();
        let wait = move |is_wanted: &dyn Fn() -> bool| processes.wait_until_gone(guest, is_wanted);
        let seen = on_thread_while_wanted("qemu-exit", wait)
            .await?
            .map_err(|error| unwatchable(&error))?;
        if seen {
            return Ok(());
        }
        // Never to have seen a process proves nothing where processes cannot be seen.
        let active = self
            .call(Some(guest), move |connection| {
                let state = connection.domain(guest)?.state()?;
                Ok(parse::guest_state(state).is_active())
            })
            .await;
        match active {
            Ok(false) | Err(HypervisorError::Gone(_)) => Ok(()),
            Ok(true) => Err(HypervisorError::Broken(format!(
                "libvirt says that guest {guest} is active, and its QEMU is not to be seen in \
                 /proc: the agent has to run in the PID namespace of the host"
            ))),
            Err(error) => Err(error),
        }
    }

    async fn discard_incoming(&self, guest: GuestId) -> Result<IncomingDisposal, HypervisorError> {
        let found = self
            .call(Some(guest), move |connection| {
                let domain = connection.domain(guest)?;
                let state = domain.state()?;
                let used = connection
                    .stats()?
                    .iter()
                    .find(|(id, _)| *id == guest)
                    .and_then(|(_, params)| parse::guest_stats(guest, params).vcpu_time_ns);
                Ok((state, used))
            })
            .await;
        let (state, used) = match found {
            Err(HypervisorError::Gone(_)) => return Ok(IncomingDisposal::Absent),
            other => other?,
        };
        let processes = self.processes.qemu_of(guest).map_err(|error| unwatchable(&error))?;
        // The copy has stopped by itself; what it left is a definition.
        let stopped = processes.is_empty() && !parse::guest_state(state).is_active();
        if !stopped {
            may_be_discarded(&processes, parse::guest_state(state), used)?;
        }
        self.call(Some(guest), move |connection| {
            let domain = connection.domain(guest)?;
            if !stopped {
                domain.destroy()?;
            }
            if domain.is_persistent() {
                domain.undefine()?;
            }
            Ok(())
        })
        .await?;
        Ok(IncomingDisposal::Discarded)
    }

    async fn discard_departed(&self, guest: GuestId) -> Result<(), HypervisorError> {
        match self.call(Some(guest), move |connection| discard_departed(connection, guest)).await {
            Err(HypervisorError::Gone(_)) => Ok(()),
            other => other,
        }
    }

    async fn definitions(&self) -> Result<Vec<(GuestId, String)>, HypervisorError> {
        self.call(None, |connection| {
            let domains = connection.domains()?;
            // One that went away while it was read has none.
            let of = |domain: &Domain| Some((domain.uuid()?, domain.definition().ok()?));
            Ok(domains.iter().filter_map(of).collect())
        })
        .await
    }

    async fn departing_definition(
        &self,
        guest: GuestId,
        disks: &[DiskCopy],
    ) -> Result<String, HypervisorError> {
        let disks = disks.to_vec();
        self.call(Some(guest), move |connection| departing(connection, guest, &disks)).await
    }

    async fn define(&self, guest: GuestId, definition: String) -> Result<(), HypervisorError> {
        self.call(Some(guest), move |connection| connection.define(&definition)).await
    }

    async fn start_guest(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.call(Some(guest), move |connection| start(connection, guest)).await
    }

    async fn undefine(&self, guest: GuestId) -> Result<(), HypervisorError> {
        match self.call(Some(guest), move |connection| undefine(connection, guest)).await {
            Err(HypervisorError::Gone(_)) => Ok(()),
            other => other,
        }
    }

    async fn open_image(
        &self,
        peer_uri: &str,
        path: &str,
        length: Bytes,
    ) -> Result<Box<dyn ImageSink>, HypervisorError> {
        let (peer_uri, path) = (peer_uri.to_owned(), path.to_owned());
        on_thread("libvirt-image", move || images::open(&peer_uri, &path, length.0))
            .await?
            .map_err(|error| error.translate(None))
    }

    async fn refresh_images(&self, directories: &[String]) -> Result<(), HypervisorError> {
        let directories = directories.to_vec();
        self.call(None, move |connection| {
            directories.iter().try_for_each(|directory| connection.refresh_pool(directory))
        })
        .await
    }

    async fn suspend(&self, guest: GuestId) -> Result<(), HypervisorError> {
        // libvirt itself finds nothing wrong with pausing a paused guest.
        self.call(Some(guest), move |connection| connection.domain(guest)?.suspend()).await
    }

    async fn measure_dirtying(
        &self,
        guest: GuestId,
        seconds: u32,
    ) -> Result<DirtyWindow, HypervisorError> {
        let seconds = seconds.clamp(1, MAX_DIRTY_WINDOW_S);
        self.call(Some(guest), move |connection| {
            connection.domain(guest)?.start_dirty_rate(seconds)
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        for _ in 0..DIRTY_LOOKS {
            let params = self
                .call(Some(guest), move |connection| connection.domain(guest)?.dirty_rate())
                .await?;
            if let Some(window) = parse::dirty_window(&params) {
                return Ok(window);
            }
            tokio::time::sleep(DIRTY_LOOK).await;
        }
        Err(HypervisorError::Retry("QEMU has not measured the dirty rate in time".to_owned()))
    }

    fn events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.link.events()
    }
}

/// A copy may be destroyed only when everything says that it has never run: it is paused,
/// its QEMU was started to receive a migration, and its vCPUs have used no time to speak of.
fn may_be_discarded(
    processes: &[QemuProcess],
    state: drover_model::GuestState,
    vcpu_time_ns: Option<u64>,
) -> Result<(), HypervisorError> {
    use drover_model::GuestState as S;
    if !matches!(state, S::Paused | S::PausedForMigration) {
        return Err(HypervisorError::Refused(format!("the guest here is {}", state.as_str())));
    }
    if processes.is_empty() || !processes.iter().all(|process| process.incoming) {
        return Err(HypervisorError::Refused("the guest here did not arrive".to_owned()));
    }
    match vcpu_time_ns {
        Some(used) if used < NEVER_RAN_NS => Ok(()),
        Some(used) => Err(HypervisorError::Refused(format!(
            "the guest here has run: its vCPUs used {} ms",
            used / 1_000_000
        ))),
        None => Err(HypervisorError::Retry("vCPU time of the guest is not known".to_owned())),
    }
}

fn unwatchable(error: &std::io::Error) -> HypervisorError {
    HypervisorError::Broken(format!("QEMU cannot be watched: {error}"))
}

fn describe(connection: &Connection) -> Result<HostDescription, LibvirtError> {
    let xml = connection.capabilities()?;
    let mut description = parse::capabilities(&xml)
        .map_err(|error| LibvirtError::of_ours(format!("capabilities are unreadable: {error}")))?;
    let (qemu, libvirt) = connection.versions()?;
    description.hostname = connection.hostname()?;
    description.qemu = version(qemu);
    description.libvirt = version(libvirt);
    description.pools =
        connection.pools()?.iter().filter_map(|(xml, active)| parse::pool(xml, *active)).collect();
    description.networks = connection
        .networks()?
        .into_iter()
        .map(|(name, active)| NetworkDescription { name, kind: "network".to_owned(), active })
        .collect();
    Ok(description)
}

fn version(number: u64) -> String {
    let (major, minor, release) = parse::version(number);
    format!("{major}.{minor}.{release}")
}

/// None when the domain went away while it was read.
fn read_guest(domain: &Domain, host: HostId) -> Option<Guest> {
    let (id, state) = (domain.uuid()?, domain.state().ok()?);
    let xml = domain.xml().ok()?;
    parse::guest(&xml, id, host, parse::guest_state(state), domain.is_persistent())
}

fn send_away(connection: &Connection, migration: &OutgoingMigration) -> Result<(), LibvirtError> {
    let domain = connection.domain(migration.guest)?;
    let settings = &migration.settings;
    // Always: an earlier try may have left its own in this QEMU.
    domain.set_max_downtime(settings.max_downtime_ms)?;
    let mut out = outgoing::migrate_out(migration);
    out.params.extend(elsewhere(&domain, &migration.disks)?);
    domain.migrate(&out)
}

/// The XML that the target needs where copied disks lie elsewhere there.
fn elsewhere(
    domain: &Domain,
    disks: &[DiskCopy],
) -> Result<Vec<(&'static CStr, Value)>, LibvirtError> {
    if disks.is_empty() {
        return Ok(Vec::new());
    }
    let live = relocated(&domain.live_definition()?, disks)?;
    let kept = relocated(&domain.definition()?, disks)?;
    let live = live.map(|xml| (sys::VIR_MIGRATE_PARAM_DEST_XML, Value::Text(xml)));
    let kept = kept.map(|xml| (sys::VIR_MIGRATE_PARAM_PERSIST_XML, Value::Text(xml)));
    Ok(live.into_iter().chain(kept).collect())
}

/// What the source has left of a guest whose migration did not end as migrations do.
fn discard_departed(connection: &Connection, guest: GuestId) -> Result<(), LibvirtError> {
    let domain = connection.domain(guest)?;
    let state = domain.state()?;
    if !parse::guest_state(state).is_active() {
        return Ok(());
    }
    let paused = state.state == sys::VIR_DOMAIN_PAUSED;
    let half = paused && state.reason == sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED;
    let sent = paused && state.reason == sys::VIR_DOMAIN_PAUSED_MIGRATION;
    if !half && !sent {
        let message = format!("the guest is {}", parse::guest_state(state).as_str());
        return Err(LibvirtError { code: sys::VIR_ERR_OPERATION_UNSUPPORTED, message });
    }
    // One that broke after its switch stays a job for libvirt.
    if sent && domain.job()?.0 != sys::VIR_DOMAIN_JOB_NONE {
        let message = "a migration of it runs".to_owned();
        return Err(LibvirtError { code: sys::VIR_ERR_OPERATION_INVALID, message });
    }
    domain.destroy()
}

/// A guest may be undefined only while nothing runs it.
fn undefine(connection: &Connection, guest: GuestId) -> Result<(), LibvirtError> {
    let domain = connection.domain(guest)?;
    let state = parse::guest_state(domain.state()?);
    if state.is_active() {
        let message = format!("the guest is {}", state.as_str());
        return Err(LibvirtError { code: sys::VIR_ERR_OPERATION_INVALID, message });
    }
    domain.undefine()
}

fn start(connection: &Connection, guest: GuestId) -> Result<(), LibvirtError> {
    let domain = connection.domain(guest)?;
    if parse::guest_state(domain.state()?) == drover_model::GuestState::Running {
        return Ok(());
    }
    domain.create()
}

/// The definition of a guest that is shut off as another host takes it over.
fn departing(
    connection: &Connection,
    guest: GuestId,
    disks: &[DiskCopy],
) -> Result<String, LibvirtError> {
    let domain = connection.domain(guest)?;
    let kept = domain.definition()?;
    let saved = domain.is_saved().then(|| {
        "its saved memory would stay behind: start it, or remove the managed save".to_owned()
    });
    if let Some(message) = saved.or(left_behind(&kept)?) {
        return Err(LibvirtError { code: sys::VIR_ERR_OPERATION_UNSUPPORTED, message });
    }
    Ok(relocated(&kept, disks)?.unwrap_or(kept))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use drover_model::GuestState;

    use super::*;

    #[tokio::test]
    async fn a_thread_ends_with_the_wait_of_its_caller() {
        let (ended, watched) = std::sync::mpsc::channel::<()>();
        let job = move |is_wanted: &dyn Fn() -> bool| {
            let _until_the_end = ended;
            while is_wanted() {
                std::thread::yield_now();
            }
        };
        let wait = on_thread_while_wanted("test", job);
        assert!(tokio::time::timeout(Duration::from_millis(5), wait).await.is_err());
        // The thread drops its end of the channel when it is over.
        let over = watched.recv_timeout(Duration::from_secs(10));
        assert_eq!(over, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn only_what_surely_never_ran_may_be_discarded() {
        let arrived = QemuProcess { pid: 2, incoming: true };
        let born_here = QemuProcess { pid: 3, incoming: false };
        let allowed = |processes: &[QemuProcess], state, used| {
            may_be_discarded(processes, state, used).is_ok()
        };
        let paused = GuestState::PausedForMigration;
        assert!(allowed(&[arrived], paused, Some(1_000_000)));
        assert!(allowed(&[arrived], GuestState::Paused, Some(0)));
        assert!(!allowed(&[arrived], GuestState::Running, Some(0)));
        assert!(!allowed(&[arrived], GuestState::PausedByFault, Some(0)));
        assert!(!allowed(&[arrived], paused, Some(NEVER_RAN_NS)));
        assert!(!allowed(&[arrived], paused, None), "unknown is not zero");
        assert!(!allowed(&[born_here], paused, Some(0)));
        assert!(!allowed(&[arrived, born_here], paused, Some(0)));
        assert!(!allowed(&[], paused, Some(0)), "a process that cannot be seen");
    }
}
