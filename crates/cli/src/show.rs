//! The API's types as tables and lines for people.

pub(crate) mod check;
pub(crate) mod drain;
pub(crate) mod energy;
pub(crate) mod forecast;
pub(crate) mod placement;
pub(crate) mod power;
pub(crate) mod power_curve;
pub(crate) mod power_policy;

use drover_api::v1;

use crate::output::{ago, bytes, clock, fields, metric, or_dash, percent, table};

pub(crate) fn hosts(hosts: &[v1::Host], wide: bool) -> String {
    let mut header = vec!["HOST", "STATE", "CPU", "MEM AVAILABLE", "GUESTS", "LAST SEEN"];
    if wide {
        header.extend(["CORES", "MEMORY", "AGENT", "ID"]);
    }
    let rows = hosts
        .iter()
        .map(|host| {
            let mut row = vec![
                host.name.clone(),
                drain::host_state(host),
                or_dash(host.cpu_usage_percent, percent),
                or_dash(host.memory_available_bytes, bytes),
                format!("{}/{}", or_dash(host.guests_active, |n| n.to_string()), host.guests),
                ago(&host.last_seen),
            ];
            if wide {
                row.extend([
                    host.cores.to_string(),
                    bytes(host.memory_bytes),
                    host.agent_version.clone(),
                    host.id.clone(),
                ]);
            }
            row
        })
        .collect();
    table(&header, rows)
}

pub(crate) fn host(detail: &v1::HostDetail) -> String {
    let host = &detail.host;
    let metrics: Vec<String> = detail
        .metrics
        .iter()
        .map(|(name, value)| format!("{name} {}", metric(name, *value)))
        .collect();
    let pools = detail.pools.iter().map(|p| format!("{} ({})", p.name, p.kind));
    let networks = detail.networks.iter().map(|n| format!("{} {}", n.kind, n.name));
    // The API's word `active` would read as if it were in maintenance.
    let word = if host.maintenance == "active" { "none" } else { &host.maintenance };
    let maintenance = detail.drain.as_ref().map_or_else(|| word.to_owned(), drain::told);
    fields(&[
        ("name", host.name.clone()),
        ("id", host.id.clone()),
        ("state", format!("{}, last seen {}", host.state, ago(&host.last_seen))),
        ("maintenance", maintenance),
        ("cores", host.cores.to_string()),
        ("memory", bytes(host.memory_bytes)),
        ("cpu", format!("{} {} ({})", detail.cpu.vendor, detail.cpu.model, detail.cpu.arch)),
        ("microcode", or_dash(detail.cpu.microcode.clone(), |text| text)),
        ("kernel", detail.kernel.clone()),
        ("qemu", detail.qemu_version.clone()),
        ("libvirt", detail.libvirt_version.clone()),
        ("domain types", detail.virt_types.join(", ")),
        ("pools", listed(pools)),
        ("networks", listed(networks)),
        ("shared paths", listed(detail.shared_paths.iter().cloned())),
        ("power sources", listed(detail.power_sources.iter().cloned())),
        ("peer uri", detail.peer_uri.clone()),
        ("labels", placement::labels(&host.labels)),
        ("guests", listed(detail.guest_names.iter().cloned())),
        ("metrics", metrics.join("\n")),
    ])
}

pub(crate) fn guests(guests: &[v1::Guest], wide: bool) -> String {
    let mut header = vec!["GUEST", "STATE", "HOST", "VCPU USE", "HOST USE", "RESIDENT"];
    if wide {
        header.extend(["VCPUS", "MEMORY", "OPERATION", "ID"]);
    }
    let rows = guests
        .iter()
        .map(|guest| {
            let mut row = vec![
                guest.name.clone(),
                guest.state.clone(),
                guest.host.clone(),
                or_dash(guest.vcpu_percent, percent),
                or_dash(guest.host_percent, percent),
                or_dash(guest.resident_bytes, bytes),
            ];
            if wide {
                row.extend([
                    guest.vcpus.to_string(),
                    format!("{} MiB", guest.memory_mib),
                    or_dash(guest.operation.clone(), |id| id),
                    guest.id.clone(),
                ]);
            }
            row
        })
        .collect();
    table(&header, rows)
}

