//! A hypervisor whose every answer the test decides. Unlike the in-memory twin of the port
//! it has no rules of its own, so it can also do what no hypervisor should.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use drover_model::{
    BrokenStream, Bytes, DirtyWindow, Disk, DiskCopy, DiskSource, Guest, GuestId, GuestState,
    HostId, Mib, MigrationOutcome, MigrationProgress, Vcpus,
};
use drover_ports::memory::FileSink;
use drover_ports::{
    GuestStats, HostDescription, Hypervisor, HypervisorError, HypervisorEvent, ImageSink,
    IncomingDisposal, OutgoingMigration,
};
use tokio::sync::{Notify, broadcast};

use super::HOST;

pub struct Scripted {
    state: Mutex<State>,
    changed: Notify,
    events: broadcast::Sender<HypervisorEvent>,
}

#[derive(Default)]
struct State {
    host: Option<HostId>,
    guests: BTreeMap<GuestId, Guest>,
    processes: Vec<GuestId>,
    jobs: BTreeMap<GuestId, MigrationProgress>,
    outcomes: BTreeMap<GuestId, Result<MigrationOutcome, HypervisorError>>,
    sent: Vec<OutgoingMigration>,
    cancelled: Vec<GuestId>,
    adjusted: Vec<String>,
    resumed: Vec<GuestId>,
    suspended: Vec<GuestId>,
    resume_answers: BTreeMap<GuestId, HypervisorError>,
    definitions: BTreeMap<GuestId, String>,
    refreshed: Vec<String>,
    discard_answers: BTreeMap<GuestId, Result<IncomingDisposal, HypervisorError>>,
    target_is_busy: bool,
    streams: Vec<BrokenStream>,
    out_of_reach: bool,
}

impl Scripted {
    pub fn new() -> Arc<Self> {
        let state = Mutex::new(State { host: Some(HOST), ..State::default() });
        Arc::new(Self { state, changed: Notify::new(), events: broadcast::channel(64).0 })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }

    pub fn is_host(&self, host: HostId) {
        self.change(|state| state.host = Some(host));
    }

    /// Puts a guest here; a process exists unless it is shut off.
    pub fn put(&self, id: GuestId, guest_state: GuestState) {
        self.change(|state| {
            state.guests.insert(id, guest(id, guest_state));
            state.processes.retain(|process| *process != id);
            if guest_state.is_active() {
                state.processes.push(id);
            }
        });
        let _ = self.events.send(HypervisorEvent::Lifecycle { guest: id });
    }

    /// Gives a guest a definition.
    pub fn describe_guest(&self, id: GuestId, definition: &str) {
        self.change(|state| drop(state.definitions.insert(id, definition.to_owned())));
    }

    /// Directories that libvirt was to look at again.
    pub fn refreshed(&self) -> Vec<String> {
        self.state().refreshed.clone()
    }

    pub fn definition(&self, id: GuestId) -> Option<String> {
        self.state().definitions.get(&id).cloned()
    }

    pub fn state_of(&self, id: GuestId) -> Option<GuestState> {
        self.state().guests.get(&id).map(|guest| guest.state)
    }

    /// How broken transfers were gone on with.
    pub fn streams(&self) -> Vec<BrokenStream> {
        self.state().streams.clone()
    }

    pub fn end_process(&self, id: GuestId) {
        self.change(|state| state.processes.retain(|process| *process != id));
    }

    /// libvirt forgets the guest.
    pub fn forget(&self, id: GuestId) {
        self.change(|state| {
            state.guests.remove(&id);
            state.jobs.remove(&id);
        });
    }

    pub fn set_job(&self, id: GuestId, job: Option<MigrationProgress>) {
        self.change(|state| match job {
            Some(job) => drop(state.jobs.insert(id, job)),
            None => drop(state.jobs.remove(&id)),
        });
    }

    /// What `migrate_out` answers, now or when it is called.
    pub fn end_job(&self, id: GuestId, outcome: Result<MigrationOutcome, HypervisorError>) {
        self.change(|state| {
            state.jobs.remove(&id);
            state.outcomes.insert(id, outcome);
        });
    }

    /// From now on the target's hypervisor is always at work on the guest.
    pub fn keep_target_busy(&self) {
        self.change(|state| state.target_is_busy = true);
    }

    pub fn refuse_resume(&self, id: GuestId, error: Option<HypervisorError>) {
        self.change(|state| match error {
            Some(error) => drop(state.resume_answers.insert(id, error)),
            None => drop(state.resume_answers.remove(&id)),
        });
    }

