//! Where a disk that goes with its guest is to lie: the directory must be there, and the place
//! free, since nothing is overwritten.

use std::path::Path;

use drover_model::DiskCopy;

use super::{Facts, Trouble};

/// The paths that a target has to be asked for.
pub fn places(copies: &[DiskCopy]) -> Vec<String> {
    let mut all: Vec<String> =
        copies.iter().flat_map(|copy| [Some(copy.to.clone()), directory(copy)]).flatten().collect();
    all.sort();
    all.dedup();
    all
}

fn directory(copy: &DiskCopy) -> Option<String> {
    Some(Path::new(&copy.to).parent()?.to_str()?.to_owned())
}

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let Some(incoming) = facts.incoming.this() else { return Vec::new() };
    let is_missing = |path: &String| incoming.missing_paths.contains(path);
    let target = &facts.target.name;
    let trouble = |copy: &DiskCopy| {
        let directory = directory(copy)?;
        if is_missing(&directory) {
            return Some(Trouble::blocks(
                format!(
                    "disk {} would be copied to {directory}, which is not on {target}",
                    copy.disk
                ),
                format!("make it on {target}, or name another with `--storage-map`"),
            ));
        }
        let taken = !is_missing(&copy.to);
        taken.then(|| {
            Trouble::blocks(
                format!(
                    "disk {} would be copied to {}, which is on {target} already",
                    copy.disk, copy.to
                ),
                format!(
                    "nothing is overwritten: remove it on {target} if nobody needs it, or name \
                     another directory with `--storage-map`"
                ),
            )
        })
    };
    facts.copies.iter().filter_map(trouble).collect()
}

#[cfg(test)]
mod tests {
    use drover_model::Bytes;

    use super::super::Severity;
    use super::super::fixture::Case;
    use super::*;

    const TO: &str = "/data/vm1.img";

    fn case(missing: &[&str]) -> Case {
        let mut case = Case::new();
        case.copies = vec![DiskCopy {
            disk: "vda".to_owned(),
            from: "/var/vm1.img".to_owned(),
            to: TO.to_owned(),
            format: "raw".to_owned(),
            capacity: Bytes(1),
            allocation: Bytes(1),
            backing: None,
        }];
        case.incoming.missing_paths = missing.iter().map(|&path| path.to_owned()).collect();
        case
    }

    #[test]
    fn a_place_must_be_there_and_free() {
        assert_eq!(places(&case(&[]).copies), ["/data", TO]);
        assert_eq!(case(&[TO]).says("copied-disk"), None);
        for (missing, part) in [(&["/data", TO][..], "/data, which is not"), (&[], "already")] {
            let (severity, cause) = case(missing).says("copied-disk").unwrap();
            assert!(severity == Severity::Blocks && cause.contains(part), "{cause}");
        }
        assert_eq!(Case::new().says("copied-disk"), None, "nothing is copied");
    }

    #[test]
    fn a_free_place_is_not_something_that_the_guest_needs() {
        assert_eq!(case(&["/data", TO]).says("path"), None);
    }
}