fn with_hint(state: &str, hint: Option<&str>) -> String {
    hint.map_or_else(|| state.to_owned(), |hint| format!("{state}\nhint: {hint}"))
}

pub(crate) fn guest(detail: &v1::GuestDetail) -> String {
    let guest = &detail.guest;
    let disks = detail.disks.iter().map(|disk| {
        let what = if disk.readonly { " (read-only)" } else { "" };
        match disk.protection.as_str() {
            "" | "read-only" => format!("{} {}{what}", disk.target, disk.source),
            protection => format!(
                "{} {}{what}\n  second writer: {protection}, {}",
                disk.target, disk.source, disk.protection_reason
            ),
        }
    });
    let nics = detail.nics.iter().map(|nic| {
        let addresses: String = nic.addresses.iter().map(|known| format!(" {known}")).collect();
        format!("{} {}{addresses}", nic.mac, nic.source)
    });
    let metrics: Vec<String> = detail
        .metrics
        .iter()
        .map(|(name, value)| format!("{name} {}", metric(name, *value)))
        .collect();
    let qemu = detail.qemu_version.as_ref();
    let under = qemu.map_or_else(String::new, |version| format!(", QEMU {version}"));
    fields(&[
        ("name", guest.name.clone()),
        ("id", guest.id.clone()),
        ("state", with_hint(&guest.state, detail.hint.as_deref())),
        ("host", format!("{} ({}, epoch {})", guest.host, detail.owner_phase, detail.epoch)),
        ("vcpus", guest.vcpus.to_string()),
        ("memory", format!("{} MiB, now {} MiB", guest.memory_mib, detail.current_memory_mib)),
        ("machine", format!("{} {} ({}{under})", detail.arch, detail.machine, detail.virt_type)),
        ("cpu", format!("{} {}", detail.cpu_mode, detail.cpu_model.as_deref().unwrap_or_default())),
        ("disks", disks.collect::<Vec<_>>().join("\n")),
        ("nics", nics.collect::<Vec<_>>().join("\n")),
        ("last moved", or_dash(detail.last_moved.as_deref(), ago)),
        ("operation", or_dash(guest.operation.clone(), |id| id)),
        ("metrics", metrics.join("\n")),
    ])
}

pub(crate) fn rules(rules: &[v1::Rule], wide: bool) -> String {
    let mut header = vec!["RULE", "ENABLED", "CONDITION", "PERIOD", "FIRING ON", "MODE"];
    if wide {
        header.extend(["CLEAR", "COOLDOWN", "MAX MOVES"]);
    }
    let rows = rules
        .iter()
        .map(|rule| {
            let firing = rule.hosts.iter().filter(|host| host.state == "firing");
            let mut row = vec![
                rule.name.clone(),
                if rule.enabled { "yes" } else { "no" }.to_owned(),
                rule.spec.condition.clone(),
                rule.spec.period.clone(),
                listed(firing.map(|host| host.host.clone())),
                if rule.spec.dry_run { "dry run" } else { "act" }.to_owned(),
            ];
            if wide {
                row.extend([
                    or_dash(rule.spec.clear.as_deref(), str::to_owned),
                    rule.spec.cooldown.clone(),
                    rule.spec.max_moves.to_string(),
                ]);
            }
            row
        })
        .collect();
    table(&header, rows)
}

pub(crate) fn rule(rule: &v1::Rule) -> String {
    let all_or = |names: &[String]| {
        if names.is_empty() { "all".to_owned() } else { names.join(", ") }
    };
    let spec = &rule.spec;
    let aggregate = format!("{:?}", spec.aggregate).to_lowercase();
    let head = fields(&[
        ("name", rule.name.clone()),
        ("enabled", if rule.enabled { "yes" } else { "no" }.to_owned()),
        ("condition", format!("{} ({aggregate} over {})", spec.condition, spec.period)),
        ("evaluations", spec.evaluations.to_string()),
        ("clears at", or_dash(spec.clear.as_deref(), str::to_owned)),
        ("source hosts", all_or(&spec.source_hosts)),
        ("target hosts", all_or(&spec.target_hosts)),
        ("guests", all_or(&spec.guests)),
        ("max moves", spec.max_moves.to_string()),
        ("cooldown", spec.cooldown.clone()),
        ("wakes hosts", if spec.wake { "yes" } else { "no" }.to_owned()),
        ("mode", if spec.dry_run { "dry run" } else { "act" }.to_owned()),
    ]);
    format!("{head}\n{}", rule_hosts(&rule.hosts))
}

