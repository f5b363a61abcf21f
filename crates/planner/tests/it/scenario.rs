//! Scenario folders: a cluster, a wish and the plan that is expected, all as text.
//!
//! `scenarios/NAME/given.txt` is read line by line:
//!
//! ```text
//! host h1 cores 16 gib 64 uses 1.5 rack=a      uses: cores of its own, besides its guests
//! guest vm1 on h1 gib 8 cores 2 [moved 60]     cores: used now; moved: seconds ago
//! rule NAME apart 1 host: vm1 vm2              or: together host, spread 2 rack
//! rule NAME on h1 h2: vm1                      or: not-on
//! prefer 0.5 NAME apart 1 host: vm1 vm2
//! ceiling cpu.usage_active > 80
//! overcommit 1.0 | survive 1 | cooldown 600 | draining h3 | moves 2
//! goal balance 3 | drain h1 | restart h1 | consolidate 1 | repair | relieve COND: h1
//! ```
//!
//! `expected.txt` is what the plan says; `UPDATE=1` writes it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_model::{ClusterView, GuestId, HostId};
use drover_planner::{Budget, Goal, Level, Policy, plan};
use drover_rules::constraint::Ceiling;
use drover_rules::{
    PlacementKind, PlacementPolicy, PlacementRule, Projection, Scope, Strength, audit,
};
use drover_testkit::{Cluster, guest_id, host_id};
use rand_pcg::Pcg64;

use crate::shown;

#[test]
#[allow(clippy::disallowed_methods, reason = "the test reads folders, the planner does not")]
fn every_scenario_ends_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 12, "scenarios are missing from {}", folder.display());
    for path in names {
        let given = std::fs::read_to_string(path.join("given.txt")).unwrap();
        let told = tell(&given);
        let expected = path.join("expected.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &told).unwrap();
        }
        let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(told, wanted, "{}: UPDATE=1 writes what is said now", path.display());
    }
}

/// What the planner says of a scenario. Every plan must pass its audit.
fn tell(given: &str) -> String {
    let Given { view, policy, budget } = Given::read(given);
    let (plan, report) = plan(&view, &policy, &budget, &mut Pcg64::new(1, 1));
    let mut text = format!("{}\n", report.summary);
    for (number, batch) in plan.batches.iter().enumerate() {
        let one = drover_planner::Plan { batches: vec![batch.clone()] };
        writeln!(text, "batch {}: {}", number + 1, shown(&view, &one)).unwrap();
    }
    for broken in &report.broken.0 {
        writeln!(text, "broken before: {broken}").unwrap();
    }
    for broken in &report.broken.1 {
        writeln!(text, "broken after: {broken}").unwrap();
    }
    for guest in &report.stuck {
        writeln!(text, "stuck: {}", view.guest_name(*guest)).unwrap();
    }
    let mut refused: Vec<String> = report
        .refused
        .iter()
        .map(|refused| {
            let host = refused.host.map_or_else(String::new, |host| view.host_name(host));
            format!("refused: {} {host}: {}", view.guest_name(refused.guest), refused.reason)
        })
        .collect();
    refused.sort();
    for line in refused.iter().take(6) {
        writeln!(text, "{line}").unwrap();
    }
    if !matches!(policy.goal, Goal::Restart { .. }) {
        let placement = &policy.placement;
        let broken = audit::check_plan(&Projection::of(&view), placement, &plan.steps());
        assert_eq!(broken, vec![], "{text}");
    }
    text
}

struct Given {
    view: ClusterView,
    policy: Policy,
    budget: Budget,
}

impl Given {
    fn read(text: &str) -> Self {
        let mut hosts = Vec::new();
        let mut guests: Vec<Vec<String>> = Vec::new();
        let mut placement = PlacementPolicy::default();
        let mut goal = Goal::Repair;
        let mut budget = Budget { max_moves: 100, ..Budget::default() };
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let rest = line.split_once(' ').map_or("", |(_, rest)| rest);
            match words[0].as_str() {
                "host" => hosts.push(words),
                "guest" => guests.push(words),
                "rule" => placement.rules.push(rule(rest, Strength::Required)),
                "prefer" => {
                    let (weight, rest) = rest.split_once(' ').unwrap();
                    let strength = Strength::Preferred(weight.parse().unwrap());
                    placement.rules.push(rule(rest, strength));
                }
                "ceiling" => placement.ceilings.push(Ceiling {
                    condition: rest.parse().unwrap(),
                    hosts: vec![],
                    watched: vec![],
                    rule: "limit".to_owned(),
                }),
                "draining" => placement.draining.extend(hosts_of(rest)),
                "overcommit" => placement.memory_overcommit = Some(rest.parse().unwrap()),
                "survive" => placement.survive_failures = rest.parse().unwrap(),
                "cooldown" => placement.cooldown = Duration::from_secs(rest.parse().unwrap()),
                "moves" => budget.max_moves = rest.parse().unwrap(),
                "goal" => goal = read_goal(rest),
                other => panic!("unknown line `{other}`"),
            }
        }
        let view = cluster(&hosts, &guests, &mut placement);
        Self { view, policy: Policy::new(goal, placement), budget }
    }
}

