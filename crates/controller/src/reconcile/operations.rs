//! Says again what unfinished operations ask for, so that a lost message costs seconds.

use async_trait::async_trait;

use super::Reconcile;
use crate::engine::Engine;

/// See the module.
#[derive(Debug, Clone)]
pub struct CarryOutOperations {
    /// Operations.
    pub engine: Engine,
}

#[async_trait]
impl Reconcile for CarryOutOperations {
    fn name(&self) -> &'static str {
        "carry-out-operations"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        self.engine.begin_admitted().await;
        self.engine.leave_unreachable_targets().await;
        self.engine.say_again(None);
        Ok(())
    }
}
