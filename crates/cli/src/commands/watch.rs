//! `drover watch`: the raw live stream, for scripts.

use std::io::Write as _;
use std::time::Duration;

use futures::StreamExt as _;

use super::{Context, Done, problem};

/// A stream that ended is opened again after so long.
const AGAIN: Duration = Duration::from_millis(500);

pub(crate) async fn run(context: &Context) -> Done {
    let mut stream = context.client.watch().await.map_err(problem)?;
    loop {
        while let Some(message) = stream.next().await {
            println!("{}", serde_json::to_string(&message).unwrap_or_default());
            let _ = std::io::stdout().flush();
        }
        tokio::time::sleep(AGAIN).await;
        if let Ok(again) = context.client.watch().await {
            stream = again;
        }
    }
}
