//! Which definitions a session has told already. Pure.

use std::collections::BTreeMap;

use drover_model::{Guest, GuestId, GuestState};

/// Most definitions of one inventory: the controller stores each in the same commit as the
/// rest, and commits have a limit.
const MAX_AT_ONCE: usize = 32;

/// Inventories after which all is told again: what the controller could not store, or did
/// not take because the guest was another host's then.
const AGAIN_AFTER: u32 = 20;

/// What a session has told.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    told: BTreeMap<GuestId, (GuestState, String)>,
    inventories: u32,
    more: bool,
}

impl Definitions {
    /// Those that are new or have changed, and those of guests in another state than before:
    /// a guest that has just arrived is another host's until it runs.
    pub(super) fn news(
        &mut self,
        guests: &[Guest],
        definitions: Vec<(GuestId, String)>,
    ) -> Vec<(GuestId, String)> {
        self.inventories += 1;
        if self.inventories.is_multiple_of(AGAIN_AFTER) {
            self.told.clear();
        }
        let states: BTreeMap<GuestId, GuestState> =
            guests.iter().map(|guest| (guest.id, guest.state)).collect();
        self.told.retain(|guest, _| states.contains_key(guest));
        let mut news = Vec::new();
        self.more = false;
        for (guest, xml) in definitions {
            let Some(state) = states.get(&guest).copied() else { continue };
            let now = (state, xml);
            if self.told.get(&guest) == Some(&now) {
                continue;
            }
            if news.len() == MAX_AT_ONCE {
                self.more = true;
                break;
            }
            news.push((guest, now.1.clone()));
            self.told.insert(guest, now);
        }
        news
    }

    /// Whether the last news were not all.
    pub(super) const fn has_more(&self) -> bool {
        self.more
    }
}

#[cfg(test)]
mod tests {
    use drover_model::{HostId, Mib, Vcpus};

    use super::*;

    fn guest(number: u128, state: GuestState) -> Guest {
        Guest {
            id: GuestId::from_u128(number),
            name: format!("g{number}"),
            host: HostId::from_u128(1),
            state,
            vcpus: Vcpus(1),
            memory: Mib(1),
            current_memory: Mib(1),
            virt_type: String::new(),
            qemu: None,
            arch: String::new(),
            machine: String::new(),
            cpu_mode: String::new(),
            cpu_model: None,
            disks: Vec::new(),
            leases: Vec::new(),
            nics: Vec::new(),
            host_devices: 0,
            persistent: true,
        }
    }

    #[test]
    fn only_what_is_new_is_told_until_all_is_told_again() {
        let id = GuestId::from_u128(1);
        let mut definitions = Definitions::default();
        let mut told = |state, xml: &str| {
            definitions.news(&[guest(1, state)], vec![(id, xml.to_owned())]).len()
        };
        assert_eq!(told(GuestState::PausedForMigration, "a"), 1);
        assert_eq!(told(GuestState::PausedForMigration, "a"), 0);
        assert_eq!(told(GuestState::Running, "a"), 1, "it has arrived");
        assert_eq!(told(GuestState::Running, "b"), 1);
        let later = (5..=AGAIN_AFTER).map(|_| told(GuestState::Running, "b")).sum::<usize>();
        assert_eq!(later, 1, "once more, at last");
    }

    #[test]
    fn many_are_told_in_parts() {
        let guests: Vec<Guest> = (0..40).map(|number| guest(number, GuestState::Running)).collect();
        let all = || guests.iter().map(|guest| (guest.id, "x".to_owned())).collect();
        let mut definitions = Definitions::default();
        assert_eq!(definitions.news(&guests, all()).len(), MAX_AT_ONCE);
        assert!(definitions.has_more());
        assert_eq!(definitions.news(&guests, all()).len(), 40 - MAX_AT_ONCE);
        assert!(!definitions.has_more());
    }
}
