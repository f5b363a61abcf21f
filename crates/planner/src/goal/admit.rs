//! A host for a guest that runs nowhere yet.

use drover_model::{ClusterView, Guest, GuestView, Metric, Reading};
use rand::Rng;

use super::Outcome;
use crate::Policy;
use crate::place::place;

pub(crate) fn admit(
    view: &ClusterView,
    policy: &Policy,
    guest: &Guest,
    rng: &mut impl Rng,
) -> Outcome {
    let mut with = view.clone();
    let known = |value| Reading::Known { value, samples: 1, newest: view.at };
    let cores = f64::from(guest.vcpus.0) / policy.vcpus_per_core;
    #[expect(clippy::cast_precision_loss, reason = "memory sizes stay below 2^53")]
    let memory = guest.memory_demand().0 as f64;
    let readings = [(Metric::GuestCpuCores, known(cores)), (Metric::GuestResident, known(memory))];
    with.guests.insert(
        guest.id,
        GuestView {
            guest: guest.clone(),
            readings: readings.into_iter().collect(),
            last_moved: None,
        },
    );
    let (moves, report) = place(&with, policy, guest.id, None, rng);
    (vec![moves], report)
}
