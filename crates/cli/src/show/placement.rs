//! Placement rules, policies and previews for people.

use drover_api::v1;

use super::listed;
use crate::output::{ago, bytes, fields, metric, or_dash, table};

/// Refusals that are printed; `-o json` has all.
const REFUSALS_SHOWN: usize = 20;

pub(crate) fn rules(rules: &[v1::PlacementRule]) -> String {
    let rows = rules
        .iter()
        .map(|rule| {
            vec![
                rule.name.clone(),
                wish(rule),
                listed(rule.guests.iter().cloned()),
                rule.prefer.map_or_else(|| "required".to_owned(), |of| format!("prefer {of}")),
                if rule.holds { "yes" } else { "no" }.to_owned(),
                or_dash(rule.why.clone(), |why| why),
            ]
        })
        .collect();
    table(&["PLACEMENT", "WISH", "GUESTS", "STRENGTH", "HOLDS", "WHY"], rows)
}

fn wish(rule: &v1::PlacementRule) -> String {
    let scope = rule.scope.as_deref().unwrap_or("host");
    match rule.kind {
        v1::PlacementKind::Apart => {
            format!("apart, at most {} a {scope}", rule.most.unwrap_or(1))
        }
        v1::PlacementKind::Together => format!("together on one {scope}"),
        v1::PlacementKind::Spread => {
            format!("spread over {} {scope}s", rule.least.unwrap_or(2))
        }
        v1::PlacementKind::On => format!("on {}", rule.hosts.join(", ")),
        v1::PlacementKind::NotOn => format!("not on {}", rule.hosts.join(", ")),
    }
}

pub(crate) fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    listed(labels.iter().map(|(label, value)| format!("{label}={value}")))
}

pub(crate) fn policies(policies: &v1::Policies) -> String {
    let balance = policies.balance.as_ref().map(balance);
    let power = policies.power.as_ref().map(super::power_policy::power);
    let caps = Some(&policies.power_caps).filter(|caps| !caps.is_empty());
    let caps = caps.map(|caps| super::energy::caps(caps));
    let all: Vec<String> = balance.into_iter().chain(power).chain(caps).collect();
    if all.is_empty() {
        return "no policy stands; `drover policy set` makes one".to_owned();
    }
    all.join("\n")
}

pub(crate) fn balance(policy: &v1::BalancePolicy) -> String {
    let spec = &policy.spec;
    fields(&[
        ("policy", "balance".to_owned()),
        ("level", format!("{} ({})", spec.level, level_name(spec.level))),
        ("interval", spec.interval.clone()),
        ("hold", spec.hold.clone()),
        ("max moves", spec.max_moves.to_string()),
        ("moves an hour", format!("{} of {} made", policy.moves_last_hour, spec.moves_per_hour)),
        ("of one guest", spec.moves_per_guest_per_hour.to_string()),
        ("horizon", spec.horizon.clone()),
        ("set", ago(&policy.set)),
    ])
}

const fn level_name(level: u8) -> &'static str {
    match level {
        1 => "conservative",
        2 => "cautious",
        3 => "moderate",
        4 => "eager",
        _ => "aggressive",
    }
}

/// A plan with what it is good for.
pub(crate) fn preview(plan: &v1::Plan) -> String {
    let report = &plan.report;
    let mut text = fields(&[
        ("plan", plan.id.clone()),
        ("state", plan.state.clone()),
        ("summary", report.summary.clone()),
    ]);
    if let Some(score) = report.score {
        text.push_str(&format!("score    {:.4} → {:.4}\n", score.before, score.after));
    }
    for (number, batch) in (1..).zip(&plan.batches) {
        text.push_str(&format!("\nbatch {number}\n"));
        batch.iter().for_each(|step| text.push_str(&step_of(step)));
    }
    if report.front.len() > 1 {
        let points = report.front.iter().map(front_point);
        text.push_str(&format!("\nwith fewer moves: {}\n", points.collect::<Vec<_>>().join(", ")));
    }
    text.push_str(&wishes(report));
    if !report.unplaced.is_empty() {
        text.push_str(&format!("\nwithout a place: {}\n", report.unplaced.join(", ")));
    }
    text.push_str(&refusals(&report.refused));
    for unknown in &report.unknown {
        text.push_str(&format!("\nunknown: {unknown}\n"));
    }
    text
}

