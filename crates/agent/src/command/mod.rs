//! Commands of the controller, each for one guest and under one epoch.
//!
//! The epoch gate is passed first, always. Commands for different guests run at the same
//! time; those for one guest act in the order in which they came ([`turns`]), but none holds
//! the line while it waits: a migration runs in its own task and a resume waits between its
//! attempts. Every command may be repeated.

mod accept;
mod arrivals;
mod cancel;
mod define;
mod discard;
pub mod epoch;
pub mod failure;
mod remove;
mod resume;
mod shared_disks;
mod start;
mod start_guest;
pub mod turns;

use std::sync::{Arc, Mutex, PoisonError};

use drover_agent_api::v1::{Command, CommandResult, Failure, FailureKind, command::Action};
use drover_model::{Epoch, Guest, GuestId, HostId, OperationId};
use drover_ports::{Hypervisor, HypervisorError};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::images::claims::Claims;
use crate::migration::RecoveryPace;
use crate::migration::operations::Operations;
use crate::network::Network;
use crate::session::outbox::Outbox;
use arrivals::Arrivals;
use epoch::EpochGate;
use failure::failure;
use turns::{Turn, Turns};

/// Commands that may be under way at once; a controller that sends more is told to ask again.
const MAX_COMMANDS: usize = 256;

/// What commands act on.
pub struct Commands {
    /// This host.
    pub(crate) host: HostId,
    /// Its hypervisor.
    pub(crate) hypervisor: Arc<dyn Hypervisor>,
    /// Migrations this agent knows of.
    pub(crate) operations: Operations,
    /// What is said and heard on guests' networks.
    pub(crate) network: Network,
    /// Where answers go.
    pub(crate) outbox: Outbox,
    /// Guests that may come.
    pub(crate) arrivals: Arrivals,
    /// Places that are kept free for the disks of guests that come.
    pub(crate) claims: Arc<Claims>,
    /// How broken post-copy is gone on with.
    pub(crate) recovery: RecoveryPace,
    epochs: Arc<EpochGate>,
    checks: define::Checks,
    shared_paths: Vec<String>,
    turns: Turns,
    slots: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commands").field("host", &self.host).finish_non_exhaustive()
    }
}

/// The parts of a command, read.
pub(crate) struct Order {
    operation: OperationId,
    guest: GuestId,
    epoch: Epoch,
}

