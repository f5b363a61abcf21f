//! Questions of the controller: asked once, answered at once, and nothing is kept.
//!
//! Each runs in a task of its own beside the commands. Who asks waits a limited time, so an
//! answer that comes late is dropped there.

mod dirtying;
mod inspect;
mod kernel;
mod listeners;
mod magic_packet;
mod ports;
mod power_off;

use std::sync::Arc;

use drover_agent_api::v1::query::Question;
use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{Failure, FailureKind, Query, QueryAnswer};
use tokio::sync::{Mutex, Semaphore};
use tracing::debug;

use crate::clock;
use crate::command::Commands;
use crate::command::failure::failure;

/// Questions that may be under way at once: a check of every guest against this host asks as
/// many as there are guests, and the controller does not ask more than so many at once.
const MAX_QUESTIONS: usize = 128;

/// Answers questions.
#[derive(Debug)]
pub struct Queries {
    commands: Arc<Commands>,
    slots: Arc<Semaphore>,
    listeners: listeners::Listeners,
    /// Switches the host off.
    off_command: Vec<String>,
    /// Held while the host is asked to switch itself off, until the answer is on its way.
    off: Mutex<()>,
}

impl Queries {
    /// Questions about the host that these commands act on and that `off_command` switches off.
    pub fn new(commands: Arc<Commands>, off_command: Vec<String>) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(MAX_QUESTIONS));
        let listeners = listeners::Listeners::default();
        Arc::new(Self { commands, slots, listeners, off_command, off: Mutex::default() })
    }

    /// Waits until no question is under way whose answer ends this agent: it would be lost.
    pub async fn last_word(&self) {
        drop(self.off.lock().await);
    }

    /// Answers in a task of its own; the answer goes to the outbox.
    pub fn dispatch(self: &Arc<Self>, query: Query) {
        let Query { query_id, question } = query;
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let busy =
                failure(FailureKind::Retry, format!("{MAX_QUESTIONS} questions are under way"));
            return self.send(query_id, Err(busy));
        };
        let queries = Arc::clone(self);
        self.commands.spawn(async move {
            let is_last = matches!(question, Some(Question::PowerOffHost(_)));
            let _off = if is_last { Some(queries.off.lock().await) } else { None };
            let answer = queries.answer(question).await;
            queries.send(query_id, answer);
            drop(slot);
        });
    }

    async fn answer(&self, question: Option<Question>) -> Result<Answer, Failure> {
        match question {
            Some(Question::InspectGuest(asked)) => self.inspect_guest(&asked).await,
            Some(Question::CheckIncoming(asked)) => self.check_incoming(&asked).await,
            Some(Question::DescribeCpu(asked)) => self.describe_cpu(&asked).await,
            Some(Question::BaselineCpu(asked)) => self.baseline_cpu(&asked).await,
            Some(Question::DefineCpu(asked)) => self.define_cpu(&asked).await,
            Some(Question::ListenForProbe(listen)) => self.listen(&listen).await,
            Some(Question::MeasureDirtying(measure)) => self.measure_dirtying(&measure).await,
            Some(Question::ProbePorts(probe)) => Ok(ports::probe(&probe).await),
            Some(Question::SendMagicPacket(send)) => magic_packet::send_magic_packet(send).await,
            Some(Question::PowerOffHost(_)) => self.power_off().await,
            None => Err(failure(FailureKind::Refused, "this agent does not know the question")),
        }
    }

    fn send(&self, query_id: String, answer: Result<Answer, Failure>) {
        if let Err(why) = &answer {
            debug!(query_id, kind = ?why.kind(), reason = why.message, "not answered");
        }
        let answer = Some(answer.unwrap_or_else(Answer::Failure));
        let at_ms = clock::now().as_millis();
        self.commands.outbox.send(QueryAnswer { query_id, at_ms, answer });
    }
}
