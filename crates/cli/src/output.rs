//! Tables for people, JSON and YAML for scripts.

use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use drover_api::{Problem, ProblemKind};
use serde::Serialize;

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with wide terminals: more columns.
    Wide,
    /// The API's own types.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Format {
    /// Whether a person reads it, not a script.
    pub(crate) const fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Prints an answer: the table for people, the value for scripts.
pub(crate) fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(bool) -> String,
) -> Result<(), Problem> {
    let broken = |error: String| Problem::new(ProblemKind::Internal, error);
    let text = match format {
        Format::Table => table(false),
        Format::Wide => table(true),
        Format::Json => {
            serde_json::to_string_pretty(value).map_err(|error| broken(error.to_string()))?
        }
        Format::Yaml => {
            serde_saphyr::to_string(value).map_err(|error| broken(error.to_string()))?
        }
    };
    out(text.trim_end());
    Ok(())
}

/// Prints a line. A reader that has seen enough ends the program without a word.
pub(crate) fn out(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let printed = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    end_if_unread(printed);
}

/// See [`out`].
pub(crate) fn end_if_unread(printed: std::io::Result<()>) {
    match printed {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: standard output: {error}");
            std::process::exit(1);
        }
    }
}

/// A table without borders.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    // Never broken by us: an id in two pieces cannot be copied.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    trim_lines(&table.to_string())
}

/// `name: value` lines.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    rows.iter()
        .map(|(name, value)| {
            let mut lines = value.lines();
            let first = lines.next().unwrap_or("-");
            let rest: String = lines.map(|line| format!("\n{:width$}{line}", "")).collect();
            format!("{name:width$}{first}{rest}\n")
        })
        .collect()
}

fn trim_lines(text: &str) -> String {
    text.lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether colours and redrawing are welcome on standard output.
pub(crate) fn is_fancy() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// `-` for what is not known.
pub(crate) fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// `1.50 GiB`
pub(crate) fn bytes(value: u64) -> String {
    const STEPS: [(u64, &str); 4] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (size, name) in STEPS {
        if value >= size {
            #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
            return format!("{:.2} {name}", value as f64 / size as f64);
        }
    }
    format!("{value} B")
}

/// `12.5 %`
pub(crate) fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

/// A metric's value with its unit.
pub(crate) fn metric(name: &str, value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "measured bytes are whole and not negative"
    )]
    let whole = value.max(0.0) as u64;
    if name.ends_with("_rate") {
        return format!("{}/s", bytes(whole));
    }
    match name {
        "mem.available" | "swap.used" | "guest.resident" | "guest.balloon" => bytes(whole),
        "guest.cpu_cores" => format!("{value:.2} cores"),
        _ if name.ends_with("watts") => format!("{value:.1} W"),
        _ => percent(value),
    }
}

/// `12 s ago`
pub(crate) fn ago(time: &str) -> String {
    let Ok(at) = time.parse::<jiff::Timestamp>() else { return time.to_owned() };
    let seconds = jiff::Timestamp::now().as_second() - at.as_second();
    match seconds {
        ..=0 => "now".to_owned(),
        1..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// The time of day of an RFC 3339 moment, UTC, with the date unless it is today's.
pub(crate) fn clock(time: &str, dated: bool) -> String {
    let today = jiff::Timestamp::now().to_string();
    let (day, of_day) = (time.get(..10), time.get(11..19));
    match (day, of_day) {
        (Some(day), Some(of_day)) if dated || today.get(..10) != Some(day) => {
            format!("{day} {of_day}")
        }
        (_, Some(of_day)) => of_day.to_owned(),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_their_units() {
        assert_eq!(metric("cpu.usage_active", 61.24), "61.2 %");
        assert_eq!(metric("mem.available", 1_610_612_736.0), "1.50 GiB");
        assert_eq!(metric("net.rx_rate", 2048.0), "2.00 KiB/s");
    }

    #[test]
    fn fields_are_aligned() {
        assert_eq!(
            fields(&[("name", "h1".to_owned()), ("state", "online".to_owned())]),
            "name   h1\nstate  online\n"
        );
    }
}
