//! Waiting for the samples that a decision needs.

use super::world::{World, all, items, text};

/// Checks that say no where something is not measured yet.
const UNMEASURED: [&str; 2] = ["fresh-samples", "threshold"];

impl World {
    /// Waits until a guest has been measured where it is, so that it can be moved.
    pub(crate) fn measured(&self, guest: &str) -> anyhow::Result<()> {
        // A host that was switched on again has no samples yet.
        self.until("fresh samples of every host", || {
            Ok(all(&self.json(&["host", "list"])?, |host| host["cpu_usage_percent"].is_number()))
        })?;
        self.until("a guest that can be moved", || {
            let shown = self.json(&["guest", "show", guest])?;
            let home = self.home(guest)?;
            Ok(shown["host"] == home.as_str()
                && shown["state"] == "running"
                && shown["host_percent"].is_number())
        })?;
        // A request looks at a window of samples, of which the newest alone say nothing.
        self.until("a measured window", || {
            let check = self.json(&["guest", "check", guest])?;
            let mut findings =
                items(&check["targets"]).iter().flat_map(|one| items(&one["findings"]));
            Ok(!findings.any(|one| UNMEASURED.contains(&text(one, "check"))))
        })
    }

    /// Moves a guest as soon as it can be moved: it may have arrived a moment ago.
    pub(crate) fn migrate(&self, guest: &str, to: &str) -> anyhow::Result<String> {
        self.measured(guest)?;
        self.drover(&["guest", "migrate", guest, "--to", to])
    }
}