pub(crate) fn rule_hosts(hosts: &[v1::RuleHost]) -> String {
    let rows = hosts
        .iter()
        .map(|host| {
            vec![
                host.host.clone(),
                host.state.clone(),
                host.shown.clone(),
                or_dash(host.since.as_deref(), ago),
            ]
        })
        .collect();
    table(&["HOST", "STATE", "VALUE", "SINCE"], rows)
}

pub(crate) fn plan(plan: &v1::Plan) -> String {
    let mut text = fields(&[
        ("plan", plan.id.clone()),
        ("made", ago(&plan.at)),
        ("cause", plan.cause.clone()),
        ("state", plan.state.clone()),
        ("summary", plan.report.summary.clone()),
    ]);
    for (number, batch) in plan.batches.iter().enumerate() {
        text.push_str(&format!("\nbatch {}\n", number + 1));
        for step in batch {
            text.push_str(&planned_move(step));
        }
    }
    for host in plan.report.hosts.iter().filter(|host| !host.relieved) {
        let reason = host.reason.as_deref().unwrap_or("no reason given");
        text.push_str(&format!("\nnot relieved: {} ({reason})\n", host.host));
    }
    if !plan.report.refused.is_empty() {
        let rows = plan
            .report
            .refused
            .iter()
            .map(|refused| {
                vec![
                    refused.guest.clone(),
                    or_dash(refused.host.clone(), |host| host),
                    refused.constraint.clone(),
                    refused.reason.clone(),
                ]
            })
            .collect();
        text.push_str("\nrefused\n");
        text.push_str(&table(&["GUEST", "TO", "CONSTRAINT", "REASON"], rows));
        text.push('\n');
    }
    for unknown in &plan.report.unknown {
        text.push_str(&format!("\nunknown: {unknown}\n"));
    }
    text
}

