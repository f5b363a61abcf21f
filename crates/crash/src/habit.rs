//! How the modelled parts behave, so that tests can plant a fault of design and see that
//! the checks find it.

/// Behaviours; the default is what Drover and libvirt do.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// libvirt is told `VIR_MIGRATE_PAUSED`.
    pub arrives_paused: bool,
    /// Agents obey commands of any epoch.
    pub ignores_epochs: bool,
    /// Agents discard whatever is there.
    pub discards_anything: bool,
    /// The controller lets the target's copy run when the source says that it failed.
    pub resumes_target_at_failure: bool,
    /// Agents take a libvirtd that does not answer for one that has no guest.
    pub takes_silence_for_absence: bool,
    /// The controller says nothing twice.
    pub never_says_again: bool,
    /// No lease keeps a second copy of a guest under post-copy from running.
    pub ignores_leases: bool,
    /// Every job permits post-copy, so that it could be switched at once.
    pub always_permits_post_copy: bool,
    /// The source's agent takes every job that ended badly for one whose guest stayed.
    pub takes_a_break_for_a_failure: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            arrives_paused: true,
            ignores_epochs: false,
            discards_anything: false,
            resumes_target_at_failure: false,
            takes_silence_for_absence: false,
            never_says_again: false,
            ignores_leases: false,
            always_permits_post_copy: false,
            takes_a_break_for_a_failure: false,
        }
    }
}