fn cluster(
    hosts: &[Vec<String>],
    guests: &[Vec<String>],
    placement: &mut PlacementPolicy,
) -> ClusterView {
    let value = |words: &[String], key: &str| -> Option<f64> {
        let at = words.iter().position(|word| word == key)?;
        Some(words[at + 1].parse().unwrap())
    };
    let on = |words: &[String]| number(&words[3]);
    let mut built = Cluster::new();
    for words in hosts {
        let id = number(&words[1]);
        let (cores, gib) = (value(words, "cores").unwrap(), value(words, "gib").unwrap());
        let mine = || guests.iter().filter(|guest| on(guest) == id);
        let used: f64 = mine().map(|guest| value(guest, "cores").unwrap()).sum();
        let memory: f64 = mine().map(|guest| value(guest, "gib").unwrap()).sum();
        let used = used + value(words, "uses").unwrap_or(0.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = gib as u64;
        built = built.host(id, cores, whole, used * 100.0 / cores, gib - memory);
        for (label, value) in words.iter().filter_map(|word| word.split_once('=')) {
            let hosts = placement.labels.entry(label.to_owned()).or_default();
            hosts.insert(host_id(id), value.to_owned());
        }
        if words.iter().any(|word| word == "offline") {
            built = built.with(|view| {
                let seen = view.hosts.get_mut(&host_id(id)).unwrap();
                seen.host.state = drover_model::HostState::Unreachable;
            });
        }
    }
    for words in guests {
        let gib = value(words, "gib").unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let mib = (gib * 1024.0) as u64;
        let id = number(&words[1]);
        built = built.guest(id, on(words), mib, value(words, "cores").unwrap());
        if let Some(seconds) = value(words, "moved") {
            built = built.with(|view| {
                let at = view.at;
                let seen = view.guests.get_mut(&guest_id(id)).unwrap();
                seen.last_moved = Some(at.minus(Duration::from_secs_f64(seconds)));
            });
        }
    }
    built.view()
}

fn number(name: &str) -> u128 {
    name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

fn hosts_of(words: &str) -> Vec<HostId> {
    words.split_whitespace().map(|name| host_id(number(name))).collect()
}

fn rule(text: &str, strength: Strength) -> PlacementRule {
    let (what, members) = text.split_once(':').unwrap();
    let guests: Vec<GuestId> =
        members.split_whitespace().map(|name| guest_id(number(name))).collect();
    let words: Vec<&str> = what.split_whitespace().collect();
    let scope = |word: &str| match word {
        "host" => Scope::Host,
        label => Scope::Label(label.to_owned()),
    };
    let kind = match words[1] {
        "apart" => {
            PlacementKind::Apart { guests, most: words[2].parse().unwrap(), scope: scope(words[3]) }
        }
        "together" => PlacementKind::Together { guests, scope: scope(words[2]) },
        "spread" => PlacementKind::Spread {
            guests,
            least: words[2].parse().unwrap(),
            scope: scope(words[3]),
        },
        "on" => PlacementKind::On { guests, hosts: hosts_of(&words[2..].join(" ")) },
        "not-on" => PlacementKind::NotOn { guests, hosts: hosts_of(&words[2..].join(" ")) },
        other => panic!("unknown rule `{other}`"),
    };
    PlacementRule { name: words[0].to_owned(), kind, strength }
}

fn read_goal(text: &str) -> Goal {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    match verb {
        "balance" => Goal::Balance { level: Level::of(rest.parse().unwrap()).unwrap() },
        "drain" => Goal::Drain { hosts: hosts_of(rest) },
        "restart" => Goal::Restart { hosts: hosts_of(rest) },
        "consolidate" => Goal::Consolidate { spare: rest.parse().unwrap() },
        "repair" => Goal::Repair,
        "resize" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            Goal::Resize {
                guest: guest_id(number(words[0])),
                vcpus: words[1].parse().unwrap(),
                memory_mib: words[2].parse().unwrap(),
            }
        }
        "relieve" => {
            let (condition, hosts) = rest.split_once(':').unwrap();
            Goal::Relieve { condition: condition.parse().unwrap(), hosts: hosts_of(hosts) }
        }
        other => panic!("unknown goal `{other}`"),
    }
}
