//! `[power]`: who measures what the host draws, and what switches it off.

use drover_model::{PowerCurve, PowerSource};
use serde::Deserialize;

use super::ConfigError;
use super::file::value;

/// What an agent can read on its own host, the most trusted first.
const ON_HOST: [PowerSource; 6] = [
    PowerSource::Ipmi,
    PowerSource::Psys,
    PowerSource::Rapl,
    PowerSource::Hwmon,
    PowerSource::Battery,
    PowerSource::Model,
];

/// The model's curve where none is given: a server with two six-core processors (IBM System
/// x3550 M3, Xeon X5675), as published by SPEC (SPECpower_ssj2008) and used in the literature
/// on consolidation. Another machine is some tens of percent off, so it stands last.
const DEFAULT_CURVE: PowerCurve =
    PowerCurve([58.4, 98.0, 109.0, 118.0, 128.0, 140.0, 153.0, 170.0, 189.0, 205.0, 222.0]);

/// No host draws more, watts: a rack's feed.
const MAX_WATTS: f64 = 20_000.0;

/// Who measures power, and what switches the host off.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerConfig {
    /// Sources that may be used, the preferred first. Empty: power is not measured.
    pub sources: Vec<PowerSource>,
    /// Hardware monitoring sensors that make up the machine, as `chip` or `chip:label`; empty
    /// leaves it to the agent.
    pub hwmon: Vec<String>,
    /// Watts by CPU use where nothing measures.
    pub curve: PowerCurve,
    /// What switches the host off, program and arguments. Empty: the agent never does.
    pub off_command: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PowerFile {
    sources: Vec<String>,
    hwmon: Vec<String>,
    curve: Vec<f64>,
    off_command: Vec<String>,
}

impl Default for PowerFile {
    fn default() -> Self {
        Self {
            sources: ON_HOST.iter().map(|source| source.as_str().to_owned()).collect(),
            hwmon: Vec::new(),
            curve: DEFAULT_CURVE.0.to_vec(),
            off_command: vec!["systemctl".to_owned(), "poweroff".to_owned()],
        }
    }
}

impl PowerFile {
    pub(super) fn check(self) -> Result<PowerConfig, ConfigError> {
        if let Some(program) = self.off_command.first()
            && program.is_empty()
        {
            return Err(value("power.off_command", "begins with the name of a program"));
        }
        if self.hwmon.iter().any(|name| name.is_empty() || name.starts_with(':')) {
            let form = "name sensors as \"chip\" or \"chip:label\", e.g. \"ina3221:VDD_IN\"";
            return Err(value("power.hwmon", form));
        }
        Ok(PowerConfig {
            sources: sources(&self.sources)?,
            hwmon: self.hwmon,
            curve: curve(&self.curve)?,
            off_command: self.off_command,
        })
    }
}

fn sources(names: &[String]) -> Result<Vec<PowerSource>, ConfigError> {
    let mut sources = Vec::new();
    for name in names {
        let source = PowerSource::named(name).filter(|source| ON_HOST.contains(source));
        let Some(source) = source else {
            let known: Vec<&str> = ON_HOST.into_iter().map(PowerSource::as_str).collect();
            let reason = format!(
                "`{name}` is no source that a host reads itself: {} (the controller asks for redfish)",
                known.join(", ")
            );
            return Err(value("power.sources", reason));
        };
        if sources.contains(&source) {
            return Err(value("power.sources", format!("`{name}` is named twice")));
        }
        sources.push(source);
    }
    Ok(sources)
}

fn curve(watts: &[f64]) -> Result<PowerCurve, ConfigError> {
    let curve: [f64; 11] = watts.try_into().map_err(|_| {
        let reason = format!("needs 11 numbers, watts at 0 %, 10 %, …, 100 %: {}", watts.len());
        value("power.curve", reason)
    })?;
    let fits = curve.iter().all(|watts| (0.0..=MAX_WATTS).contains(watts)) && curve.is_sorted();
    if fits {
        Ok(PowerCurve(curve))
    } else {
        let reason = format!("watts must be 0 to {MAX_WATTS}, and never fall as the load grows");
        Err(value("power.curve", reason))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> Result<PowerConfig, String> {
        let config = Config::parse(&format!("[power]\n{text}"));
        config.map(|config| config.power).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_read_and_has_a_default() {
        let default = parse("").unwrap();
        assert_eq!(default.sources, ON_HOST);
        assert_eq!(default.off_command, ["systemctl", "poweroff"]);
        assert_eq!(default.curve.watts(1.0), 222.0);
        let text = "sources = [\"hwmon\", \"model\"]\nhwmon = [\"ina260\"]\noff_command = []\n\
                    curve = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]";
        let config = parse(text).unwrap();
        assert_eq!(config.sources, [PowerSource::Hwmon, PowerSource::Model]);
        assert_eq!((config.hwmon, config.off_command), (vec!["ina260".to_owned()], vec![]));
        assert_eq!(config.curve.watts(0.5), 6.0);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, part) in [
            ("sources = [\"redfish\"]", "the controller asks for redfish"),
            ("sources = [\"rapl\", \"rapl\"]", "named twice"),
            ("sources = [\"guess\"]", "`guess`"),
            ("curve = [1, 2]", "needs 11 numbers"),
            ("curve = [9, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]", "never fall"),
            ("curve = [-1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]", "0 to 20000"),
            ("hwmon = [\":VDD\"]", "power.hwmon"),
            ("off_command = [\"\"]", "power.off_command"),
            ("idle = 5", "unknown field"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
