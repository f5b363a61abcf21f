//! `/v1/watch`: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use drover_api::v1::{Lagged, Watch};
use futures::Stream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::Api;

/// A comment line so often keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(super) async fn follow(
    State(api): State<Arc<Api>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = BroadcastStream::new(api.events.watch()).map(|message| {
        let message = message.unwrap_or_else(|BroadcastStreamRecvError::Lagged(dropped)| {
            Watch::Lagged(Lagged { dropped })
        });
        Ok(render(&message))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn render(message: &Watch) -> Event {
    let kind = match message {
        Watch::Event(_) => "event",
        Watch::Operation(_) => "operation",
        Watch::HostSample(_) => "host_sample",
        Watch::GuestSample(_) => "guest_sample",
        Watch::Lagged(_) => "lagged",
    };
    let mut event = Event::default().event(kind);
    if let Watch::Event(recorded) = message {
        event = event.id(recorded.sequence.to_string());
    }
    event.data(serde_json::to_string(message).unwrap_or_default())
}
