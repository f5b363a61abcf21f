//! Copies a guest that is shut off: its definition, and those disks that go with it.
//!
//! Nobody may start it meanwhile. That cannot be prevented here, so it is noticed: what is
//! handed over is what the disks were from the first byte to the last.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use drover_agent_api::v1::{Failure, FailureKind};
use drover_model::{
    Bytes, ColdCopy, CopiedDisk, DiskCopy, GuestId, GuestState, MigrationOutcome,
    MigrationProgress, MigrationSettings, OperationId, StorageCopy,
};
use drover_ports::HypervisorError;
use tokio::time::{Instant, interval, timeout};
use tracing::info;

use super::operations::Status;
use crate::clock;
use crate::command::Commands;
use crate::command::failure::{failure, of_hypervisor};
use crate::images::copy::{Control, Stamp, send};
use crate::images::{facts, place};

/// How often it is looked for a wish to cancel, and how often progress is told.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const LOOKS_PER_PROGRESS: u32 = 5;

/// What is to be copied, and where to.
#[derive(Debug, Clone)]
pub(crate) struct Departure {
    pub(crate) operation: OperationId,
    pub(crate) guest: GuestId,
    pub(crate) peer_uri: String,
    pub(crate) settings: MigrationSettings,
    pub(crate) disks: Vec<DiskCopy>,
}

/// A file that is sent for a disk: the disk's own, or one that was made of its layers.
struct Sent {
    copy: DiskCopy,
    file: PathBuf,
    length: u64,
    own: bool,
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !self.own {
            let _ = std::fs::remove_file(&self.file);
        }
    }
}

/// Runs the copy to its end.
pub(crate) async fn depart(commands: Arc<Commands>, departure: Departure) {
    let (operation, guest) = (departure.operation, departure.guest);
    info!(%operation, %guest, to = departure.peer_uri, "copying a guest that is shut off");
    let control = Arc::new(Control::default());
    let limit = departure.settings.timeout_s.map_or(Duration::MAX, Duration::from_secs);
    let copied = tokio::select! {
        copied = timeout(limit, copy(&commands, &departure, &control)) => copied,
        never = watch(&commands, &departure, &control) => match never {},
    };
    // A copy that is not waited for any more ends by itself.
    control.cancelled.store(true, Ordering::Relaxed);
    match copied {
        Ok(Ok(copied)) => commands.hand_over(operation, copied).await,
        Ok(Err(why)) => commands.conclude(operation, Err(why)).await,
        Err(_) => {
            let message = format!("it is not copied within {} s", limit.as_secs());
            commands.conclude(operation, Err(failure(FailureKind::Refused, message))).await;
        }
    }
}

async fn copy(
    commands: &Commands,
    departure: &Departure,
    control: &Arc<Control>,
) -> Result<ColdCopy, Failure> {
    let begun = Instant::now();
    let definition = commands
        .hypervisor
        .departing_definition(departure.guest, &departure.disks)
        .await
        .map_err(ended)?;
    let before = stamps(departure)?;
    let mut disks = Vec::new();
    let files = prepared(departure, control).await?;
    control.total.store(files.iter().map(|sent| sent.length).sum(), Ordering::Relaxed);
    for sent in files {
        disks.push(copy_one(commands, departure, sent, control).await?);
    }
    still_off(commands, departure.guest).await?;
    if stamps(departure)? != before {
        let message = "a disk was written to while it was copied; is the guest used elsewhere?";
        return Err(failure(FailureKind::Conflict, message));
    }
    let outcome = MigrationOutcome {
        total_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        transferred: Some(Bytes(control.sent.load(Ordering::Relaxed))),
        ..MigrationOutcome::default()
    };
    Ok(ColdCopy { definition, disks, outcome })
}

fn stamps(departure: &Departure) -> Result<Vec<Stamp>, Failure> {
    let of = |copy: &DiskCopy| {
        Stamp::of(Path::new(&copy.from)).map_err(|error| {
            failure(FailureKind::Refused, format!("disk {}: {}: {error}", copy.disk, copy.from))
        })
    };
    departure.disks.iter().map(of).collect()
}

/// The files to send; layers are merged first where the disk goes whole.
async fn prepared(departure: &Departure, control: &Arc<Control>) -> Result<Vec<Sent>, Failure> {
    let (departure, control) = (departure.clone(), Arc::clone(control));
    let whole = departure.settings.storage == StorageCopy::Full;
    let prepare = move || {
        let of = |copy: &DiskCopy| {
            if control.cancelled.load(Ordering::Relaxed) {
                return Err(failure(FailureKind::Cancelled, "asked to"));
            }
            prepare_one(departure.operation, copy, whole)
        };
        departure.disks.iter().map(of).collect()
    };
    off_runtime(prepare).await
}

