//! How a host's cores are shared when its guests want more than there is.

/// What each guest gets of `cores`: all it wants while there is room, else as the kernel
/// shares between runnable threads, in proportion to its vCPUs, and what one leaves over
/// goes to the others. `wants` is each guest's demand and its vCPUs.
pub(crate) fn fair(wants: &[(f64, f64)], cores: f64) -> Vec<f64> {
    let mut gets: Vec<f64> = wants.iter().map(|(want, _)| *want).collect();
    if gets.iter().sum::<f64>() <= cores {
        return gets;
    }
    // Those who want least for their weight are served first; each takes at most its part
    // of what is left.
    let mut order: Vec<usize> = (0..wants.len()).collect();
    let for_weight = |index: &usize| wants[*index].0 / wants[*index].1;
    order.sort_by(|a, b| for_weight(a).total_cmp(&for_weight(b)).then(a.cmp(b)));
    let mut left = cores.max(0.0);
    let mut weight: f64 = wants.iter().map(|(_, weight)| weight).sum();
    for index in order {
        let (want, own) = wants[index];
        gets[index] = want.min(left * own / weight);
        left -= gets[index];
        weight -= own;
    }
    gets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_wants_are_met_and_the_rest_is_shared() {
        assert_eq!(fair(&[(1.0, 1.0), (2.0, 2.0)], 4.0), [1.0, 2.0]);
        assert_eq!(fair(&[(0.5, 2.0), (4.0, 4.0), (4.0, 4.0)], 4.5), [0.5, 2.0, 2.0]);
        assert_eq!(fair(&[(2.0, 1.0), (2.0, 3.0)], 2.0), [0.5, 1.5]);
    }

    proptest! {
        #[test]
        fn invariant_all_cores_are_given_and_nobody_gets_more_than_wanted(
            wants in prop::collection::vec((0.0..8.0f64, 1u32..8), 0..20), cores in 0.5..32.0f64,
        ) {
            let wants: Vec<(f64, f64)> =
                wants.into_iter().map(|(want, vcpus)| (want, f64::from(vcpus))).collect();
            let gets = fair(&wants, cores);
            let (sum, wanted): (f64, f64) =
                (gets.iter().sum(), wants.iter().map(|(want, _)| want).sum());
            prop_assert!((sum - wanted.min(cores)).abs() < 1e-6, "{sum} of {cores}");
            for (get, (want, _)) in gets.iter().zip(&wants) {
                prop_assert!(*get >= 0.0 && *get <= want + 1e-9);
            }
        }
    }
}
