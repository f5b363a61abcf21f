//! Which hosts sleep: `decide(view, policy, state, now) → (state, decision)`.
//!
//! A turn looks at the load of all guests as a mean and a variance (`consolidate`), at what
//! history says is coming, and at what the policy asks for. In this order:
//!
//! 1. `wake`: hosts are woken for the schedule, for hosts in reserve and survivable failures,
//!    for a host that no move relieves, for a load that the forecast knows to come, and for
//!    one that has been too high throughout the window for waking (minutes). A host that is
//!    still being emptied for a park is called back before another is woken.
//! 2. `park`: only in a turn in which nothing wakes. A host is parked when the others were
//!    enough throughout the window for parking (tens of minutes), will be for long enough to
//!    pay for the moves and the next wake, and have room for its guests.
//!
//! What keeps a host from being woken and parked in turn: the reserve that must remain after
//! parking is larger than the one that calls for waking, the highest need of the window
//! counts and not the last, and a host stays on and off for at least its own times.
//!
//! Not known here: how hosts are woken and parked, placement rules (they come as a host's
//! reason not to be parked), and time other than `now`. Same arguments, same decision.

mod decision;
mod level;
mod need;
mod park;
mod schedule;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod wake;

use drover_model::Timestamp;

use crate::consolidate::{Demand, Estimator};
pub use decision::{Decision, Kept, Outlook, Park, Refusal, Wake, WakeReason};
pub use level::{Parameters, PowerLevel};
pub use park::WH_PER_GIB_MOVED;
pub use schedule::{Ask, ScheduleError, Window};
pub use state::{MAX_GAP, State, USUAL_STAY};
pub use view::{Expected, Machine, MachineState, PowerPolicy, View};

/// What a turn works on.
struct Turn<'a> {
    view: &'a View,
    policy: &'a PowerPolicy,
    parameters: Parameters,
    /// What is expected of each guest.
    demand: Vec<Demand>,
    now: Timestamp,
}

/// Decides which hosts to wake and which to park. What it returns as state is given to the
/// next turn; a new state makes the first turns wait for a whole window.
pub fn decide(
    view: &View,
    policy: &PowerPolicy,
    state: State,
    now: Timestamp,
) -> (State, Decision) {
    let demand = Estimator::default().estimate(&view.load.guests);
    let turn = Turn { view, policy, parameters: policy.level.parameters(), demand, now };
    let mut state = state.seen(view, &turn.load(), now);
    let (wakes, unmet) = wake::wakes(&turn, &mut state);
    let outlook = turn.outlook(&state);
    let mut kept = Vec::new();
    let mut parks = Vec::new();
    let held = park::held(&turn, &state, &wakes, unmet.is_some());
    if held.is_none() {
        (parks, kept) = park::parks(&turn, &state);
    }
    (state, Decision { at: now, wakes, unmet, parks, held, kept, outlook })
}