fn prepare_one(operation: OperationId, copy: &DiskCopy, whole: bool) -> Result<Sent, Failure> {
    let refused = |message: String| failure(FailureKind::Refused, message);
    let from = Path::new(&copy.from);
    let facts = facts::read(from, &copy.format)
        .map_err(|error| refused(format!("disk {}: {}: {error}", copy.disk, copy.from)))?;
    let merge = whole && facts.backing.is_some();
    let file = if merge { place::draft(operation, &copy.from) } else { from.to_owned() };
    if merge {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-q", "-f", &copy.format, "-O", &copy.format]);
        let merged = place::run(command.arg(from).arg(&file));
        if let Err(error) = merged {
            let _ = std::fs::remove_file(&file);
            let (disk, path) = (&copy.disk, file.display());
            return Err(refused(format!(
                "disk {disk}: its layers are not merged to {path}: {error}"
            )));
        }
    }
    let length = std::fs::metadata(&file).map_err(|error| refused(error.to_string()))?.len();
    Ok(Sent { copy: copy.clone(), file, length, own: !merge })
}

async fn copy_one(
    commands: &Commands,
    departure: &Departure,
    sent: Sent,
    control: &Arc<Control>,
) -> Result<CopiedDisk, Failure> {
    still_off(commands, departure.guest).await?;
    let (path, length) = (sent.copy.to.clone(), sent.length);
    let sink = commands
        .hypervisor
        .open_image(&departure.peer_uri, &path, Bytes(length))
        .await
        .map_err(ended)?;
    let (control, cap) = (Arc::clone(control), departure.settings.max_bandwidth_mib_s);
    let sum = off_runtime(move || {
        let file = File::open(&sent.file).map_err(|error| {
            failure(FailureKind::Refused, format!("{}: {error}", sent.copy.from))
        })?;
        send(&file, sent.length, cap, sink, &control).map_err(ended)
    })
    .await?;
    Ok(CopiedDisk { path, length: Bytes(length), sha256: sum })
}

/// An error after which nobody asks for the same copy again: it begins anew or not at all.
fn ended(error: HypervisorError) -> Failure {
    match error {
        HypervisorError::Retry(why) => {
            failure(FailureKind::Broken, format!("the connection to the target: {why}"))
        }
        error => of_hypervisor(&error),
    }
}

async fn still_off(commands: &Commands, guest: GuestId) -> Result<(), Failure> {
    let found = commands.guest(guest).await.map_err(ended)?;
    match found.map(|guest| guest.state) {
        Some(GuestState::ShutOff) => Ok(()),
        Some(state) => {
            let message = format!("it is {} by now, and was copied as shut off", state.as_str());
            Err(failure(FailureKind::Conflict, message))
        }
        None => Err(failure(FailureKind::Gone, "it is not defined here any more")),
    }
}

/// Tells the progress for ever, and passes on a wish to cancel.
async fn watch(
    commands: &Commands,
    departure: &Departure,
    control: &Control,
) -> std::convert::Infallible {
    let mut ticks = interval(LOOK_INTERVAL);
    let begun = Instant::now();
    let (mut looks, mut last) = (0_u32, 0);
    loop {
        ticks.tick().await;
        if commands.operations.is_to_be_cancelled(departure.operation) {
            control.cancelled.store(true, Ordering::Relaxed);
        }
        looks += 1;
        if looks.is_multiple_of(LOOKS_PER_PROGRESS) {
            let sent = control.sent.load(Ordering::Relaxed);
            let every = LOOK_INTERVAL * LOOKS_PER_PROGRESS;
            let rate = per_second(sent - last, every);
            last = sent;
            commands.tell_progress(departure.operation, progress(control, begun, rate));
        }
    }
}

fn per_second(bytes: u64, over: Duration) -> Bytes {
    let millis = u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1);
    Bytes(bytes.saturating_mul(1000) / millis)
}

fn progress(control: &Control, begun: Instant, throughput: Bytes) -> MigrationProgress {
    let total = control.total.load(Ordering::Relaxed);
    let processed = control.processed.load(Ordering::Relaxed);
    MigrationProgress {
        at: clock::now(),
        elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        total: Bytes(total),
        processed: Bytes(processed),
        remaining: Bytes(total.saturating_sub(processed)),
        throughput,
        ..MigrationProgress::default()
    }
}

async fn off_runtime<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => done,
        Err(error) => Err(failure(FailureKind::Broken, error.to_string())),
    }
}

impl Commands {
    /// All is copied.
    async fn hand_over(&self, operation: OperationId, copied: ColdCopy) {
        if let Some((guest, epoch)) = self.operations.began(operation) {
            self.tells_over(guest, epoch).await;
        }
        if self.operations.advance(operation, Status::Copied(copied)) {
            self.report(operation);
        }
        info!(%operation, "the guest is copied");
    }
}
