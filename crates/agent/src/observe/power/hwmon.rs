//! Power sensors of hardware monitoring chips.
//!
//! `/sys/class/hwmon/hwmonN` has a chip's `name` and, for each of its power sensors,
//! `powerM_average` or `powerM_input` in microwatts, and perhaps a `powerM_label`
//! (Documentation/hwmon/sysfs-interface.rst).
//!
//! No file says what a sensor is wired to. Without the administrator's word only those count
//! that measure what goes into the machine: the ACPI power meter; else the inputs of power
//! supplies (`pin` of PMBus); else one that is alone and not known for measuring a part.

use std::collections::BTreeMap;
use std::path::Path;

use super::{entries, from_micro, number, text};

/// Chip of the ACPI power meter (Documentation/hwmon/acpi_power_meter.rst): the machine's
/// input by the word of its firmware.
const ACPI_METER: &str = "power_meter";

/// Label of a power supply's input (Documentation/hwmon/pmbus-core.rst), with a number where
/// there are several.
const SUPPLY_INPUT: &str = "pin";

/// Chips that measure a part of the machine: graphics and accelerator cards, and processors
/// (which RAPL tells better).
const PARTS: [&str; 10] = [
    "amdgpu",
    "radeon",
    "nouveau",
    "i915",
    "xe",
    "habanalabs",
    "fam15h_power",
    "zenpower",
    "amd_energy",
    "peci_cputemp",
];

/// One power sensor.
#[derive(Debug, Clone, PartialEq)]
struct Sensor {
    chip: String,
    label: String,
    watts: f64,
}

/// Watts of the sensors that count: those that are named, as `chip` or `chip:label`, or those
/// found. All that are named must be there.
pub(super) fn watts(class: &Path, named: &[String]) -> Option<f64> {
    let all = sensors(class);
    let counted = if named.is_empty() { found(&all) } else { chosen(&all, named)? };
    (!counted.is_empty()).then(|| counted.iter().map(|sensor| sensor.watts).sum())
}

fn found(all: &[Sensor]) -> Vec<&Sensor> {
    let of = |wanted: &dyn Fn(&Sensor) -> bool| -> Vec<&Sensor> {
        all.iter().filter(|sensor| wanted(sensor)).collect()
    };
    let meters = of(&|sensor| sensor.chip == ACPI_METER);
    if !meters.is_empty() {
        return meters;
    }
    let inputs = of(&|sensor| {
        let rest = sensor.label.strip_prefix(SUPPLY_INPUT);
        rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    });
    if !inputs.is_empty() {
        return inputs;
    }
    let others = of(&|sensor| !PARTS.contains(&sensor.chip.as_str()));
    if others.len() == 1 { others } else { Vec::new() }
}

fn chosen<'a>(all: &'a [Sensor], named: &[String]) -> Option<Vec<&'a Sensor>> {
    let mut chosen: Vec<&Sensor> = Vec::new();
    for name in named {
        let (chip, label) =
            name.split_once(':').map_or((name.as_str(), None), |(chip, label)| (chip, Some(label)));
        let is_it = |sensor: &&Sensor| {
            sensor.chip == chip && label.is_none_or(|label| sensor.label == label)
        };
        let before = chosen.len();
        for sensor in all.iter().filter(is_it) {
            // `chip` and `chip:label` may both be named.
            if !chosen.iter().any(|known| std::ptr::eq(*known, sensor)) {
                chosen.push(sensor);
            }
        }
        if chosen.len() == before && !all.iter().any(|sensor| is_it(&sensor)) {
            return None;
        }
    }
    Some(chosen)
}

fn sensors(class: &Path) -> Vec<Sensor> {
    let chips = entries(class).into_iter().map(|chip| class.join(chip));
    chips.flat_map(|chip| sensors_of(&chip)).collect()
}

fn sensors_of(directory: &Path) -> Vec<Sensor> {
    let chip = text(&directory.join("name")).unwrap_or_default();
    // The chip's own mean is worth more than a moment.
    let mut files: BTreeMap<u32, String> = BTreeMap::new();
    for file in entries(directory) {
        let Some((number, kind)) = power_file(&file) else { continue };
        if kind == "average" || (kind == "input" && !files.contains_key(&number)) {
            files.insert(number, file.clone());
        }
    }
    let sensor = |(at, file): (u32, String)| {
        let watts = from_micro(number(&directory.join(file))?);
        let label = text(&directory.join(format!("power{at}_label")));
        let label = label.unwrap_or_else(|| format!("power{at}"));
        Some(Sensor { chip: chip.clone(), label, watts })
    };
    files.into_iter().filter_map(sensor).collect()
}

/// `power1_input` is number 1 and `input`.
fn power_file(name: &str) -> Option<(u32, &str)> {
    let (number, kind) = name.strip_prefix("power")?.split_once('_')?;
    Some((number.parse().ok()?, kind))
}

#[cfg(test)]
mod tests {
    use super::super::tree::write;
    use super::*;

    type Files = &'static [(&'static str, &'static str)];

    const METER: Files = &[
        ("hwmon0/name", "power_meter"),
        ("hwmon0/power1_average", "212000000"),
        ("hwmon0/power1_average_interval", "300000"),
        ("hwmon1/name", "coretemp"),
        ("hwmon1/temp1_input", "41000"),
    ];
    const SUPPLIES: Files = &[
        ("hwmon2/name", "pmbus"),
        ("hwmon2/power1_input", "110000000"),
        ("hwmon2/power1_label", "pin"),
        ("hwmon2/power2_input", "100000000"),
        ("hwmon2/power2_label", "pout1"),
        ("hwmon3/name", "pmbus"),
        ("hwmon3/power1_input", "90000000"),
        ("hwmon3/power1_label", "pin1"),
    ];
    const BOARD: Files = &[("hwmon0/name", "ina260"), ("hwmon0/power1_input", "6500000")];
    const CARDS: Files = &[
        ("hwmon4/name", "amdgpu"),
        ("hwmon4/power1_average", "35000000"),
        ("hwmon4/power1_input", "36000000"),
        ("hwmon4/power1_label", "PPT"),
    ];
    const RAILS: Files = &[
        ("hwmon0/name", "ina3221"),
        ("hwmon0/power1_input", "4000000"),
        ("hwmon0/power1_label", "VDD_IN"),
        ("hwmon0/power2_input", "1000000"),
        ("hwmon0/power2_label", "VDD_CPU"),
    ];

    #[test]
    fn only_what_goes_into_the_machine_counts() {
        let none: &[&str] = &[];
        for (what, trees, named, expected) in [
            ("a meter and everything else", vec![METER, SUPPLIES, CARDS], none, Some(212.0)),
            ("inputs of two supplies", vec![SUPPLIES, CARDS], none, Some(200.0)),
            ("one sensor on the board", vec![BOARD, CARDS], none, Some(6.5)),
            ("a card alone is a part", vec![CARDS], none, None),
            ("several rails: nobody knows which", vec![RAILS], none, None),
            ("the rail that is named", vec![RAILS], &["ina3221:VDD_IN"][..], Some(4.0)),
            ("a whole chip, once", vec![RAILS], &["ina3221", "ina3221:VDD_IN"][..], Some(5.0)),
            ("a card, by its own mean", vec![CARDS], &["amdgpu"][..], Some(35.0)),
            ("one of those named is missing", vec![RAILS], &["ina3221", "ina260"][..], None),
            ("no sensor at all", vec![], none, None),
        ] {
            let class = tempfile::tempdir().unwrap();
            for tree in trees {
                write(class.path(), tree);
            }
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(watts(class.path(), &named), expected, "{what}");
        }
    }
}
