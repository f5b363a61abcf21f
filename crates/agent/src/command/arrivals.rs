//! Guests that may come to this host, and the door that is shut before it is switched off.
//!
//! Between a target's word that it is ready and libvirt's first sign of the guest nothing on
//! this host tells that one is under way, so it is remembered here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use drover_agent_api::v1::{Failure, FailureKind};
use drover_model::GuestId;

use super::failure::failure;

/// How long a guest that was told to be welcome is waited for. The source begins within a
/// second or so, and who asks for it still asks again every 3 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the door stays shut. A host that is still on then was not switched off, by a
/// daemon that hangs or a person at the console, and may be used.
const SHUT_FOR: Duration = Duration::from_secs(300);

/// Who may come.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shut: Option<Instant>,
    expected: BTreeMap<GuestId, Instant>,
}

impl Arrivals {
    /// A guest is going to come; refused while the host is being switched off.
    pub(super) fn expect(&self, guest: GuestId) -> Result<(), Failure> {
        let mut state = self.open_door()?;
        state.expected.insert(guest, Instant::now());
        Ok(())
    }

    /// A guest is to start here; refused while the host is being switched off.
    pub(super) fn admit(&self) -> Result<(), Failure> {
        self.open_door().map(drop)
    }

    /// The guest is here, or will not come.
    pub(super) fn settle(&self, guest: GuestId) {
        self.state().expected.remove(&guest);
    }

    /// Lets nobody come any more; tells who is expected, and then shuts nothing.
    pub(crate) fn shut(&self) -> Result<(), Vec<GuestId>> {
        let mut state = self.state();
        state.expected.retain(|_, since| since.elapsed() < PATIENCE);
        if state.expected.is_empty() {
            state.shut = Some(Instant::now());
            Ok(())
        } else {
            Err(state.expected.keys().copied().collect())
        }
    }

    /// The host stays on.
    pub(crate) fn open(&self) {
        self.state().shut = None;
    }

    fn open_door(&self) -> Result<MutexGuard<'_, State>, Failure> {
        let state = self.state();
        if state.shut.is_some_and(|since| since.elapsed() < SHUT_FOR) {
            return Err(failure(FailureKind::Refused, "this host is being switched off"));
        }
        Ok(state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: GuestId = GuestId::from_u128(1);

    #[test]
    fn the_door_is_shut_only_when_nobody_is_expected() {
        let arrivals = Arrivals::default();
        arrivals.expect(GUEST).unwrap();
        assert_eq!(arrivals.shut(), Err(vec![GUEST]));
        arrivals.admit().unwrap();
        arrivals.settle(GUEST);
        arrivals.shut().unwrap();
        let refused = arrivals.expect(GUEST).unwrap_err();
        assert!(refused.message.contains("switched off"), "{refused:?}");
        assert!(arrivals.admit().is_err());
        arrivals.open();
        arrivals.admit().unwrap();
    }
}
