//! Going on with a transfer that broke after the switch to post-copy.

/// What becomes of QEMU's stream when it is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenStream {
    /// It is left alone where it still stands.
    Leave,
    /// It is broken at both ends, so that a new one can be made.
    Sever,
}

/// Whether a libvirt of this version, major and minor, goes on with a transfer that broke after the
/// switch to post-copy, as the source's or as the target's.
///
/// It came with 8.5.0, and from 11.2.0 on the target's daemon ended with a fault when it was asked
/// for it, until 11.4.0 (libvirt's release notes of 8.5.0 and 11.4.0). Debian 13 has 11.3.0.
#[must_use]
pub fn libvirt_recovers_post_copy(version: (u32, u32)) -> bool {
    version >= (8, 5) && !((11, 2)..(11, 4)).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_dies_of_it_is_between_two_that_do_not() {
        for (version, recovers) in [
            ((7, 0), false),
            ((8, 4), false),
            ((8, 5), true),
            ((9, 0), true),
            ((11, 1), true),
            ((11, 2), false),
            ((11, 3), false),
            ((11, 4), true),
            ((12, 9), true),
        ] {
            assert_eq!(libvirt_recovers_post_copy(version), recovers, "{version:?}");
        }
    }
}
