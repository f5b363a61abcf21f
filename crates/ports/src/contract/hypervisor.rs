//! Contract of the hypervisor port: two hosts between which a guest can be sent.

mod guests;
mod migrations;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drover_model::{Guest, GuestId, GuestState, HostId, MigrationOutcome, MigrationSettings};

use crate::contract::report::run_all;
use crate::contract::{Kept, Unkept};
use crate::{Hypervisor, HypervisorError, OutgoingMigration};

/// Longest wait for anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Two hosts, and one guest of at least 32 MiB that was just started on the first.
#[derive(Clone)]
pub struct Rig {
    /// Where the guest runs.
    pub source: Arc<dyn Hypervisor>,
    /// Where it can be sent.
    pub target: Arc<dyn Hypervisor>,
    /// The guest; defined on the source, unknown on the target.
    pub guest: GuestId,
    /// URI of the target as the source reaches it.
    pub peer_uri: String,
    /// A URI of the same kind at which nobody listens.
    pub dead_peer_uri: String,
    /// Address of the target for the data.
    pub migration_address: String,
}

/// Checks every promise of [`Hypervisor`]; `make` gives a rig with a guest of its own each
/// time.
///
/// # Panics
///
/// With the names of the promises that were not kept. That is what it is for.
pub async fn run(make: impl AsyncFn() -> Rig) {
    run_all!("hypervisor", make;
        guests::a_host_describes_itself,
        guests::a_running_guest_is_seen_and_counted,
        guests::a_guest_that_is_not_there_is_gone,
        guests::a_running_guest_is_not_gone,
        guests::a_guest_that_did_not_arrive_is_not_discarded,
        migrations::a_guest_arrives_paused_and_runs_when_it_is_resumed,
        migrations::a_running_migration_tells_its_progress,
        migrations::a_guest_has_one_migration_at_a_time,
        migrations::a_cancelled_migration_leaves_the_guest,
        migrations::a_peer_out_of_reach_leaves_the_guest,
        migrations::a_copy_that_never_ran_may_be_discarded,
        migrations::the_cap_of_a_running_migration_can_be_lifted,
        migrations::post_copy_lets_the_guest_run_before_all_is_sent,
    );
}

impl fmt::Debug for Rig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (guest, peer) = (&self.guest, &self.peer_uri);
        out.debug_struct("Rig")
            .field("guest", guest)
            .field("peer_uri", peer)
            .finish_non_exhaustive()
    }
}

impl Rig {
    /// The guest as a host lists it.
    async fn listed(&self, at: &Arc<dyn Hypervisor>) -> Result<Option<Guest>, HypervisorError> {
        let all = at.guests(HostId::from_u128(77)).await?;
        Ok(all.into_iter().find(|guest| guest.id == self.guest))
    }

    async fn state(&self, at: &Arc<dyn Hypervisor>) -> Result<Option<GuestState>, HypervisorError> {
        Ok(self.listed(at).await?.map(|guest| guest.state))
    }

    fn migration(&self) -> OutgoingMigration {
        OutgoingMigration {
            guest: self.guest,
            peer_uri: self.peer_uri.clone(),
            migration_address: self.migration_address.clone(),
            tls_name: None,
            settings: MigrationSettings::default(),
            post_copy: false,
            disks: Vec::new(),
            disks_declared_shared: true,
        }
    }

    /// One that takes seconds.
    fn slow_migration(&self) -> OutgoingMigration {
        let mut slow = self.migration();
        slow.settings.max_bandwidth_mib_s = Some(1);
        slow
    }

    fn send(
        &self,
        migration: OutgoingMigration,
    ) -> tokio::task::JoinHandle<Result<MigrationOutcome, HypervisorError>> {
        let source = Arc::clone(&self.source);
        tokio::spawn(async move { source.migrate_out(migration).await })
    }

    /// Waits until the source says that a migration runs.
    async fn under_way(&self) -> Kept {
        eventually("the migration tells its progress", async || {
            Ok(self.source.progress(self.guest).await?.is_some())
        })
        .await
    }
}

impl From<HypervisorError> for Unkept {
    fn from(error: HypervisorError) -> Self {
        Self(format!("failed unexpectedly: {error}"))
    }
}

async fn eventually(what: &str, holds: impl AsyncFn() -> Result<bool, HypervisorError>) -> Kept {
    let wait = async {
        while !holds().await? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| Err(Unkept(format!("not within {PATIENCE:?}: {what}"))))
}
