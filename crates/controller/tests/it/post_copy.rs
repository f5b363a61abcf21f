//! What a guest's policy allows under post-copy, and what is done.

use drover_controller::reconcile::Reconcile as _;
use drover_controller::records::GuestPolicyRecord;
use drover_model::PostCopy;
use drover_planner::Level;
use drover_testkit::host_id;

use crate::agents::{Says, connect};
use crate::balance::{policy, uneven};

/// Nobody asked for it: where a transfer that breaks could not be gone on with, it is not done.
#[tokio::test(start_paused = true)]
async fn a_policy_switches_no_guest_where_a_break_could_not_be_mended() {
    for (libvirt, post_copy) in [
        ("11.3.0", PostCopy::Never),
        ("8.4.0", PostCopy::Never),
        ("11.4.0", PostCopy::Allow),
        ("", PostCopy::Allow),
    ] {
        let (world, balance) = uneven().await;
        connect(&world, host_id(1), Says::default());
        connect(&world, host_id(2), Says::default());
        world
            .update_with(|tables, txn| {
                for record in tables.guests.iter() {
                    txn.put(GuestPolicyRecord {
                        guest: record.guest.id,
                        post_copy: Some(true),
                        max_downtime_ms: None,
                        auto_converge: None,
                        priority: None,
                        probe: None,
                    });
                }
                for record in tables.hosts.iter() {
                    let mut record = record.clone();
                    record.host.capabilities.libvirt = libvirt.to_owned();
                    txn.put(record);
                }
                txn.put(policy(Level::Moderate));
            })
            .await;
        balance.reconcile().await.unwrap();
        let tables = world.records.read();
        let asked: Vec<PostCopy> =
            tables.operations.iter().map(|of| of.migration.settings.post_copy).collect();
        let all = !asked.is_empty() && asked.iter().all(|one| *one == post_copy);
        assert!(all, "libvirt {libvirt:?}: {asked:?}");
    }
}
