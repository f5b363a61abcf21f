//! Consolidation that pays for itself: few hosts, few moves.
//!
//! Each guest is described by a mean and a variance of its recent demand. A host's load is then a
//! mean and a variance too, so spikes of independent guests share one reserve instead of each having
//! its own. At a step, in this order and at most one of the last two:
//!
//! 1. `relief`: a host whose demand exceeds its capacity *now* gives up as little as possible,
//!    to the active host with the largest reserve; only if none has room is a host woken.
//! 2. `spread`: a host is woken when the whole load, evenly spread, leaves the active hosts with
//!    a reserve of less than `wake_sigmas` standard deviations.
//! 3. `drain`: hosts are emptied, cheapest first, while the load on the rest, evenly spread,
//!    leaves a reserve of `drain_sigmas` and enough power is saved for the moves it takes.
//!
//! The number of hosts in 2 and 3 has a closed form (`drain::hosts_needed`); the gap between the
//! two reserves is the dead band that keeps a host from being woken and emptied in turn. The
//! result is a pure function of the [`LoadView`]; no state is kept between steps.

mod drain;
mod estimate;
mod load;
mod place;
mod relief;
mod scratch;
mod spread;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use drain::hosts_needed;
pub(crate) use estimate::Demand;
pub use estimate::Estimator;
pub use load::{GuestLoad, HostLoad, LoadMove, LoadView};
pub use place::NoHost;
pub(crate) use relief::relieve;
pub(crate) use scratch::Scratch;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// How demand is estimated.
    pub estimator: Estimator,
    /// Relief starts when demand now exceeds this part of capacity.
    pub hot: f64,
    /// Relief may fill a target up to this part of capacity, by demand now.
    pub ceiling: f64,
    /// Most guests one hot host gives up in one step.
    pub relief_moves: usize,
    /// Standard deviations of reserve a host must keep when it takes a guest.
    pub fit_sigmas: f64,
    /// Mean reserve, in standard deviations, below which a host is woken.
    pub wake_sigmas: f64,
    /// Most guests handed to a host when it is woken.
    pub wake_moves: usize,
    /// Mean reserve, in standard deviations, that must remain when a host is emptied.
    pub drain_sigmas: f64,
    /// Idle power, in watts, an emptied host must save per guest moved.
    pub watts_per_move: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            estimator: Estimator::default(),
            hot: 1.0,
            ceiling: 0.9,
            relief_moves: 8,
            fit_sigmas: 1.0,
            wake_sigmas: 1.5,
            wake_moves: 4,
            drain_sigmas: 2.0,
            watts_per_move: 1.25,
        }
    }
}

/// The policy.
#[derive(Debug, Clone, Default)]
pub struct Consolidate {
    /// Its parameters.
    pub parameters: Parameters,
}

impl Consolidate {
    /// A host for every guest of a view in which none has one: nothing is known of CPU demand
    /// yet, so each needs its memory and a core of its size. The most efficient hosts are filled
    /// first.
    ///
    /// # Errors
    ///
    /// The guest that has no place, and why.
    pub fn place(&self, view: &LoadView) -> Result<Vec<usize>, NoHost> {
        place::place(view)
    }

    /// What to move now.
    pub fn replan(&self, view: &LoadView) -> Vec<LoadMove> {
        let demand = self.parameters.estimator.estimate(&view.guests);
        let mut scratch = Scratch::new(view, demand);
        let woken = relief::relieve(&mut scratch, &self.parameters)
            || spread::spread(&mut scratch, &self.parameters);
        if !woken {
            drain::drain(&mut scratch, &self.parameters);
        }
        scratch.moves()
    }

    /// What to move where somebody else decides which hosts are on (`power`): hosts that are
    /// short now are relieved among the `open` ones, and the `fresh` ones, which have just been
    /// woken, take over their share.
    pub fn even_out(&self, view: &LoadView, open: &[bool], fresh: &[usize]) -> Vec<LoadMove> {
        let demand = self.parameters.estimator.estimate(&view.guests);
        let mut scratch = Scratch::new(view, demand).limited_to(open.to_vec());
        relief::relieve(&mut scratch, &self.parameters);
        for &to in fresh {
            let active: Vec<usize> =
                scratch.active().into_iter().filter(|&host| host != to).collect();
            spread::fill(&mut scratch, &active, to, &self.parameters);
        }
        scratch.moves()
    }
}
