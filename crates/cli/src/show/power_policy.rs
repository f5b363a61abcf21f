//! The power policy and its decisions for people.

use drover_api::v1;

use super::listed;
use crate::output::{ago, fields, table};

/// Hosts that stay on which are printed one by one; `-o json` has all.
const KEPT_SHOWN: usize = 30;

pub(crate) fn power(policy: &v1::PowerPolicy) -> String {
    let (spec, of) = (&policy.spec, &policy.parameters);
    let level = match spec.level {
        1 => "wakes what is required, parks nothing",
        2 => "careful",
        3 => "moderate",
        4 => "thrifty",
        _ => "saves most",
    };
    fields(&[
        ("policy", "power".to_owned()),
        ("level", format!("{} ({level})", spec.level)),
        ("acts", if spec.suggest { "no, it only suggests" } else { "yes" }.to_owned()),
        ("reserve", format!("{} host(s), {} may fail", spec.reserve, spec.survive_failures)),
        ("wakes after", format!("{} of too little", of.up_window)),
        ("parks after", format!("{} of too much", of.down_window)),
        (
            "comfortable",
            format!("{} % of CPU, {} % of memory", of.comfortable_cpu, of.comfortable_memory),
        ),
        (
            "spread kept",
            format!("{} σ before a wake, {} σ after parking", of.wake_sigmas, of.park_sigmas),
        ),
        ("must save", format!("{} times its cost, {} W a move", of.pay_back, of.watts_per_move)),
        ("least time", format!("{} on, {} off", spec.min_on, spec.min_off)),
        ("schedule", listed(spec.schedule.iter().cloned())),
        ("time zone", spec.time_zone.clone()),
        ("excluded", listed(spec.exclude_hosts.iter().cloned())),
        ("set", ago(&policy.set)),
    ])
}

pub(crate) fn decision(of: &v1::PowerDecision) -> String {
    let outlook = &of.outlook;
    let doing = of
        .suggested_only
        .as_ref()
        .map_or_else(|| "it is carried out".to_owned(), |why| format!("suggested only: {why}"));
    let expected = outlook
        .expected_cores
        .map_or_else(|| "no pattern known".to_owned(), |cores| format!("up to {cores:.1} cores"));
    let mut text = fields(&[
        ("decided", format!("{}, level {}; {doing}", ago(&of.at), of.level)),
        ("hosts", format!("{} on, {} with those that wake", outlook.hosts_on, outlook.hosts_open)),
        ("load", format!("{:.1} ± {:.1} cores", outlook.load_cores, outlook.deviation_cores)),
        ("capacity", format!("{:.1} cores without the reserve", outlook.capacity_cores)),
        ("wakes below", format!("{:.1} cores", outlook.wake_below_cores)),
        ("parks above", format!("{:.1} cores left", outlook.park_above_cores)),
        (
            "memory",
            format!(
                "{:.0} of {:.0} GiB",
                outlook.memory_mib / 1024.0,
                outlook.memory_capacity_mib / 1024.0
            ),
        ),
        ("coming day", expected),
        ("draw", format!("{:.0} W by the hosts' curves", outlook.watts)),
    ]);
    for wake in &of.wakes {
        text.push_str(&format!("\nwake {}: {}\n", wake.host, wake.why));
        let cost = format!("{:.0} W idle, {:.1} Wh to wake", wake.idle_watts, wake.cost_wh);
        text.push_str(&format!("  {cost}, ready by {}\n", wake.ready_by));
        failed(&mut text, wake.failure.as_deref());
    }
    for park in &of.parks {
        text.push_str(&format!("\npark {}: {}\n", park.host, park.why));
        for step in &park.moves {
            text.push_str(&format!("  {} has room on {}\n", step.guest, step.to));
        }
        failed(&mut text, park.failure.as_deref());
    }
    if let Some(why) = &of.unmet {
        text.push_str(&format!("\nno host can be woken, but {why}\n"));
    }
    if let Some(why) = &of.held {
        text.push_str(&format!("\nnothing is parked: {why}\n"));
    }
    let others: Vec<Vec<String>> = of
        .kept
        .iter()
        .take(KEPT_SHOWN)
        .chain(&of.left_out)
        .map(|kept| vec![kept.host.clone(), kept.why.clone()])
        .collect();
    if !others.is_empty() {
        text.push_str(&format!("\n{}", table(&["HOST", "STAYS BECAUSE"], others)));
    }
    if of.kept.len() > KEPT_SHOWN {
        text.push_str(&format!("… and {} more\n", of.kept.len() - KEPT_SHOWN));
    }
    text
}

fn failed(text: &mut String, failure: Option<&str>) {
    if let Some(why) = failure {
        text.push_str(&format!("  not done: {why}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_told_with_its_numbers() {
        let shown = decision(&v1::PowerDecision {
            at: "2026-11-21T05:00:00.000Z".to_owned(),
            level: 3,
            suggested_only: Some("the policy only suggests".to_owned()),
            outlook: v1::PowerOutlook {
                hosts_on: 3,
                hosts_open: 3,
                load_cores: 4.25,
                deviation_cores: 0.5,
                capacity_cores: 24.0,
                wake_below_cores: 7.0,
                park_above_cores: 9.5,
                memory_mib: 20_480.0,
                memory_capacity_mib: 196_608.0,
                expected_cores: Some(11.0),
                watts: 312.0,
            },
            wakes: Vec::new(),
            unmet: None,
            parks: vec![v1::PowerPark {
                host: "h3".to_owned(),
                why: "saves 88 W for about 4h".to_owned(),
                saved_watts: 88.0,
                cost_wh: 9.0,
                pay_back_s: 368,
                stay_s: 14_400,
                saved_kwh: 0.34,
                moves: vec![v1::PowerMove { guest: "vm3".to_owned(), to: "h1".to_owned() }],
                failure: None,
            }],
            held: None,
            kept: vec![v1::PowerKept {
                host: "h2".to_owned(),
                why: "1 at once are enough".to_owned(),
            }],
            left_out: Vec::new(),
        });
        for part in [
            "level 3; suggested only: the policy only suggests",
            "4.2 ± 0.5 cores",
            "park h3: saves 88 W for about 4h\n  vm3 has room on h1\n",
            "h2    1 at once are enough",
        ] {
            assert!(shown.contains(part), "{part} is not in:\n{shown}");
        }
    }
}
