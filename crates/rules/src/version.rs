//! Versions of QEMU and libvirt.

/// `major.minor.release`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// Reads `7.2.22` or `7.2`, and what distributions and candidates add: `7.2.22 (Debian
    /// 1:7.2+dfsg-7)`, `9.0.0-rc1`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let plain = text.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut numbers = plain.split('.').map(|part| part.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }

    /// Major and minor: what decides which guests it can take.
    pub(crate) const fn branch(self) -> (u32, u32) {
        (self.0, self.1)
    }
}

/// Whether a transfer that breaks after the switch to post-copy can be gone on with between
/// hosts with these libvirts; of one whose version is not known nothing is held against it.
pub fn recovers_post_copy(source: &str, target: &str) -> bool {
    let read = |text| Version::read(text).map_or(SOUND, Version::branch);
    drover_model::recovers_post_copy(read(source), read(target)).is_ok()
}

/// A libvirt that goes on with everything.
const SOUND: (u32, u32) = (u32::MAX, 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert!(Version::read("9.10.0") > Version::read("9.9.0"));
        for (text, version) in [
            ("7.2", Some(Version(7, 2, 0))),
            ("7.2.22", Some(Version(7, 2, 22))),
            ("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", Some(Version(7, 2, 22))),
            ("7.2+dfsg", Some(Version(7, 2, 0))),
            ("8.2.2", Some(Version(8, 2, 2))),
            // What QEMU calls the first candidate of 9.0, and what people do.
            ("8.2.91", Some(Version(8, 2, 91))),
            ("9.0.0-rc1", Some(Version(9, 0, 0))),
            ("10.0.13", Some(Version(10, 0, 13))),
            ("q35", None),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(Version::read(text), version, "{text}");
        }
    }
}
