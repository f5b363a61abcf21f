//! Questions to agents, and waiting for their answers.
//!
//! A question is asked once. Whoever asks waits for a limited time, and an answer that
//! nobody waits for is dropped: nothing durable depends on either.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

pub use drover_agent_api::v1::query::Question;
pub use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{FailureKind, FromController, Query, QueryAnswer, from_controller};
use drover_model::{HostId, Timestamp};
use tokio::sync::oneshot;

use super::Live;

/// Longest wait for an answer. The slowest question, ports that drop packets, takes the
/// agent 3 s; libvirt answers the others in well under a second, also on a loaded host.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Questions that may wait for one answer each: far above what checks of all hosts ask at
/// once, so that reaching it means that somebody asks without end.
const MAX_QUESTIONS: usize = 4096;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The host's agent is not connected, or its session ended meanwhile.
    #[error("the host's agent is not connected")]
    NotConnected,
    /// It did not answer in time. An agent of an older version does not know questions.
    #[error("the host's agent did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer,
    /// Too many questions wait.
    #[error("{MAX_QUESTIONS} questions wait for answers")]
    Busy,
    /// The agent says why it cannot tell.
    #[error("{message}")]
    Failed {
        /// What kind of failure it is.
        kind: FailureKind,
        /// What the agent said.
        message: String,
    },
    /// The agent answered something else than was asked.
    #[error("the host's agent answered something else than was asked")]
    Unexpected,
}

/// Questions that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Questions {
    last: u64,
    waiting: HashMap<u64, (HostId, oneshot::Sender<QueryAnswer>)>,
    /// How far each host's clock is ahead of ours, ms, by its last answer.
    skews: HashMap<HostId, i64>,
}

impl Questions {
    /// The host's session ended: nobody will answer.
    pub(super) fn forget(&mut self, host: HostId) {
        self.waiting.retain(|_, (of, _)| *of != host);
        self.skews.remove(&host);
    }
}

impl Live {
    /// Asks a host's agent and waits for the answer, at most [`ANSWER_TIMEOUT`].
    pub async fn ask(&self, host: HostId, question: Question) -> Result<Answer, AskError> {
        let (number, answer) = self.pose(host, question)?;
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
        self.lock().questions.waiting.remove(&number);
        let answer = answered.map_err(|_| AskError::NoAnswer)?;
        match answer.map_err(|_| AskError::NotConnected)?.answer {
            Some(Answer::Failure(failure)) => {
                Err(AskError::Failed { kind: failure.kind(), message: failure.message })
            }
            Some(answer) => Ok(answer),
            None => Err(AskError::Unexpected),
        }
    }

    /// How far the host's clock is ahead of the controller's, milliseconds, when its last
    /// answer came; none when it has answered nothing in this session. The answer's way is
    /// counted in, milliseconds on a working network.
    pub fn clock_skew_ms(&self, host: HostId) -> Option<i64> {
        self.lock().questions.skews.get(&host).copied()
    }

    /// Takes an agent's answer. Only the host that was asked can answer.
    pub fn answered(&self, host: HostId, answer: QueryAnswer, now: Timestamp) {
        let number = answer.query_id.parse().unwrap_or_default();
        let mut inner = self.lock();
        inner.questions.skews.insert(host, answer.at_ms.saturating_sub(now.as_millis()));
        let waiting = match inner.questions.waiting.entry(number) {
            Entry::Occupied(entry) if entry.get().0 == host => entry.remove().1,
            _ => {
                tracing::debug!(%host, query = answer.query_id, "an answer nobody waits for");
                return;
            }
        };
        // Whoever asked may have stopped waiting.
        let _ = waiting.send(answer);
    }

    fn pose(
        &self,
        host: HostId,
        question: Question,
    ) -> Result<(u64, oneshot::Receiver<QueryAnswer>), AskError> {
        let mut inner = self.lock();
        if inner.questions.waiting.len() >= MAX_QUESTIONS {
            return Err(AskError::Busy);
        }
        inner.questions.last += 1;
        let number = inner.questions.last;
        let query = Query { query_id: number.to_string(), question: Some(question) };
        let message = FromController { body: Some(from_controller::Body::Query(query)) };
        let session = inner.sessions.get(&host).ok_or(AskError::NotConnected)?;
        session.sender.try_send(message).map_err(|_| AskError::NotConnected)?;
        let (sender, receiver) = oneshot::channel();
        inner.questions.waiting.insert(number, (host, sender));
        Ok((number, receiver))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drover_agent_api::v1::{DescribeCpu, Failure};
    use tokio::sync::mpsc;

    use super::*;

    const HOST: HostId = HostId::from_u128(1);
    const OTHER: HostId = HostId::from_u128(2);

    fn question() -> Question {
        Question::DescribeCpu(DescribeCpu::default())
    }

    fn connected() -> (Arc<Live>, u64, mpsc::Receiver<FromController>) {
        let live = Arc::new(Live::default());
        let (sender, receiver) = mpsc::channel(4);
        let number = live.connect(HOST, sender, Timestamp::from_millis(0));
        (live, number, receiver)
    }

    async fn asked(receiver: &mut mpsc::Receiver<FromController>) -> String {
        match receiver.recv().await.unwrap().body {
            Some(from_controller::Body::Query(query)) => query.query_id,
            other => panic!("no question: {other:?}"),
        }
    }

    #[tokio::test]
    async fn an_answer_reaches_who_asked_and_only_from_the_host_that_was_asked() {
        let (live, _, mut receiver) = connected();
        let asking = tokio::spawn({
            let live = Arc::clone(&live);
            async move { live.ask(HOST, question()).await }
        });
        let query_id = asked(&mut receiver).await;
        let answer = |xml: &str| QueryAnswer {
            query_id: query_id.clone(),
            at_ms: 1_007,
            answer: Some(Answer::BaselineJson(xml.into())),
        };
        let now = Timestamp::from_millis(1_000);
        live.answered(OTHER, answer("forged"), now);
        assert_eq!(live.clock_skew_ms(HOST), None);
        live.answered(HOST, answer("true"), now);
        assert_eq!(asking.await.unwrap(), Ok(Answer::BaselineJson("true".into())));
        live.answered(HOST, answer("late"), now);
        assert_eq!(live.clock_skew_ms(HOST), Some(7));
    }

    #[tokio::test]
    async fn a_failure_is_told_with_its_kind() {
        let (live, _, mut receiver) = connected();
        let asking = tokio::spawn({
            let live = Arc::clone(&live);
            async move { live.ask(HOST, question()).await }
        });
        let query_id = asked(&mut receiver).await;
        let failure = Failure { kind: FailureKind::Refused.into(), message: "no".to_owned() };
        let answer = Some(Answer::Failure(failure));
        let answer = QueryAnswer { query_id, at_ms: 0, answer };
        live.answered(HOST, answer, Timestamp::from_millis(0));
        let expected = AskError::Failed { kind: FailureKind::Refused, message: "no".to_owned() };
        assert_eq!(asking.await.unwrap(), Err(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let (live, number, _receiver) = connected();
        assert_eq!(live.ask(OTHER, question()).await, Err(AskError::NotConnected));
        assert_eq!(live.ask(HOST, question()).await, Err(AskError::NoAnswer));
        let asking = tokio::spawn({
            let live = Arc::clone(&live);
            async move { live.ask(HOST, question()).await }
        });
        tokio::task::yield_now().await;
        live.disconnect(HOST, number);
        assert_eq!(asking.await.unwrap(), Err(AskError::NotConnected));
        assert!(live.lock().questions.waiting.is_empty());
    }
}
