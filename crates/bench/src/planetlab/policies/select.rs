//! Which VM leaves an overloaded host.

use drover_planner::consolidate::LoadView;

/// Picks one VM among the candidates.
pub(crate) trait Select {
    /// One of `candidates`, or none if there is none.
    fn pick(&mut self, view: &LoadView, candidates: &[usize]) -> Option<usize>;
}

/// MMT: the VM that moves fastest, the first of equals. Source: CloudSim 3.0.3
/// `PowerVmSelectionPolicyMinimumMigrationTime`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MinimumMigrationTime;

impl Select for MinimumMigrationTime {
    fn pick(&mut self, view: &LoadView, candidates: &[usize]) -> Option<usize> {
        let image = |vm: usize| view.guests[vm].image_mb;
        candidates.iter().copied().min_by(|&a, &b| image(a).total_cmp(&image(b)))
    }
}

/// RS: any VM. Source: CloudSim 3.0.3 `PowerVmSelectionPolicyRandomSelection`; seeded here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RandomSelection {
    state: u64,
}

impl RandomSelection {
    /// A selection that depends only on `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Next number of the SplitMix64 sequence (public domain, Vigna 2015).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Select for RandomSelection {
    fn pick(&mut self, _view: &LoadView, candidates: &[usize]) -> Option<usize> {
        let count = u64::try_from(candidates.len()).ok().filter(|&count| count > 0)?;
        let index = usize::try_from(self.next() % count).ok()?;
        candidates.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_is_reproducible_and_in_range() {
        let view = LoadView::default();
        let draw = |seed| {
            let mut select = RandomSelection::new(seed);
            (0..50).map(|_| select.pick(&view, &[4, 5, 6]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(RandomSelection::new(1).pick(&view, &[]).is_none());
    }
}
