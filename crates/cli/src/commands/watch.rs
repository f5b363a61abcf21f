//! `drover watch`: the raw live stream, for scripts.

use futures::StreamExt as _;

use super::wait::patiently;
use super::{Context, Done, problem};
use crate::output::out;

pub(crate) async fn run(context: &Context) -> Done {
    let mut stream = context.client.watch().await.map_err(problem)?;
    loop {
        while let Some(message) = stream.next().await {
            out(&serde_json::to_string(&message).unwrap_or_default());
        }
        stream = patiently(async || context.client.watch().await).await?;
    }
}
