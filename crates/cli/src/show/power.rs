//! Hosts that are switched on and off, and what they draw, for people.

use drover_api::v1;

use super::drain::seconds;
use super::listed;
use crate::output::{ago, fields, or_dash, table};

/// All that is known of a host's power.
pub(crate) fn power(of: &v1::HostPower) -> String {
    let settings = &of.settings;
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let secure_on = if settings.secure_on_set { ", with a SecureOn password" } else { "" };
    let doubling = if settings.doubling_pauses { ", doubling" } else { "" };
    fields(&[
        ("host", of.host.clone()),
        ("state", state(of)),
        ("draws", draws(of)),
        ("measured by", or_dash(of.source.clone(), |text| text)),
        ("accuracy", or_dash(of.accuracy.clone(), |text| text)),
        (
            "wakes in",
            or_dash(of.learned_wake_seconds, |mean| {
                format!("{}, mean of its last wakes", seconds(mean))
            }),
        ),
        ("tested", tested(of)),
        ("last wake", outcome(of.last_wake.as_ref())),
        ("last park", outcome(of.last_park.as_ref())),
        ("woken by", or_none(settings.methods.join(", then "))),
        ("cards", format!("{}{secure_on}", listed(settings.macs.iter().cloned()))),
        ("broadcasts", listed(settings.broadcasts.iter().cloned())),
        (
            "patience",
            format!(
                "{} tries {} apart{doubling}, {} in all",
                settings.tries, settings.pause, settings.deadline
            ),
        ),
        ("keep awake", if settings.keep_awake { "yes" } else { "no" }.to_owned()),
        ("watts from", settings.watts.clone()),
        ("bmc", or_dash(of.bmc.as_ref(), bmc_line)),
    ])
}

/// `h3 parked: its BMC says that it is off; 5.0 W (mean of a minute 5.0 W, ipmi)`
pub(crate) fn line(of: &v1::HostPower) -> String {
    let by = of.source.as_ref().map(|source| format!(", {source}")).unwrap_or_default();
    format!("{}; {}{by}", going(of), draws(of))
}

/// What goes on with a host, without what it draws.
pub(crate) fn going(of: &v1::HostPower) -> String {
    format!("{} {}", of.host, state(of))
}

fn state(of: &v1::HostPower) -> String {
    let doing = of.doing.as_ref().map(|doing| format!(": {doing}")).unwrap_or_default();
    let cause = of.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!("{}{doing}{cause}", of.state)
}

fn draws(of: &v1::HostPower) -> String {
    match (of.watts, of.watts_1m, &of.no_watts) {
        (Some(now), Some(mean), _) => format!("{now:.1} W, {mean:.1} W over a minute"),
        (Some(now), None, _) => format!("{now:.1} W"),
        (None, _, Some(why)) => format!("no watts: {why}"),
        (None, ..) => "no watts".to_owned(),
    }
}

/// What came of the test that a host can be woken.
pub(crate) fn tested(of: &v1::HostPower) -> String {
    let Some(test) = &of.last_test else {
        return if of.wake_tested {
            format!("no test; a wake after a park shows it ({})", outcome(of.last_wake.as_ref()))
        } else {
            "never: `drover host check-wake` does it".to_owned()
        };
    };
    let valid = match (&test.failure, of.wake_tested) {
        (None, false) => "; a wake has failed since",
        (Some(_), true) => "; a wake after a park shows it all the same",
        _ => "",
    };
    format!("{}{valid}", outcome(Some(test)))
}

fn outcome(of: Option<&v1::PowerOutcome>) -> String {
    or_dash(of, |of| match &of.failure {
        None => format!("{}, took {}", ago(&of.at), seconds(of.seconds)),
        Some(why) => format!("{}, failed: {why}", ago(&of.at)),
    })
}

/// What speaks against a park, each with its cure.
pub(crate) fn refusals(answer: &v1::ParkResponse) -> String {
    if answer.refusals.is_empty() {
        return format!("nothing speaks against parking {}", answer.power.host);
    }
    let rows = answer.refusals.iter();
    let rows = rows.map(|one| vec![one.reason.clone(), one.text.clone(), one.cure.clone()]);
    table(&["REASON", "WHY", "CURE"], rows.collect())
}

pub(crate) fn bmc(of: &v1::HostBmc) -> String {
    let password = if of.password_set { "set, sealed" } else { "not set" };
    fields(&[
        ("host", of.host.clone()),
        ("bmc", bmc_line(of)),
        ("password", password.to_owned()),
        ("cipher suite", or_dash(of.cipher_suite, |suite| suite.to_string())),
        ("system", or_dash(of.system.clone(), |system| system)),
        (
            "certificate",
            match (of.tls.as_deref(), &of.tls_pin) {
                (None, _) => "-".to_owned(),
                (Some("plain"), _) => "none: the password is readable on the network".to_owned(),
                (_, Some(pin)) => format!("pinned, {pin}"),
                _ => "by the system's authorities".to_owned(),
            },
        ),
    ])
}

fn bmc_line(of: &v1::HostBmc) -> String {
    format!("{} at {} port {}, as {}", of.protocol, of.address, of.port, of.user)
}

pub(crate) fn reserve(of: &v1::Reserve) -> String {
    fields(&[
        ("stay awake", or_dash(of.min_awake, |hosts| format!("{hosts} host(s)"))),
        ("failures survived", or_dash(of.survive_failures, |hosts| hosts.to_string())),
    ])
}
