//! What a host draws, by how busy it is.

use serde::{Deserialize, Serialize};

/// Watts at 0 %, 10 %, …, 100 % of its CPU, linear in between: what the SPECpower
/// benchmark publishes of a server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerCurve(pub [f64; 11]);

impl PowerCurve {
    /// Watts at a utilisation, a fraction; beyond 0 and 1 it counts as these.
    ///
    /// Two hosts of one model on the same straight stretch draw the same more for the same
    /// guest, so rounding decides between them: the operations and their order are those
    /// of the published experiment (watts for each percent times percent past the point
    /// below), so that it can be repeated to the last digit.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 10; what is not a number counts as 0"
    )]
    pub fn watts(&self, utilisation: f64) -> f64 {
        let utilisation = utilisation.clamp(0.0, 1.0);
        let below = (utilisation * 10.0).floor();
        let above = (utilisation * 10.0).ceil();
        let start = self.0[below as usize];
        let per_percent = (self.0[above as usize] - start) / 10.0;
        start + per_percent * (utilisation - below / 10.0) * 100.0
    }

    /// Joules over so many seconds while utilisation goes from one to another.
    ///
    /// A host that begins at exactly zero is off and draws nothing; otherwise it is the
    /// mean of the two ends.
    pub fn joules(&self, from: f64, to: f64, seconds: f64) -> f64 {
        if from == 0.0 {
            return 0.0;
        }
        let start = self.watts(from);
        (start + (self.watts(to) - start) / 2.0) * seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVE: PowerCurve =
        PowerCurve([93.7, 97.0, 101.0, 105.0, 110.0, 116.0, 121.0, 125.0, 129.0, 133.0, 135.0]);

    #[test]
    fn points_are_exact_and_between_them_it_is_a_line() {
        assert_eq!((CURVE.watts(0.0), CURVE.watts(1.0)), (93.7, 135.0));
        assert!((CURVE.watts(0.5) - 116.0).abs() < 1e-9);
        assert!((CURVE.watts(0.75) - 127.0).abs() < 1e-9);
        assert!((CURVE.watts(0.05) - 95.35).abs() < 1e-9);
    }

    #[test]
    fn energy_is_the_mean_of_the_ends_and_nothing_when_off() {
        assert_eq!(CURVE.joules(0.0, 1.0, 300.0), 0.0);
        assert!((CURVE.joules(1.0, 0.0, 10.0) - (135.0 + 93.7) * 5.0).abs() < 1e-9);
    }
}
