//! Mean and variance of a guest's demand from its recent history.

use serde::{Deserialize, Serialize};

use super::GuestLoad;

/// What is expected of a guest, compute units.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Demand {
    /// Demand now.
    pub now: f64,
    /// Expected demand over the next steps.
    pub mean: f64,
    /// Variance of the demand about `mean`, compute units squared.
    pub variance: f64,
}

/// Exponentially weighted moments, with the variance pulled to what the other guests show while a
/// guest's own history is short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimator {
    /// Weight of a sample relative to the next newer one.
    pub decay: f64,
    /// Variance assumed before any is observed, as a part of `mean * (size - mean)`, the most a
    /// demand between zero and the guest's size can have.
    pub prior_scale: f64,
    /// Number of samples the common variance counts for.
    pub prior_weight: f64,
}

impl Default for Estimator {
    fn default() -> Self {
        Self { decay: 0.85, prior_scale: 0.1, prior_weight: 4.0 }
    }
}

/// Weighted moments of one history.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Moments {
    mean: f64,
    /// Unbiased sample variance; zero for one sample.
    variance: f64,
    /// Number of equally weighted samples that would tell as much.
    samples: f64,
}

impl Estimator {
    /// Moments of `history` (newest first) scaled by `size`.
    fn moments(&self, history: &[f64], size: f64) -> Moments {
        let (mut total, mut squares, mut sum) = (0.0, 0.0, 0.0);
        let mut weight = 1.0;
        for &value in history {
            total += weight;
            squares += weight * weight;
            sum += weight * value;
            weight *= self.decay;
        }
        if total == 0.0 {
            return Moments { mean: 0.0, variance: 0.0, samples: 0.0 };
        }
        let mean = sum / total;
        let mut spread = 0.0;
        weight = 1.0;
        for &value in history {
            spread += weight * (value - mean) * (value - mean);
            weight *= self.decay;
        }
        let samples = total * total / squares;
        let variance =
            if samples > 1.01 { spread / total * samples / (samples - 1.0) } else { 0.0 };
        Moments { mean: mean * size, variance: variance * size * size, samples }
    }

    /// Estimates every guest.
    pub(crate) fn estimate(&self, guests: &[GuestLoad]) -> Vec<Demand> {
        let moments: Vec<Moments> =
            guests.iter().map(|guest| self.moments(&guest.history, guest.size)).collect();
        let most = |guest: &GuestLoad, mean: f64| mean * (guest.size - mean).max(0.0);
        let (mut seen, mut possible) = (0.0, 0.0);
        for (guest, of) in guests.iter().zip(&moments) {
            if guest.host.is_some() && of.samples > 1.01 {
                seen += of.variance;
                possible += most(guest, of.mean);
            }
        }
        let scale = if possible > 0.0 { seen / possible } else { self.prior_scale };
        guests
            .iter()
            .zip(moments)
            .map(|(guest, of)| {
                let own = (of.samples - 1.0).max(0.0);
                let common = scale * most(guest, of.mean);
                let variance =
                    (own * of.variance + self.prior_weight * common) / (own + self.prior_weight);
                Demand { now: guest.demand, mean: of.mean, variance }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(history: &[f64]) -> GuestLoad {
        GuestLoad {
            size: 1000.0,
            image_mb: 613.0,
            memory_mb: 0.0,
            demand: history[0] * 1000.0,
            history: history.to_vec(),
            host: Some(0),
        }
    }

    #[test]
    fn equal_weights_give_the_sample_moments() {
        let estimator = Estimator { decay: 1.0, prior_scale: 0.1, prior_weight: 0.0 };
        let demand = estimator.estimate(&[guest(&[0.1, 0.3])])[0];
        assert!((demand.mean - 200.0).abs() < 1e-9);
        assert!((demand.variance - 20_000.0).abs() < 1e-6);
        assert_eq!(demand.now, 100.0);
    }

    #[test]
    fn one_sample_gets_the_prior_variance() {
        let estimator = Estimator { decay: 0.8, prior_scale: 0.1, prior_weight: 4.0 };
        let demand = estimator.estimate(&[guest(&[0.2])])[0];
        assert!((demand.variance - 0.1 * 200.0 * 800.0).abs() < 1e-6);
    }

    #[test]
    fn newer_samples_weigh_more() {
        let estimator = Estimator { decay: 0.5, prior_scale: 0.1, prior_weight: 4.0 };
        assert!(estimator.estimate(&[guest(&[0.4, 0.1])])[0].mean > 250.0);
    }
}
