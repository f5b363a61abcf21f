//! What hosts have drawn, as tables.

use drover_api::v1;

use crate::output::{fields, or_dash, table};

pub(crate) fn report(report: &v1::PowerReport) -> String {
    let total = &report.total;
    let mut head = vec![
        ("from", report.from.clone()),
        ("to", report.to.clone()),
        ("drawn", kwh(total.kwh)),
        ("saved by parking", saved(total, 0.0)),
        ("always on", saved(total, total.kwh)),
    ];
    if let Some(grams) = report.co2_g_per_kwh {
        let both = [("drawn", total.co2_kg), ("saved", total.saved_co2_kg)];
        let texts = both
            .into_iter()
            .filter_map(|(word, kilograms)| Some(format!("{:.1} kg {word}", kilograms?)));
        let texts: Vec<String> = texts.collect();
        head.push(("CO2", format!("{} at {grams} g/kWh", texts.join(", "))));
    }
    if total.saved_is_estimate {
        let why =
            "what a parked host draws at rest is not learned: the usual shape of a curve counts";
        head.push(("~", why.to_owned()));
    }
    head.push(("not known", format!("{:.1} h of hosts", total.gap_hours)));
    head.push(("history", format!("{} buckets; {}", report.resolution, report.retention)));
    let hosts = report.hosts.iter().map(|host| {
        let name =
            if host.estimate { format!("{} (estimate)", host.host) } else { host.host.clone() };
        row(name, &host.energy)
    });
    let each =
        |rows: &[v1::DayEnergy]| rows.iter().map(|d| row(d.date.clone(), &d.energy)).collect();
    let mut text = format!("{}\n{}\n", fields(&head), listed("HOST", hosts.collect()));
    text.push_str(&format!("\n{}\n", listed("DAY (UTC)", each(&report.days))));
    if report.months.len() > 1 {
        text.push_str(&format!("\n{}\n", listed("MONTH", each(&report.months))));
    }
    text
}

pub(crate) fn caps(caps: &[v1::PowerCap]) -> String {
    let rows = caps.iter().map(|cap| {
        vec![
            cap.name.clone(),
            cap.spec.hosts.join(", "),
            cap.members.join(", "),
            or_dash(cap.drawn_watts, |watts| format!("{watts:.0} W")),
            format!("{:.0} W", cap.spec.watts),
            cap.spec.window.clone(),
        ]
    });
    table(&["POWER CAP", "OF", "HOSTS", "DRAWN", "AT MOST", "WINDOW"], rows.collect())
}

fn listed(what: &str, rows: Vec<Vec<String>>) -> String {
    table(&[what, "DRAWN", "SAVED", "MEASURED", "PARKED", "NOT KNOWN"], rows)
}

fn row(name: String, energy: &v1::Energy) -> Vec<String> {
    let hours = |hours: f64| format!("{hours:.1} h");
    vec![
        name,
        kwh(energy.kwh),
        saved(energy, 0.0),
        hours(energy.measured_hours),
        hours(energy.parked_hours),
        hours(energy.gap_hours),
    ]
}

/// What was saved and something more, with a mark where it is an estimate.
fn saved(energy: &v1::Energy, more: f64) -> String {
    let mark = if energy.saved_is_estimate { "~" } else { "" };
    or_dash(energy.saved_kwh, |saved| format!("{mark}{}", kwh(saved + more)))
}

/// A host that slept for a minute has saved something, too.
fn kwh(value: f64) -> String {
    const SMALL: f64 = 0.1;
    if value < SMALL { format!("{value:.4} kWh") } else { format!("{value:.3} kWh") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_told_finely() {
        for (value, text) in [(0.000_7, "0.0007 kWh"), (0.021, "0.0210 kWh"), (12.0, "12.000 kWh")]
        {
            assert_eq!(kwh(value), text);
        }
    }

    #[test]
    fn the_report_says_what_was_drawn_saved_and_not_known() {
        let energy = v1::Energy {
            kwh: 12.0,
            measured_hours: 100.0,
            parked_hours: 20.0,
            gap_hours: 4.0,
            saved_kwh: Some(1.5),
            saved_is_estimate: true,
            co2_kg: Some(4.8),
            saved_co2_kg: Some(0.6),
        };
        let day = |date: &str| v1::DayEnergy { date: date.to_owned(), energy };
        let text = report(&v1::PowerReport {
            from: "2026-11-01T00:00:00.000Z".to_owned(),
            to: "2026-11-21T12:00:00.000Z".to_owned(),
            resolution: "5m".to_owned(),
            retention: "kept".to_owned(),
            co2_g_per_kwh: Some(400.0),
            total: energy,
            hosts: vec![v1::HostEnergy {
                host: "h1".to_owned(),
                estimate: true,
                idle_watts: Some(75.0),
                energy: v1::Energy { saved_kwh: None, ..energy },
                days: vec![],
            }],
            days: vec![day("2026-11-20")],
            months: vec![day("2026-10"), day("2026-11")],
        });
        for part in [
            "saved by parking  ~1.500 kWh",
            "always on         ~13.500 kWh",
            "not learned",
            "4.8 kg drawn, 0.6 kg saved at 400 g/kWh",
            "h1 (estimate)",
            "2026-11-20",
            "MONTH",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
