//! One session, from hello to farewell.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use drover_agent_api::MAX_MESSAGE_BYTES;
use drover_agent_api::v1::agent_link_client::AgentLinkClient;
use drover_agent_api::v1::{FromController, Hello, Welcome, from_controller::Body};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use tracing::{info, warn};

use super::Link;
use super::inventory::encode;
use super::outbox::Attachment;
use crate::clock;
use crate::config::{MAX_SAMPLE_INTERVAL, MIN_SAMPLE_INTERVAL};
use crate::shutdown::Shutdown;

/// Longest wait for the controller's welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the controller may take to end its side when the agent ends.
pub(super) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a host that switches itself off may take to say so before its session ends.
const LAST_WORD_TIMEOUT: Duration = Duration::from_millis(500);

/// Samples that may be on their way unacknowledged: after a long absence of the controller
/// the backlog must not stand before the results of commands.
const SAMPLES_UNDER_WAY: usize = 8;

/// A clock that differs more is worth a line in the log.
const NOTABLE_SKEW_MS: i64 = 2000;

/// A controller that could not store samples does not acknowledge them; after this long they
/// are sent again.
const RESEND_AFTER: Duration = Duration::from_secs(30);

/// Delivers samples by one session.
#[derive(Debug)]
struct Delivery {
    /// Sequences that were sent and not acknowledged.
    under_way: VecDeque<u64>,
    /// The last one that was sent.
    sent: u64,
    /// When the controller last acknowledged any, or had nothing to acknowledge.
    heard: Instant,
}

impl Link {
    /// Holds one session. Ends well when the controller or this agent ends it.
    pub(super) async fn speak(&self, channel: Channel, mut shutdown: Shutdown) -> Result<()> {
        let (attachment, outgoing) = self.outbox.attach(self.hello());
        let mut client = AgentLinkClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let opened = timeout(WELCOME_TIMEOUT, async {
            let answer = client.session(ReceiverStream::new(outgoing)).await?;
            let mut incoming = answer.into_inner();
            let first = incoming.message().await?;
            Ok::<_, tonic::Status>((incoming, first))
        });
        let (incoming, first) =
            opened.await.context("no welcome in time")?.map_err(|status| refusal(&status))?;
        let Some(first) = first else { return Ok(()) };
        tokio::select! {
            outcome = self.converse(first, incoming, attachment, &mut shutdown) => outcome,
            () = self.tell_inventories() => Ok(()),
        }
    }

    async fn converse(
        &self,
        first: FromController,
        mut incoming: Streaming<FromController>,
        attachment: Attachment,
        shutdown: &mut Shutdown,
    ) -> Result<()> {
        let mut delivery = Delivery::new(Instant::now());
        // Usually the welcome, but a command may have been waiting for this session.
        self.hear(first, &mut delivery);
        loop {
            self.deliver(&mut delivery);
            tokio::select! {
                biased;
                message = incoming.message() => match message {
                    Ok(Some(message)) => self.hear(message, &mut delivery),
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(refusal(&status)),
                },
                () = self.samples.fresh() => {}
                () = attachment.stuck() => bail!("the controller does not read"),
                () = shutdown.asked() => {
                    let _ = timeout(LAST_WORD_TIMEOUT, self.queries.last_word()).await;
                    drop(attachment);
                    let _ = timeout(FAREWELL_TIMEOUT, drain(&mut incoming)).await;
                    return Ok(());
                }
            }
        }
    }

    fn hear(&self, message: FromController, delivery: &mut Delivery) {
        match message.body {
            Some(Body::Command(command)) => self.commands.dispatch(command),
            Some(Body::SamplesAck(ack)) => {
                self.samples.buffer().acknowledge(ack.sequence);
                delivery.acknowledged(ack.sequence, Instant::now());
            }
            Some(Body::Welcome(welcome)) => self.welcome(&welcome),
            Some(Body::Query(query)) => self.queries.dispatch(query),
            None => warn!("the controller said something that this version does not know"),
        }
    }

    fn deliver(&self, delivery: &mut Delivery) {
        delivery.check(Instant::now());
        while delivery.under_way.len() < SAMPLES_UNDER_WAY {
            let Some(samples) = self.samples.buffer().after(delivery.sent) else { return };
            delivery.sending(samples.sequence, Instant::now());
            self.outbox.send(samples);
        }
    }

    fn welcome(&self, welcome: &Welcome) {
        let skew_ms = clock::now().as_millis() - welcome.now_ms;
        let (waiting, dropped) = {
            let buffer = self.samples.buffer();
            (buffer.len(), buffer.dropped())
        };
        info!(
            controller = self.identity.card.agent_url,
            skew_ms,
            samples_waiting = waiting,
            samples_dropped = dropped,
            "in session"
        );
        if skew_ms.abs() > NOTABLE_SKEW_MS {
            warn!(skew_ms, "this host's clock differs from the controller's");
        }
        if self.config.sample_interval.is_none() && welcome.sample_interval_ms > 0 {
            let asked = Duration::from_millis(welcome.sample_interval_ms.into());
            let asked = asked.clamp(MIN_SAMPLE_INTERVAL, MAX_SAMPLE_INTERVAL);
            self.sample_interval.send_if_modified(|now| std::mem::replace(now, asked) != asked);
        }
    }

    fn hello(&self) -> Hello {
        let migration_address = self.migration_address();
        let peer_uri = self.peer_uri(&migration_address);
        let card = &self.identity.card;
        Hello {
            host_id: card.host_id.to_string(),
            host_name: card.host_name.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.incarnation.clone(),
            capabilities_json: encode(&*self.capabilities.borrow()),
            migration_address,
            peer_uri,
        }
    }
}

impl Delivery {
    const fn new(now: Instant) -> Self {
        Self { under_way: VecDeque::new(), sent: 0, heard: now }
    }

    fn sending(&mut self, sequence: u64, now: Instant) {
        if self.under_way.is_empty() {
            self.heard = now;
        }
        self.sent = sequence;
        self.under_way.push_back(sequence);
    }

    fn acknowledged(&mut self, sequence: u64, now: Instant) {
        while self.under_way.front().is_some_and(|sent| *sent <= sequence) {
            self.under_way.pop_front();
            self.heard = now;
        }
    }

    /// Begins again with the oldest unacknowledged samples when nothing was heard for long.
    fn check(&mut self, now: Instant) {
        if !self.under_way.is_empty() && now.duration_since(self.heard) >= RESEND_AFTER {
            *self = Self::new(now);
        }
    }
}

fn refusal(status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{:?}: {}", status.code(), status.message())
}

async fn drain(incoming: &mut Streaming<FromController>) {
    while let Ok(Some(_)) = incoming.message().await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_are_never_acknowledged_are_sent_again() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut delivery = Delivery::new(begin);
        delivery.sending(4, after(40));
        delivery.sending(5, after(41));
        delivery.check(after(60));
        delivery.acknowledged(4, after(65));
        delivery.check(after(94));
        assert_eq!((delivery.sent, delivery.under_way.len()), (5, 1));
        delivery.check(after(95));
        assert_eq!((delivery.sent, delivery.under_way.len()), (0, 0));
    }
}