impl Commands {
    /// Commands for the guests of `host`.
    pub fn new(
        host: HostId,
        hypervisor: Arc<dyn Hypervisor>,
        epochs: EpochGate,
        claims: Claims,
        shared_paths: Vec<String>,
        outbox: Outbox,
        recovery: RecoveryPace,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            hypervisor,
            operations: Operations::default(),
            network: Network::default(),
            outbox,
            arrivals: Arrivals::default(),
            claims: Arc::new(claims),
            recovery,
            epochs: Arc::new(epochs),
            checks: define::Checks::default(),
            shared_paths,
            turns: Turns::default(),
            slots: Arc::new(Semaphore::new(MAX_COMMANDS)),
            tasks: Mutex::default(),
        })
    }

    /// Takes a command's place in its guest's line and carries it out in a task of its own;
    /// the result goes to the outbox.
    pub fn dispatch(self: &Arc<Self>, command: Command) {
        let (command_id, operation_id) = (command.command_id, command.operation_id);
        let name = command.action.as_ref().map_or("unknown", action_name);
        let order = read_order(&operation_id, &command.guest_id, command.epoch);
        let (order, action) = match (order, command.action) {
            (Ok(order), Some(action)) => (order, action),
            (Err(refused), _) => return self.answer(command_id, operation_id, name, Err(refused)),
            (_, None) => {
                let refused = failure(FailureKind::Refused, "this agent does not know the command");
                return self.answer(command_id, operation_id, name, Err(refused));
            }
        };
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let busy =
                failure(FailureKind::Retry, format!("{MAX_COMMANDS} commands are under way"));
            return self.answer(command_id, operation_id, name, Err(busy));
        };
        let place = self.turns.line_up(order.guest);
        let commands = Arc::clone(self);
        self.spawn(async move {
            let turn = place.await;
            let result = commands.carry_out(order, action, turn).await;
            commands.answer(command_id, operation_id, name, result);
            drop(slot);
        });
    }

    /// Ends all tasks of this agent. What libvirt has begun goes on.
    pub fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    async fn carry_out(
        self: &Arc<Self>,
        order: Order,
        action: Action,
        turn: Turn,
    ) -> Result<(), Failure> {
        self.admit(order.guest, order.epoch).await?;
        match action {
            Action::AcceptIncoming(accept) => self.accept_incoming(&order, accept, turn).await,
            Action::StartMigration(start) => self.start_migration(&order, start, turn).await,
            Action::CancelMigration(_) => self.cancel_migration(&order, turn).await,
            Action::Resume(resume) => self.resume(&order, resume, turn).await,
            Action::DiscardIncoming(discard) => self.discard_incoming(&order, discard, turn).await,
            Action::DefineIncoming(define) => self.define_incoming(&order, define, turn).await,
            Action::StartGuest(start) => self.start_guest(&order, start, turn).await,
            Action::RemoveDeparted(remove) => self.remove_departed(&order, remove, turn).await,
        }
    }

    /// Passes the epoch gate.
    pub(crate) async fn admit(&self, guest: GuestId, epoch: Epoch) -> Result<(), Failure> {
        let epochs = Arc::clone(&self.epochs);
        match tokio::task::spawn_blocking(move || epochs.admit(guest, epoch)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refusal)) => Err(failure::of_epoch(&refusal)),
            Err(error) => Err(failure(FailureKind::Broken, error.to_string())),
        }
    }

    /// A command of a higher epoch may have come while this one waited.
    fn not_overtaken(&self, order: &Order) -> Result<(), Failure> {
        match self.epochs.seen(order.guest).filter(|seen| *seen > order.epoch) {
            None => Ok(()),
            Some(seen) => {
                let message = format!("epoch {} was overtaken by epoch {seen}", order.epoch);
                Err(failure(FailureKind::StaleEpoch, message))
            }
        }
    }

    /// Whether this host has begun the migration before, or told that it is over.
    fn is_spent(&self, order: &Order) -> bool {
        self.epochs.is_spent(order.guest, order.epoch)
    }

    /// To be durable before a migration is begun, or told to be over.
    async fn spend(&self, guest: GuestId, epoch: Epoch) -> Result<(), Failure> {
        let epochs = Arc::clone(&self.epochs);
        let spent = off_runtime(move || epochs.spend(guest, epoch)).await?;
        spent.map_err(|error| {
            let message = format!("what is begun cannot be made durable: {error}");
            failure(FailureKind::Broken, message)
        })
    }

    /// The end of a migration is about to be told. Told it is in any case: an end that nobody
    /// hears of is worse than one that a late command might undo.
    pub(crate) async fn tells_over(&self, guest: GuestId, epoch: Epoch) {
        if let Err(error) = self.spend(guest, epoch).await {
            warn!(%guest, reason = error.message, "its migration is over");
        }
    }

    /// The guest runs here: what was kept for its coming is its own. Beside the answer, for
    /// nothing depends on it: what is not forgotten now is never asked for again.
    fn has_arrived(&self, guest: GuestId) {
        self.arrivals.settle(guest);
        let claims = Arc::clone(&self.claims);
        self.spawn(async move {
            if let Ok(Err(error)) = off_runtime(move || claims.arrived(guest)).await {
                warn!(%guest, %error, "its claims are not forgotten");
            }
        });
    }

    /// The guest as the hypervisor has it now; none only if a hypervisor that is up says so.
    pub(crate) async fn guest(&self, id: GuestId) -> Result<Option<Guest>, HypervisorError> {
        let guests = self.hypervisor.guests(self.host).await?;
        Ok(guests.into_iter().find(|guest| guest.id == id))
    }

    /// Runs a task until it ends or the agent does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn answer(
        &self,
        command_id: String,
        operation_id: String,
        name: &str,
        result: Result<(), Failure>,
    ) {
        let failure = result.err();
        match &failure {
            None => info!(command = name, operation = operation_id, "done"),
            Some(why) => {
                warn!(command = name, operation = operation_id, kind = ?why.kind(), reason = why.message, "not done");
            }
        }
        self.outbox.send(CommandResult { command_id, operation_id, failure });
    }
}

/// Reads a part of a command; what is left out has its default.
fn read<T: DeserializeOwned + Default>(what: &str, json: &[u8]) -> Result<T, Failure> {
    if json.is_empty() { Ok(T::default()) } else { decode(what, json) }
}

fn decode<T: DeserializeOwned>(what: &str, json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        failure(FailureKind::Refused, format!("the {what} cannot be read: {error}"))
    })
}

/// Runs what waits for the disk.
async fn off_runtime<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(job).await;
    done.map_err(|error| failure(FailureKind::Broken, error.to_string()))
}

fn read_order(operation: &str, guest: &str, epoch: u64) -> Result<Order, Failure> {
    let refused =
        |error: drover_model::ParseIdError| failure(FailureKind::Refused, error.to_string());
    Ok(Order {
        operation: operation.parse().map_err(refused)?,
        guest: guest.parse().map_err(refused)?,
        epoch: Epoch(epoch),
    })
}

const fn action_name(action: &Action) -> &'static str {
    match action {
        Action::AcceptIncoming(_) => "accept-incoming",
        Action::StartMigration(_) => "start-migration",
        Action::CancelMigration(_) => "cancel-migration",
        Action::Resume(_) => "resume",
        Action::DiscardIncoming(_) => "discard-incoming",
        Action::DefineIncoming(_) => "define-incoming",
        Action::StartGuest(_) => "start-guest",
        Action::RemoveDeparted(_) => "remove-departed",
    }
}
