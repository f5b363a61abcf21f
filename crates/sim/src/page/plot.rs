//! One plot over time as inline SVG.

use std::fmt::Write as _;

use super::escape::Escaped;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;

/// A line of a plot.
pub(super) struct Line<'a> {
    /// Which of the page's colours, from 0.
    pub(super) colour: usize,
    /// Its name.
    pub(super) label: &'a str,
    /// Seconds and values, in the order of time. A value holds until the next.
    pub(super) points: Vec<(f64, f64)>,
}

/// A moment worth a mark.
pub(super) struct Mark {
    /// Seconds.
    pub(super) at: f64,
    /// Which of the page's colours.
    pub(super) colour: usize,
    /// What it says when pointed at.
    pub(super) says: String,
}

/// A plot.
pub(super) struct Plot<'a> {
    /// What is shown, with its unit.
    pub(super) title: &'a str,
    /// From 0 to so many seconds.
    pub(super) span: f64,
    /// Lines.
    pub(super) lines: Vec<Line<'a>>,
    /// A level to stay under, and its name.
    pub(super) level: Option<(f64, &'a str)>,
    /// Marks along the lower edge.
    pub(super) marks: Vec<Mark>,
}

impl Plot<'_> {
    pub(super) fn svg(&self) -> String {
        let values = self.lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
        let highest = values.chain(self.level.map(|level| level.0)).fold(0.0, f64::max);
        let step = nice(highest / 4.0);
        let top = (highest / step).ceil().max(1.0) * step;
        let x = |seconds: f64| LEFT + seconds / self.span.max(1.0) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            Escaped(self.title),
            Escaped(self.title)
        );
        let mut level = 0.0;
        while level <= top * 1.0001 {
            let at = y(level);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0,
                short(level)
            );
            level += step;
        }
        for part in 0..=6 {
            let seconds = self.span * f64::from(part) / 6.0;
            let anchor = if part == 6 { "end" } else { "middle" };
            let _ = writeln!(
                svg,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                x(seconds),
                HEIGHT - 8.0,
                clock(seconds)
            );
        }
        if let Some((value, label)) = self.level {
            let at = y(value);
            let _ = writeln!(
                svg,
                "<line class=\"level\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"><title>{}</title></line>",
                WIDTH - RIGHT,
                Escaped(label)
            );
        }
        for line in &self.lines {
            let _ = writeln!(
                svg,
                "<path class=\"line c{}\" d=\"{}\"/>",
                line.colour,
                self.path(line, &x, &y)
            );
        }
        for mark in &self.marks {
            let at = x(mark.at);
            let foot = HEIGHT - BOTTOM;
            let _ = writeln!(
                svg,
                "<path class=\"mark c{}\" d=\"M{at:.1} {foot}l-4 -9h8z\"><title>{}</title></path>",
                mark.colour,
                Escaped(&mark.says)
            );
        }
        svg.push_str("</svg>\n");
        svg.push_str(&self.legend());
        svg.push_str("</figure>\n");
        svg
    }

    fn path(&self, line: &Line<'_>, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
        let mut path = String::new();
        for (index, (at, value)) in line.points.iter().enumerate() {
            let sign = if index == 0 { 'M' } else { 'H' };
            let until = line.points.get(index + 1).map_or(self.span, |next| next.0);
            if sign == 'M' {
                let _ = write!(path, "M{:.1} {:.1}", x(*at), y(*value));
            } else {
                let _ = write!(path, "V{:.1}", y(*value));
            }
            let _ = write!(path, "H{:.1}", x(until));
        }
        path
    }

    fn legend(&self) -> String {
        let mut text = String::from("<p class=\"legend\">");
        for line in &self.lines {
            let _ =
                write!(text, "<span class=\"k c{}\"></span>{} ", line.colour, Escaped(line.label));
        }
        if let Some((_, label)) = self.level {
            let _ = write!(text, "<span class=\"k kl\"></span>{} ", Escaped(label));
        }
        if !self.marks.is_empty() {
            text.push_str("▾ a move");
        }
        text.push_str("</p>\n");
        text
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, not below `least`.
fn nice(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-6).log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|n| n * power).find(|n| *n >= least).unwrap_or(power)
}

fn short(value: f64) -> String {
    let text =
        if value >= 10_000.0 { format!("{:.1}k", value / 1000.0) } else { format!("{value:.2}") };
    match text.strip_suffix('k') {
        Some(number) => format!("{}k", trimmed(number)),
        None => trimmed(&text).to_owned(),
    }
}

fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// `1d 02:03` or `02:03:04`
pub(super) fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    if days > 0 {
        format!("{days}d {hours:02}:{minutes:02}")
    } else {
        format!("{hours:02}:{minutes:02}:{:02}", whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(
            [0.03, 0.3, 1.0, 1.1, 24.0, 260.0].map(nice),
            [0.05, 0.5, 1.0, 2.0, 25.0, 500.0]
        );
        assert_eq!([0.0, 0.25, 50.0, 12_500.0].map(short), ["0", "0.25", "50", "12.5k"]);
        assert_eq!([59.0, 90_061.0].map(clock), ["00:00:59", "1d 01:01"]);
    }
}