    pub fn answer_discard(&self, id: GuestId, answer: Result<IncomingDisposal, HypervisorError>) {
        self.change(|state| drop(state.discard_answers.insert(id, answer)));
    }

    pub fn set_out_of_reach(&self, out_of_reach: bool) {
        self.change(|state| state.out_of_reach = out_of_reach);
        let event =
            if out_of_reach { HypervisorEvent::Disconnected } else { HypervisorEvent::Connected };
        let _ = self.events.send(event);
    }

    pub fn emit(&self, event: HypervisorEvent) {
        let _ = self.events.send(event);
    }

    pub fn sent(&self) -> Vec<OutgoingMigration> {
        self.state().sent.clone()
    }

    pub fn cancelled(&self) -> usize {
        self.state().cancelled.len()
    }

    pub fn resumed(&self) -> usize {
        self.state().resumed.len()
    }

    pub fn adjusted(&self) -> Vec<String> {
        self.state().adjusted.clone()
    }

    pub fn suspended(&self) -> usize {
        self.state().suspended.len()
    }

    async fn wait_for<T>(&self, ready: impl Fn(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(answer) = ready(&mut self.state()) {
                return answer;
            }
            changed.await;
        }
    }

    /// As it is told at present.
    pub fn listed(&self, id: GuestId) -> Result<Option<Guest>, HypervisorError> {
        Ok(self.reach()?.guests.get(&id).cloned())
    }

    fn reach(&self) -> Result<MutexGuard<'_, State>, HypervisorError> {
        let state = self.state();
        if state.out_of_reach { Err(HypervisorError::Retry("down".to_owned())) } else { Ok(state) }
    }
}

pub fn guest(id: GuestId, state: GuestState) -> Guest {
    Guest {
        id,
        name: format!("g{id}"),
        host: HOST,
        state,
        vcpus: Vcpus(1),
        memory: Mib(128),
        current_memory: Mib(128),
        virt_type: "qemu".to_owned(),
        qemu: None,
        arch: "x86_64".to_owned(),
        machine: "pc-q35-7.2".to_owned(),
        cpu_mode: "custom".to_owned(),
        cpu_model: Some("qemu64".to_owned()),
        disks: vec![Disk::new("vda", DiskSource::File { path: "/srv/shared/disk".to_owned() })],
        leases: Vec::new(),
        nics: Vec::new(),
        host_devices: 0,
        persistent: true,
    }
}

pub fn progress(iteration: u32) -> MigrationProgress {
    MigrationProgress {
        elapsed_ms: 7,
        processed: Bytes(100),
        remaining: Bytes(50),
        iteration,
        ..MigrationProgress::default()
    }
}

#[async_trait]
impl Hypervisor for Scripted {
    async fn describe(&self) -> Result<HostDescription, HypervisorError> {
        let state = self.reach()?;
        Ok(HostDescription {
            id: state.host,
            hostname: "h1".to_owned(),
            libvirt: "9.0.0".to_owned(),
            ..HostDescription::default()
        })
    }

    async fn guests(&self, _host: HostId) -> Result<Vec<Guest>, HypervisorError> {
        Ok(self.reach()?.guests.values().cloned().collect())
    }

    async fn stats(&self) -> Result<Vec<GuestStats>, HypervisorError> {
        let state = self.reach()?;
        let of =
            |id: &GuestId| GuestStats { guest: Some(*id), vcpus: Some(1), ..GuestStats::default() };
        Ok(state.processes.iter().map(of).collect())
    }

    async fn migrate_out(
        &self,
        migration: OutgoingMigration,
    ) -> Result<MigrationOutcome, HypervisorError> {
        let guest = migration.guest;
        self.change(|state| {
            state.sent.push(migration);
            state.jobs.insert(guest, progress(1));
        });
        let outcome = self.wait_for(|state| state.outcomes.remove(&guest)).await;
        self.set_job(guest, None);
        outcome
    }

    async fn progress(&self, guest: GuestId) -> Result<Option<MigrationProgress>, HypervisorError> {
        Ok(self.reach()?.jobs.get(&guest).copied())
    }

    async fn cancel_migration(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.reach()?.cancelled.push(guest);
        Ok(())
    }

    async fn set_max_downtime(&self, guest: GuestId, millis: u64) -> Result<(), HypervisorError> {
        self.reach()?.adjusted.push(format!("{guest} downtime {millis}"));
        Ok(())
    }

