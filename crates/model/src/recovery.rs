//! Going on with a transfer that broke after the switch to post-copy.

/// What becomes of QEMU's stream when it is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenStream {
    /// It is left alone where it still stands.
    Leave,
    /// It is broken at both ends, so that a new one can be made.
    Sever,
}

/// Why a transfer that breaks after the switch to post-copy cannot be gone on with between two
/// hosts, for the versions of libvirt on them, major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRecovery {
    /// The source's libvirt does not know how.
    Source,
    /// The target's does not, or its daemon ends with a fault when it is asked.
    Target,
}

/// Whether a transfer that breaks after the switch to post-copy can be gone on with.
///
/// libvirt knows how since 8.5.0. From 11.2.0 on the daemon of the *target* ended with a fault when
/// it was asked, until 11.4.0 (libvirt's release notes of 8.5.0 and 11.4.0). Debian 13 has 11.3.0.
///
/// # Errors
///
/// Which side cannot.
pub fn recovers_post_copy(source: (u32, u32), target: (u32, u32)) -> Result<(), NoRecovery> {
    const KNOWN_SINCE: (u32, u32) = (8, 5);
    if target < KNOWN_SINCE || ((11, 2)..(11, 4)).contains(&target) {
        Err(NoRecovery::Target)
    } else if source < KNOWN_SINCE {
        Err(NoRecovery::Source)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_dies_of_it_is_between_two_that_do_not() {
        for (source, target, recovers) in [
            ((9, 0), (7, 0), Err(NoRecovery::Target)),
            ((9, 0), (8, 4), Err(NoRecovery::Target)),
            ((9, 0), (8, 5), Ok(())),
            ((9, 0), (9, 0), Ok(())),
            ((9, 0), (11, 1), Ok(())),
            ((11, 4), (11, 2), Err(NoRecovery::Target)),
            ((11, 4), (11, 3), Err(NoRecovery::Target)),
            ((11, 3), (11, 4), Ok(())),
            ((12, 9), (12, 9), Ok(())),
            ((8, 4), (12, 9), Err(NoRecovery::Source)),
        ] {
            assert_eq!(recovers_post_copy(source, target), recovers, "{source:?} {target:?}");
        }
    }
}