pub(crate) fn planned_move(step: &v1::PlannedMove) -> String {
    let expected = &step.expected;
    let value = |number| metric(&expected.metric, number);
    format!(
        "  {} {} → {} ({} MiB resident)\n    why this guest: {}\n    why this host:  {}\n    expected {}: {} {} → {}, {} {} → {}\n",
        step.guest,
        step.from,
        step.to,
        step.memory_mib,
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

pub(crate) fn plans(plans: &[v1::Plan]) -> String {
    let rows = plans
        .iter()
        .map(|plan| {
            vec![
                plan.id.clone(),
                ago(&plan.at),
                plan.cause.clone(),
                plan.state.clone(),
                plan.report.summary.clone(),
            ]
        })
        .collect();
    table(&["PLAN", "MADE", "CAUSE", "STATE", "SUMMARY"], rows)
}

pub(crate) fn operations(operations: &[v1::Operation]) -> String {
    let rows = operations
        .iter()
        .map(|operation| {
            vec![
                operation.id.clone(),
                operation.guest.clone(),
                format!("{} → {}", operation.from, operation.to),
                drain::operation_state(operation),
                done(operation),
                operation.cause.clone(),
                ago(&operation.created),
            ]
        })
        .collect();
    table(&["OPERATION", "GUEST", "MOVE", "STATE", "DONE", "CAUSE", "CREATED"], rows)
}

fn done(operation: &v1::Operation) -> String {
    if operation.state == "completed" {
        return "100 %".to_owned();
    }
    or_dash(operation.progress.as_ref(), |progress| format!("{:.0} %", progress.percent))
}

pub(crate) fn operation(operation: &v1::Operation) -> String {
    let timeline: Vec<String> = operation
        .timeline
        .iter()
        .map(|step| format!("{} {}", step.at.get(11..23).unwrap_or(&step.at), step.state))
        .collect();
    let mut rows = vec![
        ("operation", operation.id.clone()),
        ("guest", operation.guest.clone()),
        ("move", format!("{} → {}", operation.from, operation.to)),
        ("state", operation.state.clone()),
        ("cause", operation.cause.clone()),
        ("how", how(operation)),
        ("created", ago(&operation.created)),
    ];
    if let Some(place) = &operation.queue {
        rows.push(("queue", drain::place(place)));
    }
    if let Some(p) = &operation.progress {
        rows.push(("progress", progress(operation, p)));
    }
    if let Some(outcome) = &operation.outcome {
        rows.push(("outcome", self::outcome(operation, outcome)));
    }
    if let Some(failure) = &operation.failure {
        rows.push(("failure", failure.clone()));
    }
    if !operation.unclean_hosts.is_empty() {
        let hosts = operation.unclean_hosts.join(", ");
        rows.push(("to clean", format!("{hosts}: as soon as it answers")));
    }
    rows.push(("timeline", timeline.join("\n")));
    if !operation.notes.is_empty() {
        let note = |note: &v1::Note| format!("{} {}", clock(&note.at, false), note.text);
        rows.push(("notes", operation.notes.iter().map(note).collect::<Vec<_>>().join("\n")));
    }
    if let Some(expected) = &operation.forecast {
        rows.push(("forecast", forecast::forecast(expected)));
    }
    if let Some(error) = &operation.forecast_error {
        rows.push(("off by", forecast::forecast_error(error)));
    }
    fields(&rows)
}

fn how(operation: &v1::Operation) -> String {
    let mode = &operation.mode;
    let options: String = operation.options.iter().map(|option| format!(", {option}")).collect();
    if mode != "live" {
        return format!("{mode}{options}");
    }
    let encrypted = match operation.encrypted {
        Some(true) => ", encrypted",
        Some(false) => ", not encrypted",
        None => "",
    };
    let cap = operation.max_bandwidth_mib_s.map(|cap| format!(", at most {cap} MiB/s"));
    let cap = cap.unwrap_or_default();
    format!("{mode}{encrypted}, downtime up to {} ms{cap}{options}", operation.max_downtime_ms)
}

pub(crate) fn progress(operation: &v1::Operation, progress: &v1::Progress) -> String {
    if operation.mode == "cold" {
        return format!(
            "{:.0} %, {} of {} copied, {}/s",
            progress.percent,
            bytes(progress.processed_bytes),
            bytes(progress.total_bytes),
            bytes(progress.throughput_bytes_per_second),
        );
    }
    format!(
        "{:.0} %, {} of {} sent at {}/s, dirty rate {}/s, iteration {}",
        progress.percent,
        bytes(progress.processed_bytes),
        bytes(progress.processed_bytes + progress.remaining_bytes),
        bytes(progress.throughput_bytes_per_second),
        bytes(progress.dirty_bytes_per_second),
        progress.iteration,
    )
}

fn outcome(operation: &v1::Operation, outcome: &v1::Outcome) -> String {
    if operation.mode == "cold" {
        return match outcome.transferred_bytes.filter(|sent| *sent > 0) {
            Some(sent) => {
                format!("{} ms, {} copied, checksums agree", outcome.total_ms, bytes(sent))
            }
            None => format!("{} ms, no disk had to be copied", outcome.total_ms),
        };
    }
    format!(
        "{} ms, QEMU's downtime {}, {} sent, {} iteration(s), handover {}, blackout {}",
        outcome.total_ms,
        or_dash(outcome.downtime_ms, |ms| format!("{ms} ms")),
        or_dash(outcome.transferred_bytes, bytes),
        or_dash(outcome.iterations, |count| count.to_string()),
        or_dash(outcome.handover_ms, |ms| format!("{ms} ms")),
        or_dash(outcome.blackout_ms, |ms| format!("{ms} ms")),
    )
}

pub(crate) fn event(event: &v1::Event, dated: bool) -> String {
    let mark = match event.severity.as_str() {
        "error" => "!!",
        "warning" => "! ",
        _ => "  ",
    };
    format!("{} {mark} {:<22} {}", clock(&event.at, dated), event.kind, event.message)
}

pub(crate) fn tokens(tokens: &[v1::Token]) -> String {
    let rows = tokens
        .iter()
        .map(|token| {
            let role = format!("{:?}", token.role).to_lowercase();
            vec![token.name.clone(), role, ago(&token.created), token.id.clone()]
        })
        .collect();
    table(&["TOKEN", "ROLE", "CREATED", "ID"], rows)
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = items.collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}
