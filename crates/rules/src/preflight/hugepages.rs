//! A guest whose memory is huge pages needs as many free ones of that size on the target.

use super::{Facts, Trouble};

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let (Some(found), Some(incoming)) = (facts.inspection.this(), facts.incoming.this()) else {
        return Vec::new();
    };
    let target = &facts.target.name;
    // With one size all memory comes from it. With several, NUMA cells have one each, and
    // that there is any is all that can be said.
    let whole = (facts.guest.memory.0 << 10, found.hugepages_kib.len() == 1);
    let trouble = |size: &u64| {
        let free = incoming.hugepages.iter().find(|pages| pages.size_kib == *size);
        let free = free.map_or(0, |pages| pages.free);
        let needed = if whole.1 { whole.0.div_ceil((*size).max(1)) } else { 1 };
        (free < needed).then(|| {
            Trouble::blocks(
                format!("it needs {needed} huge pages of {size} KiB, {target} has {free} free"),
                format!("reserve more with /sys/kernel/mm/hugepages/hugepages-{size}kB/nr_hugepages on {target}"),
            )
        })
    };
    found.hugepages_kib.iter().filter_map(trouble).collect()
}

#[cfg(test)]
mod tests {
    use drover_model::FreePages;

    use super::super::fixture::Case;

    #[test]
    fn enough_pages_of_the_right_size_must_be_free() {
        let pages = |size_kib, free| FreePages { size_kib, free };
        for (asked, there, told) in [
            (vec![], vec![], 0),
            (vec![2048], vec![pages(2048, 512)], 0),
            (vec![2048], vec![pages(2048, 511)], 1),
            (vec![1 << 20], vec![pages(2048, 4096)], 1),
            (vec![1 << 20], vec![pages(1 << 20, 1)], 0),
            (vec![2048, 1 << 20], vec![pages(2048, 1), pages(1 << 20, 0)], 1),
        ] {
            let mut case = Case::new();
            case.inspection.hugepages_kib = asked.clone();
            case.incoming.hugepages = there;
            assert_eq!(case.told_by("hugepages").len(), told, "{asked:?} of 1 GiB");
        }
    }
}
