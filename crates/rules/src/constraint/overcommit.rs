//! No host is promised more memory than the overcommit ratio allows.

use drover_model::Bytes;

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let Some(ratio) = case.policy.memory_overcommit else { return Verdict::Allowed };
    let target = &case.target.host;
    let guest = case.guest.guest.id;
    let promised: u64 = case
        .projection
        .guests_on(target.id)
        .filter(|other| *other != guest)
        .chain([guest])
        .filter_map(|id| case.projection.view().guests.get(&id))
        .map(|view| view.guest.memory_demand().0)
        .sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "memory sizes stay far below 2^53"
    )]
    let most = (target.capabilities.memory.0 as f64 * ratio) as u64;
    Verdict::unless(promised <= most, || {
        format!(
            "guests on {} would be promised {}, and {ratio} times its memory is {}",
            target.name,
            Bytes(promised),
            Bytes(most)
        )
    })
}
