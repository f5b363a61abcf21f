//! One row per figure.

use anyhow::Context as _;

/// The table's head, Markdown.
pub(crate) fn head() {
    println!("| figure | Drover | peer | unit | note |\n|---|---|---|---|---|");
}

/// A figure without a peer.
pub(crate) fn single(figure: &str, value: f64, unit: &str, note: &str) {
    println!("| {figure} | {value:.1} | | {unit} | {note} |");
}

/// A figure beside its peer's.
pub(crate) fn pair(figure: &str, ours: f64, peer: f64, unit: &str, note: &str) {
    println!("| {figure} | {ours:.1} | {peer:.1} | {unit} | {note} |");
}

/// The value below which `part` of the values lie, nearest rank.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank within a short list"
    )]
    let rank = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// The machine's load, averaged over the last five minutes.
pub(crate) fn load() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let averages: Vec<&str> = text.split_whitespace().collect();
    let of_five = averages.get(1).copied().unwrap_or_default();
    of_five.parse().with_context(|| format!("/proc/loadavg says `{text}`"))
}

/// CPU seconds that a process has used, and its resident and anonymous memory, MiB.
pub(crate) fn process(pid: &str) -> anyhow::Result<(f64, f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = after.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
    // utime and stime, in ticks of 10 ms (CLK_TCK is 100 on Linux).
    let cpu = (fields.get(11).unwrap_or(&0.0) + fields.get(12).unwrap_or(&0.0)) / 100.0;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
            .unwrap_or(0.0)
    };
    Ok((cpu, kib("VmRSS:") / 1024.0, kib("RssAnon:") / 1024.0))
}
