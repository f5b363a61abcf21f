//! What `ipmitool` says, by its meaning: pure.
//!
//! The texts are those of ipmitool 1.8.18 and 1.8.19 with `-v`; it has no machine-readable
//! errors and one exit status for all of them.

use drover_model::PowerState;
use drover_ports::PowerError;

/// What is shown of its words, bytes: a line.
const MAX_SHOWN: usize = 200;
/// Lines about what `-v` tries besides; they say nothing of the command.
const NOISE: [&str; 5] = [
    "Get HPM.x",
    "Invalid completion code received",
    "Running Get",
    "Discovered IPMB",
    "Loading IANA",
];

/// Why a command failed, by what is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The BMC does not take this cipher suite.
    Suite,
    /// Not in the machine's present state.
    NotNow(String),
    /// Not for this user, or not in a session of this privilege.
    Privilege(String),
    /// The BMC cannot do it.
    Refused(String),
    /// Anything else.
    Is(PowerError),
}

impl Failure {
    /// Whether it would be so again: another way may be tried.
    pub(super) const fn is_lasting(&self) -> bool {
        matches!(self, Self::Privilege(_) | Self::Refused(_))
    }
}

impl From<Failure> for PowerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Suite => Self::Refused("it does not take the cipher suite".to_owned()),
            Failure::NotNow(said) => Self::Retry(said),
            Failure::Privilege(said) => Self::Denied(said),
            Failure::Refused(said) => Self::Refused(said),
            Failure::Is(error) => error,
        }
    }
}

/// The meaning of what was printed by a command that failed. The password is taken out of
/// what is shown, should it ever be there.
pub(super) fn failure(text: &str, password: &str) -> Failure {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("> "));
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !NOISE.iter().any(|noise| line.starts_with(noise)))
        .collect();
    lines
        .iter()
        .find_map(|line| of_session(line, password))
        .or_else(|| lines.iter().find_map(|line| of_command(line, password)))
        .or_else(|| lines.iter().find_map(|line| of_network(line, password)))
        .unwrap_or_else(|| {
            let last = lines.last().map_or("ipmitool failed and said nothing", |line| *line);
            Failure::Is(PowerError::Broken(format!("ipmitool: {}", shown(last, password))))
        })
}

/// Refusals while the session is opened (IPMI 2.0, table 13-15).
fn of_session(line: &str, password: &str) -> Option<Failure> {
    let lower = line.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    let opening = has("open session response");
    if opening && (has("cipher") || has("algorithm") || has("payload")) {
        return Some(Failure::Suite);
    }
    if !(opening || has("rakp")) {
        return None;
    }
    let said = shown(line, password);
    Some(if has("insufficient resources") || has("invalid session id") {
        Failure::Is(PowerError::Retry(said))
    } else if has("role") || has("privilege") {
        Failure::Privilege(said)
    } else if has("hmac is invalid") || has("integrity check") {
        Failure::Is(PowerError::Denied("the password is wrong".to_owned()))
    } else if has("unauthorized name") {
        Failure::Is(PowerError::Denied("it has no such user, or not over LAN".to_owned()))
    } else {
        Failure::Is(PowerError::Denied(said))
    })
}

/// Completion codes of a command (IPMI 2.0, table 5-2).
fn of_command(line: &str, password: &str) -> Option<Failure> {
    let lower = line.to_ascii_lowercase();
    if !lower.contains("failed") {
        return None;
    }
    let has_any = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let said = shown(line, password);
    if has_any(&["privilege level"]) {
        Some(Failure::Privilege(said))
    } else if has_any(&["present state"]) {
        Some(Failure::NotNow(said))
    } else if has_any(&["node busy", "timeout", "out of space"]) {
        Some(Failure::Is(PowerError::Retry(said)))
    } else if has_any(&["invalid command", "not supported", "invalid data", "disabled", "(c1)"]) {
        Some(Failure::Refused(said))
    } else {
        None
    }
}

fn of_network(line: &str, password: &str) -> Option<Failure> {
    let lower = line.to_ascii_lowercase();
    let parts = [
        "address lookup",
        "could not open socket",
        "auth capabilities error",
        "unable to establish",
        "no response",
        "timeout",
        "session closed",
        "network is unreachable",
    ];
    let silent = parts.iter().any(|part| lower.contains(part));
    let lookup = lower.contains("address lookup");
    let said = if lookup { shown(line, password) } else { "no answer".to_owned() };
    silent.then_some(Failure::Is(PowerError::Retry(said)))
}

fn shown(line: &str, password: &str) -> String {
    let line: String = line.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
    if password.is_empty() { line } else { line.replace(password, "…") }
}

/// What `chassis power status` says.
pub(super) fn state(text: &str) -> Result<PowerState, PowerError> {
    let said = text.lines().find_map(|line| line.trim().strip_prefix("Chassis Power is "));
    match said {
        Some("on") => Ok(PowerState::On),
        Some("off") => Ok(PowerState::Off),
        _ => Err(PowerError::Broken("ipmitool does not say whether it is on".to_owned())),
    }
}

/// The present value of `dcmi power reading`; none where the BMC does not measure now.
pub(super) fn dcmi_watts(text: &str) -> Option<f64> {
    let field =
        |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let active = field("Power reading state is:").is_none_or(|state| state == "activated");
    let watts = field("Instantaneous power reading:")?.strip_suffix("Watts")?;
    active.then(|| watts.trim().parse().ok()).flatten()
}

/// Names and values of the sensors in watts that `-c sdr list full` lists and that have a
/// value: `name,value,unit,status`, and with `-v` more fields behind.
pub(super) fn sensors_in_watts(text: &str) -> Vec<(String, f64)> {
    let sensor = |line: &str| {
        // Around the unit: a name may have commas.
        let (before, after) = line.split_once(",Watts,")?;
        let (name, value) = before.rsplit_once(',')?;
        let watts: f64 = value.parse().ok()?;
        let measured = after.split(',').next() != Some("ns");
        measured.then(|| (name.trim().to_owned(), watts))
    };
    text.lines().filter_map(sensor).collect()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
