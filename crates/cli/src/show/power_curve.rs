//! What a host draws by its CPU use, as fields and a plot of characters.

use drover_api::v1;

use crate::output::{ago, fields};

/// Columns of the plot: two percent points of CPU use each.
const WIDTH: usize = 51;
/// Rows of the plot.
const HEIGHT: usize = 13;

pub(crate) fn power_curve(curve: &v1::PowerCurve) -> String {
    let rests_on = match (curve.least_use_percent, curve.most_use_percent, curve.error_watts) {
        (Some(least), Some(most), Some(error)) => format!(
            "{}: {} moments at {least:.0} to {most:.0} % CPU, half of them within {error:.1} W",
            curve.basis, curve.moments
        ),
        _ => format!("{}: {} moments", curve.basis, curve.moments),
    };
    let mut rows = vec![
        ("host", curve.host.clone()),
        ("metric", curve.metric.clone()),
        ("at rest", format!("{:.1} W", curve.idle_watts)),
        ("all cores busy", format!("{:.1} W", curve.full_watts)),
        ("one core more", format!("{:.2} W", curve.watts_per_core)),
        ("basis", rests_on),
    ];
    rows.extend(curve.why_not_learned.clone().map(|why| ("not learned", why)));
    if curve.estimate {
        rows.push(("measured by", "nobody: the watts are an estimate from CPU use".to_owned()));
    }
    rows.push(("looked at", format!("{} ({} buckets)", ago(&curve.at), curve.resolution)));
    format!("{}\n{}", fields(&rows), plot(curve))
}

/// `o` is what was measured, `.` the line.
fn plot(curve: &v1::PowerCurve) -> String {
    let most = curve.measured.iter().map(|point| point.watts).fold(curve.full_watts, f64::max);
    let top = most.max(1.0) * 1.05;
    let mut grid = vec![[' '; WIDTH]; HEIGHT];
    let mut put = |use_percent: f64, watts: f64, mark: char| {
        let column = cell(use_percent / 100.0, WIDTH);
        grid[HEIGHT - 1 - cell(watts / top, HEIGHT)][column] = mark;
    };
    for column in 0..WIDTH {
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let part = column as f64 / (WIDTH - 1) as f64;
        let watts = curve.idle_watts + (curve.full_watts - curve.idle_watts) * part;
        put(part * 100.0, watts, '.');
    }
    for point in &curve.measured {
        put(point.use_percent, point.watts, 'o');
    }
    let mut text = String::new();
    for (row, line) in grid.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let watts = top * (HEIGHT - 1 - row) as f64 / (HEIGHT - 1) as f64;
        let label = if row % 4 == 0 { format!("{watts:.0} W") } else { String::new() };
        let line: String = line.iter().collect();
        text.push_str(&format!("{label:>9} |{}\n", line.trim_end()));
    }
    text.push_str(&format!("{:>9} +{}\n", "", "-".repeat(WIDTH)));
    text.push_str(&format!("{:>11}0 %{:>22}{:>26}\n", "", "50 %", "100 % CPU"));
    text
}

/// The cell of a part of the whole.
fn cell(part: f64, cells: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to a small count"
    )]
    let cell = (part.clamp(0.0, 1.0) * (cells - 1) as f64).round() as usize;
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(measured: &[(f64, f64)]) -> v1::PowerCurve {
        let point = |(use_percent, watts): &(f64, f64)| v1::PowerPoint {
            use_percent: *use_percent,
            watts: *watts,
            moments: 10,
        };
        v1::PowerCurve {
            host: "h1".to_owned(),
            metric: "power.watts".to_owned(),
            idle_watts: 100.0,
            full_watts: 200.0,
            watts_per_core: 12.5,
            basis: "learned".to_owned(),
            why_not_learned: None,
            moments: 120,
            least_use_percent: Some(5.0),
            most_use_percent: Some(80.0),
            error_watts: Some(1.5),
            resolution: "1m".to_owned(),
            estimate: true,
            measured: measured.iter().map(point).collect(),
            at: "2026-01-01T00:00:00.000Z".to_owned(),
        }
    }

    #[test]
    fn the_plot_has_the_line_and_what_was_measured() {
        let text = power_curve(&curve(&[(0.0, 100.0), (50.0, 150.0), (120.0, 900.0)]));
        assert!(text.contains("one core more   12.50 W"), "{text}");
        assert!(text.contains("an estimate"), "{text}");
        let plot: Vec<&str> = text.lines().skip_while(|line| !line.contains('|')).collect();
        let count = |mark| plot.iter().map(|line| line.matches(mark).count()).sum::<usize>();
        assert_eq!(count('o'), 3, "{text}");
        assert_eq!(plot.len(), HEIGHT + 2, "{text}");
        assert!(plot[0].contains("945 W"), "what lies above the line fits: {text}");
    }
}
