//! One move of a guest at a time.

use super::{MovableCase, Verdict};

pub(super) fn check(case: &MovableCase<'_>) -> Verdict {
    let id = case.guest.guest.id;
    let flight = case.projection.view().in_flight.iter().find(|flight| flight.guest == id);
    if let Some(flight) = flight {
        let to = case.projection.view().host_name(flight.to);
        return Verdict::Refused(format!("it is on its way to {to} already"));
    }
    Verdict::unless(!case.projection.is_moved(id), || "this plan moves it already".to_owned())
}
