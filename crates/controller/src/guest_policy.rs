//! How a guest may be moved: what a request may ask for, and what a move is done with that
//! nobody asked for in detail.

use drover_model::{GuestId, MigrationMode, MigrationSettings, PostCopy};

use crate::records::{GuestPolicyRecord, Tables};

/// Longest pause of a guest for which nobody said otherwise, milliseconds. Clusters inside
/// guests, VRRP and TCP wait longer than a second before they give a peer up; and it is only
/// used where the 300 ms that a move begins with do not end it.
pub const MAX_DOWNTIME_MS: u64 = 1_000;

/// The policy of a guest; one without is as for every guest.
pub fn of(tables: &Tables, guest: GuestId) -> GuestPolicyRecord {
    let known = tables.guest_policies.get(guest).cloned();
    known.unwrap_or(GuestPolicyRecord {
        guest,
        max_downtime_ms: None,
        auto_converge: None,
        post_copy: None,
        priority: None,
        probe: None,
    })
}

impl GuestPolicyRecord {
    /// Longest pause, milliseconds.
    pub fn longest_pause_ms(&self) -> u64 {
        self.max_downtime_ms.unwrap_or(MAX_DOWNTIME_MS)
    }

    /// Which goes first of those that wait in the same class: the higher.
    pub fn priority(&self) -> i32 {
        self.priority.unwrap_or_default()
    }

    /// Whether its network may be asked while it arrives, to measure the blackout.
    pub fn is_probed(&self) -> bool {
        self.probe.unwrap_or(true)
    }

    /// Why a request may not be carried out as it is; none where it may. `pause_named` says that
    /// the request names a pause itself.
    pub fn forbids(&self, settings: &MigrationSettings, pause_named: bool) -> Option<String> {
        if settings.mode != MigrationMode::Live {
            return None;
        }
        let most = self.max_downtime_ms.filter(|most| settings.max_downtime_ms > *most);
        if let (Some(most), true) = (most, pause_named) {
            let asked = settings.max_downtime_ms;
            return Some(format!("the guest allows a pause of {most} ms, not of {asked}"));
        }
        if self.auto_converge == Some(false) && settings.auto_converge {
            return Some("the guest may not be slowed down".to_owned());
        }
        if self.post_copy == Some(false) && settings.post_copy != PostCopy::Never {
            return Some("the guest may not be switched to post-copy".to_owned());
        }
        None
    }

    /// What a request for several guests becomes for this one: nothing that it forbids.
    pub fn clamp(&self, mut settings: MigrationSettings) -> MigrationSettings {
        if settings.mode != MigrationMode::Live {
            return settings;
        }
        if let Some(most) = self.max_downtime_ms {
            settings.max_downtime_ms = settings.max_downtime_ms.min(most);
        }
        settings.auto_converge &= self.auto_converge != Some(false);
        if self.post_copy == Some(false) {
            settings.post_copy = PostCopy::Never;
        }
        settings
    }

    /// What a move is done with where the request left it open.
    pub fn fill(&self, mut settings: MigrationSettings, pause_named: bool) -> MigrationSettings {
        if settings.mode != MigrationMode::Live {
            return settings;
        }
        if !pause_named {
            settings.max_downtime_ms = self.longest_pause_ms();
        }
        settings.auto_converge |= self.auto_converge == Some(true);
        // QEMU before 10.1 has no post-copy on several connections.
        let possible = settings.parallel.is_none() && settings.post_copy == PostCopy::Never;
        if self.post_copy == Some(true) && possible {
            settings.post_copy = PostCopy::Allow;
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> GuestPolicyRecord {
        GuestPolicyRecord {
            guest: GuestId::from_u128(1),
            max_downtime_ms: Some(500),
            auto_converge: Some(true),
            post_copy: Some(false),
            priority: None,
            probe: None,
        }
    }

    #[test]
    fn a_request_for_several_becomes_what_each_allows() {
        let asked = MigrationSettings {
            max_downtime_ms: 5000,
            post_copy: PostCopy::Now,
            auto_converge: true,
            ..MigrationSettings::default()
        };
        let is = policy().clamp(asked.clone());
        assert_eq!((is.max_downtime_ms, is.post_copy), (500, PostCopy::Never));
        assert!(is.auto_converge, "it may be slowed down");
        let free = GuestPolicyRecord { max_downtime_ms: None, post_copy: None, ..policy() };
        assert_eq!(free.clamp(asked.clone()), asked);
        let cold = MigrationSettings { mode: MigrationMode::Cold, ..asked };
        assert_eq!(policy().clamp(cold.clone()), cold, "nothing of it is for a guest that is off");
    }

    #[test]
    fn a_request_is_held_to_what_the_guest_allows() {
        let asks = |max_downtime_ms, post_copy| MigrationSettings {
            max_downtime_ms,
            post_copy,
            ..MigrationSettings::default()
        };
        let policy = policy();
        assert_eq!(policy.forbids(&asks(500, PostCopy::Never), true), None);
        assert!(policy.forbids(&asks(501, PostCopy::Never), true).is_some());
        assert_eq!(policy.forbids(&asks(501, PostCopy::Never), false), None);
        assert!(policy.forbids(&asks(100, PostCopy::Allow), true).is_some());
    }

    #[test]
    fn what_a_request_leaves_open_is_filled_in() {
        let filled = policy().fill(MigrationSettings::default(), false);
        assert_eq!((filled.max_downtime_ms, filled.auto_converge), (500, true));
        assert_eq!(filled.post_copy, PostCopy::Never);
        let named = MigrationSettings { max_downtime_ms: 200, ..MigrationSettings::default() };
        assert_eq!(policy().fill(named, true).max_downtime_ms, 200);
        let free = GuestPolicyRecord { post_copy: Some(true), ..policy() };
        assert_eq!(free.fill(MigrationSettings::default(), false).post_copy, PostCopy::Allow);
    }
}