    async fn set_bandwidth(
        &self,
        guest: GuestId,
        mib_per_s: Option<u64>,
    ) -> Result<(), HypervisorError> {
        self.reach()?.adjusted.push(format!("{guest} bandwidth {mib_per_s:?}"));
        Ok(())
    }

    async fn start_post_copy(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.reach()?.adjusted.push(format!("{guest} post-copy"));
        Ok(())
    }

    async fn recover_post_copy(
        &self,
        migration: OutgoingMigration,
        stream: BrokenStream,
    ) -> Result<MigrationOutcome, HypervisorError> {
        self.reach()?.streams.push(stream);
        self.wait_for(|state| state.outcomes.remove(&migration.guest)).await
    }

    async fn is_busy_at_target(&self, _: OutgoingMigration) -> Result<bool, HypervisorError> {
        Ok(self.reach()?.target_is_busy)
    }

    async fn resume(&self, guest: GuestId) -> Result<(), HypervisorError> {
        let mut state = self.reach()?;
        match state.resume_answers.get(&guest) {
            Some(error) => Err(error.clone()),
            None => {
                state.resumed.push(guest);
                Ok(())
            }
        }
    }

    async fn wait_until_gone(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.wait_for(|state| (!state.processes.contains(&guest)).then_some(())).await;
        Ok(())
    }

    async fn discard_incoming(&self, guest: GuestId) -> Result<IncomingDisposal, HypervisorError> {
        let state = self.reach()?;
        state.discard_answers.get(&guest).cloned().unwrap_or(Ok(IncomingDisposal::Absent))
    }

    async fn definitions(&self) -> Result<Vec<(GuestId, String)>, HypervisorError> {
        Ok(self.reach()?.definitions.clone().into_iter().collect())
    }

    async fn departing_definition(
        &self,
        guest: GuestId,
        disks: &[DiskCopy],
    ) -> Result<String, HypervisorError> {
        let state = self.reach()?;
        let kept = state.definitions.get(&guest).ok_or(HypervisorError::Gone(guest))?;
        Ok(disks.iter().fold(kept.clone(), |xml, disk| xml.replace(&disk.from, &disk.to)))
    }

    async fn define(&self, id: GuestId, definition: String) -> Result<(), HypervisorError> {
        self.reach()?.definitions.insert(id, definition);
        self.put(id, GuestState::ShutOff);
        Ok(())
    }

    async fn start_guest(&self, id: GuestId) -> Result<(), HypervisorError> {
        if !self.reach()?.guests.contains_key(&id) {
            return Err(HypervisorError::Gone(id));
        }
        self.put(id, GuestState::Running);
        Ok(())
    }

    async fn discard_departed(&self, id: GuestId) -> Result<(), HypervisorError> {
        let mut state = self.reach()?;
        let found = state.guests.get(&id).map(|guest| guest.state);
        if matches!(found, Some(GuestState::PausedForMigration | GuestState::PostCopyFailed)) {
            state.guests.insert(id, guest(id, GuestState::ShutOff));
            state.processes.retain(|process| *process != id);
            return Ok(());
        }
        Err(HypervisorError::Refused(format!("it is {found:?}")))
    }

    async fn undefine(&self, id: GuestId) -> Result<(), HypervisorError> {
        let mut state = self.reach()?;
        if state.guests.get(&id).is_some_and(|guest| guest.state.is_active()) {
            return Err(HypervisorError::Conflict("it is active".to_owned()));
        }
        state.guests.remove(&id);
        state.definitions.remove(&id);
        Ok(())
    }

    async fn refresh_images(&self, directories: &[String]) -> Result<(), HypervisorError> {
        self.reach()?.refreshed.extend_from_slice(directories);
        Ok(())
    }

    async fn open_image(
        &self,
        _peer_uri: &str,
        path: &str,
        length: Bytes,
    ) -> Result<Box<dyn ImageSink>, HypervisorError> {
        drop(self.reach()?);
        Ok(Box::new(FileSink::open(path, length)?))
    }

    async fn suspend(&self, guest: GuestId) -> Result<(), HypervisorError> {
        self.reach()?.suspended.push(guest);
        Ok(())
    }

    async fn measure_dirtying(
        &self,
        guest: GuestId,
        seconds: u32,
    ) -> Result<DirtyWindow, HypervisorError> {
        let state = self.reach()?;
        let known = state.guests.contains_key(&guest);
        known.then_some(()).ok_or(HypervisorError::Gone(guest))?;
        let window_ms = u64::from(seconds) * 1000;
        Ok(DirtyWindow { window_ms, dirtied: Bytes(window_ms << 10) })
    }

    fn events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.events.subscribe()
    }
}
