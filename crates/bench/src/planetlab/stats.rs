//! The few statistics the overload rules need.

/// Least-squares line through `(1, y[0]), (2, y[1]), ...`: `(intercept, slope)`.
///
/// CloudSim 3.0.3 `MathUtil` prepares tricube weights for its local regression but applies them
/// only when at least 40 % of them are zero, which never happens, so an ordinary fit is what the
/// experiment measures. Means and moments are updated point by point.
pub(crate) fn line(y: &[f64]) -> (f64, f64) {
    let (mut mean_x, mut mean_y, mut moment_xx, mut moment_xy) = (0.0, 0.0, 0.0, 0.0);
    let (mut sum_x, mut sum_y) = (0.0, 0.0);
    for (index, &value) in y.iter().enumerate() {
        let seen = index as f64;
        let x = seen + 1.0;
        let (dx, dy) = (x - mean_x, value - mean_y);
        let weight = seen / (seen + 1.0);
        moment_xx += dx * dx * weight;
        moment_xy += dx * dy * weight;
        mean_x += dx / (seen + 1.0);
        mean_y += dy / (seen + 1.0);
        sum_x += x;
        sum_y += value;
    }
    if moment_xx == 0.0 {
        return (mean_y, 0.0);
    }
    let slope = moment_xy / moment_xx;
    ((sum_y - slope * sum_x) / y.len() as f64, slope)
}

/// Interquartile range by the nearest-rank rule of CloudSim 3.0.3 `MathUtil`: the elements ranked
/// `round(0.25 (n + 1))` and `round(0.75 (n + 1))`. Sorts `data`; needs at least two elements.
pub(crate) fn interquartile_range(data: &mut [f64]) -> f64 {
    data.sort_by(f64::total_cmp);
    let rank = |quarter: f64| {
        let rank = (quarter * (data.len() + 1) as f64).round() as usize;
        rank.clamp(1, data.len()) - 1
    };
    data[rank(0.75)] - data[rank(0.25)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_an_exact_line() {
        let y: Vec<f64> = (1..=10).map(|x| 0.3 + 0.05 * f64::from(x)).collect();
        let (intercept, slope) = line(&y);
        assert!((intercept - 0.3).abs() < 1e-12 && (slope - 0.05).abs() < 1e-12);
        assert_eq!(line(&[0.4]), (0.4, 0.0));
    }

    #[test]
    fn fits_by_hand() {
        let (intercept, slope) = line(&[1.0, 3.0, 2.0]);
        assert!((slope - 0.5).abs() < 1e-12 && (intercept - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quartiles_by_rank() {
        let mut data: Vec<f64> = (1..=12).rev().map(f64::from).collect();
        // n = 12: ranks round(3.25) = 3 and round(9.75) = 10
        assert_eq!(interquartile_range(&mut data), 7.0);
    }
}
