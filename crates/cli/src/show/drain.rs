//! Drains, the queue and limits for people.

use drover_api::v1;

use super::listed;
use crate::output::{ago, bytes, fields, or_dash, table};

/// The state of a host, and that it is not in use.
pub(crate) fn host_state(host: &v1::Host) -> String {
    if host.maintenance == "active" {
        host.state.clone()
    } else {
        format!("{}, {}", host.state, host.maintenance)
    }
}

/// The state of an operation; of one that waits, its place.
pub(crate) fn operation_state(operation: &v1::Operation) -> String {
    match &operation.queue {
        Some(place) => format!("queued {}", self::place(place)),
        None => operation.state.clone(),
    }
}

pub(crate) fn place(place: &v1::QueuePlace) -> String {
    let waits = place.waits_for.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{}/{}{waits}", place.position, place.of)
}

/// How far a drain is, in lines.
pub(crate) fn told(drain: &v1::HostMaintenance) -> String {
    let mut lines =
        vec![format!("{}, asked for by {} {}", drain.state, drain.asked_by, ago(&drain.since))];
    lines.push(progress(drain));
    if !drain.to_labels.is_empty() {
        lines.push(format!("guests go to {}", super::placement::labels(&drain.to_labels)));
    }
    lines.extend(drain.hanging.iter().map(hanging));
    if !drain.stays.is_empty() {
        lines.push(format!("shut off, stay: {}", listed(drain.stays.iter().cloned())));
    }
    lines.join("\n")
}

/// `12 of 40 guests have left, 2 under way, 26 queued; 14.00 GiB left at 1.00 GiB/s, over in 14 s`
pub(crate) fn progress(drain: &v1::HostMaintenance) -> String {
    let mut text = format!(
        "{} guest(s) have left, {} to go: {} under way, {} queued",
        drain.moved, drain.left, drain.under_way, drain.queued
    );
    if drain.left > 0 {
        text.push_str(&format!("; {} left", bytes(drain.bytes_left)));
        if let Some(rate) = drain.bytes_per_second {
            text.push_str(&format!(" at {}/s", bytes(rate)));
        }
        if let Some(end) = &drain.estimated_end {
            text.push_str(&format!(", over in about {}", ahead(end)));
        }
    }
    text
}

pub(crate) fn hanging(one: &v1::BlockedGuest) -> String {
    let failed = match one.failures {
        0 => String::new(),
        times => format!(" (failed {times} times)"),
    };
    format!("{} does not get away{failed}: {}", one.guest, one.reasons.join("; "))
}

/// Whether a host can be emptied, and how.
pub(crate) fn certificate(of: &v1::DrainCertificate) -> String {
    let verdict = if of.feasible {
        "every guest can leave, memory suffices at every moment, and every host that was asked \
         takes its guests"
            .to_owned()
    } else {
        format!("{} of {} guest(s) cannot leave", of.blocked.len(), of.guests)
    };
    let rows = [
        ("host", of.host.clone()),
        ("verdict", verdict),
        ("guests", of.guests.to_string()),
        ("moves", format!("{}, {} to send", of.moves, bytes(of.bytes))),
        ("takes about", seconds(of.seconds)),
        ("hosts asked", asked(of)),
        ("shut off, stay", listed(of.stays.iter().cloned())),
    ];
    let mut text = fields(&rows);
    for (number, batch) in of.batches.iter().enumerate() {
        text.push_str(&format!("\nbatch {}\n", number + 1));
        for step in batch {
            let size = bytes(step.bytes);
            text.push_str(&format!("  {} {} → {} ({size})\n", step.guest, step.from, step.to));
        }
    }
    text.push_str(&blocked(&of.blocked));
    text + &super::check::all_warnings(&of.warnings)
}

fn asked(of: &v1::DrainCertificate) -> String {
    match of.unasked {
        0 => "for all moves".to_owned(),
        some => format!("for all but {some} move(s): they did not answer in time"),
    }
}

/// Each guest that stays, with every reason on a line.
pub(crate) fn blocked(guests: &[v1::BlockedGuest]) -> String {
    let mut text = String::new();
    for one in guests {
        text.push_str(&format!("\n{} cannot leave\n", one.guest));
        for reason in &one.reasons {
            text.push_str(&format!("  {reason}\n"));
        }
    }
    text
}

pub(crate) fn limits(limits: &v1::LimitsInForce) -> String {
    let cluster = if limits.per_cluster_by_size {
        "half as many as there are hosts, at least 8"
    } else {
        "as it was set"
    };
    let row = |name: &str, number: u32, why: &str| {
        vec![name.to_owned(), number.to_string(), why.to_owned()]
    };
    let rows = vec![
        row("out of a host", limits.out_per_host, "more share its link and take longer each"),
        row("into a host", limits.in_per_host, "the same link, the other way"),
        row("between two hosts", limits.per_link, "lower it where a thin line joins them"),
        row("in the cluster", limits.per_cluster, cluster),
    ];
    let now = format!("\n\nnow {} under way, {} queued", limits.under_way, limits.queued);
    table(&["MIGRATIONS AT ONCE", "LIMIT", "WHY"], rows) + &now
}

/// `14 s`, `3 min`, `2 h`
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} s"),
        ..5400.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// How long until a moment.
fn ahead(time: &str) -> String {
    let at = time.parse::<jiff::Timestamp>().ok();
    or_dash(at, |at| {
        let millis = at.as_millisecond() - jiff::Timestamp::now().as_millisecond();
        #[expect(clippy::cast_precision_loss, reason = "shown as whole seconds")]
        seconds(millis.max(0) as f64 / 1000.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_say_them() {
        assert_eq!(seconds(14.2), "14 s");
        assert_eq!(seconds(180.0), "3 min");
        assert_eq!(seconds(9000.0), "2.5 h");
    }
}