fn step_of(step: &v1::PlannedMove) -> String {
    let expected = &step.expected;
    let value = |number| metric(&expected.metric, number);
    format!(
        "  {} {} → {} (gain {}, {} MiB, {:.1} s)\n    why this guest: {}\n    why this host:  {}\n    expected {}: {} {} → {}, {} {} → {}\n",
        step.guest,
        step.from,
        step.to,
        or_dash(step.gain, |gain| format!("{gain:.4}")),
        step.memory_mib,
        step.seconds,
        step.why_guest,
        step.why_host,
        expected.metric,
        step.from,
        value(expected.from_before),
        value(expected.from_after),
        step.to,
        value(expected.to_before),
        value(expected.to_after),
    )
}

fn front_point(point: &v1::FrontPoint) -> String {
    let word = if point.moves == 1 { "move" } else { "moves" };
    format!("{} {word}: {:.4}", point.moves, point.score)
}

fn wishes(report: &v1::PlanReport) -> String {
    let (before, after) = (&report.broken_before, &report.broken_after);
    let mut lines = Vec::new();
    for rule in before {
        let word = if after.contains(rule) { "still broken" } else { "restored" };
        lines.push(format!("  {word}: {rule}\n"));
    }
    let new = after.iter().filter(|rule| !before.contains(rule));
    lines.extend(new.map(|rule| format!("  broken by the plan: {rule}\n")));
    if lines.is_empty() { String::new() } else { format!("\nplacement rules\n{}", lines.concat()) }
}

fn refusals(refused: &[v1::RefusedMove]) -> String {
    if refused.is_empty() {
        return String::new();
    }
    let rows = refused
        .iter()
        .take(REFUSALS_SHOWN)
        .map(|refused| {
            vec![
                refused.guest.clone(),
                or_dash(refused.host.clone(), |host| host),
                refused.constraint.clone(),
                refused.reason.clone(),
            ]
        })
        .collect();
    let more = refused.len().saturating_sub(REFUSALS_SHOWN);
    let more = if more > 0 { format!("\nand {more} more: -o json") } else { String::new() };
    format!("\nrefused\n{}{more}\n", table(&["GUEST", "TO", "CONSTRAINT", "REASON"], rows))
}

/// The stored report in words.
pub(crate) fn explained(plan: &v1::Plan) -> String {
    let moves: Vec<&v1::PlannedMove> = plan.batches.iter().flatten().collect();
    let mut text = format!(
        "The plan of {} ({}): {}.\n",
        plan.cause,
        plan.state,
        plan.report.summary.trim_end_matches('.')
    );
    if let Some(score) = plan.report.score {
        text.push_str(&format!(
            "It brings the score from {:.4} to {:.4}; 0 is perfect.\n",
            score.before, score.after
        ));
    }
    for step in &moves {
        text.push_str(&format!(
            "{} goes from {} to {}: {}. {}: {}.\n",
            step.guest, step.from, step.to, step.why_guest, step.to, step.why_host
        ));
    }
    if moves.is_empty() {
        text.push_str("Nothing moves.\n");
    }
    if plan.report.front.len() > 1 {
        let points = plan.report.front.iter().map(front_point);
        let points: Vec<String> = points.collect();
        text.push_str(&format!("Fewer moves achieve less: {}.\n", points.join(", ")));
    }
    for host in plan.report.hosts.iter().filter(|host| !host.relieved) {
        let reason = host.reason.as_deref().unwrap_or("no reason is given");
        text.push_str(&format!("{} is not relieved: {reason}.\n", host.host));
    }
    text.push_str(&wishes(&plan.report));
    text.push_str(&refusals(&plan.report.refused));
    text
}

pub(crate) fn why_not(answer: &v1::WhyNot) -> String {
    let mut text = format!("{}\n", answer.summary);
    let chosen = answer.chosen.as_ref().filter(|chosen| chosen.host != answer.host);
    let loads = [answer.asked.as_ref(), chosen];
    let rows = loads
        .into_iter()
        .flatten()
        .map(|load| {
            vec![
                load.host.clone(),
                or_dash(load.cpu_usage_percent, |cpu| format!("{cpu:.1} %")),
                or_dash(load.memory_available_bytes, bytes),
            ]
        })
        .collect();
    text.push_str(&format!(
        "\nwith {} there\n{}\n",
        answer.guest,
        table(&["HOST", "CPU", "MEM AVAILABLE"], rows)
    ));
    text.push_str(&refusals(&answer.refused));
    text
}
