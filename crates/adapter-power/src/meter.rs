//! Which of a machine's sensors in watts is the machine's input power: pure.
//!
//! Neither IPMI nor Redfish standardises their names; these are the names that servers of
//! Dell, HPE, Lenovo, Supermicro, Fujitsu, Huawei, Inspur and Cisco are known to use.

/// Parts of names of what measures the whole machine, the surest first.
const WHOLE: [&str; 9] = [
    "pwr consumption",
    "power consumption",
    "system level",
    "total power",
    "total pwr",
    "sys power",
    "system power",
    "power meter",
    "power usage",
];

/// No machine draws more: a full rack draws less. What lies beyond is no reading.
const MOST_WATTS: f64 = 100_000.0;

/// The machine's watts by its sensors' names and values; none where they do not tell.
pub(crate) fn machine_watts(sensors: &[(String, f64)]) -> Option<f64> {
    let sensors: Vec<(String, f64)> = sensors
        .iter()
        .filter(|(_, watts)| plausible(*watts))
        .map(|(name, watts)| (name.to_ascii_lowercase().replace(['_', '-'], " "), *watts))
        .collect();
    let is_output = |name: &str| name.contains("out");
    let whole = WHOLE
        .iter()
        .find_map(|part| sensors.iter().find(|(name, _)| name.contains(part) && !is_output(name)));
    if let Some((_, watts)) = whole.or_else(|| sensors.iter().find(|(name, _)| name == "power")) {
        return Some(*watts);
    }
    // Each supply measures its own input; the machine draws their sum.
    let inputs: Vec<f64> =
        sensors.iter().filter(|(name, _)| is_input(name)).map(|(_, watts)| *watts).collect();
    match (inputs.as_slice(), sensors.as_slice()) {
        ([], [(_, only)]) => Some(*only),
        ([], _) => None,
        (inputs, _) => Some(inputs.iter().sum()),
    }
}

/// Whether a number can be a machine's power.
pub(crate) fn plausible(watts: f64) -> bool {
    (0.0..=MOST_WATTS).contains(&watts)
}

fn is_input(name: &str) -> bool {
    let supply = name.starts_with("ps") || name.starts_with("pw") || name.contains("supply");
    supply && (name.contains(" in") || name.contains("pin") || name.contains("input"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watts(sensors: &[(&str, f64)]) -> Option<f64> {
        let owned: Vec<_> = sensors.iter().map(|(name, w)| ((*name).to_owned(), *w)).collect();
        machine_watts(&owned)
    }

    #[test]
    fn the_sensor_of_the_whole_machine_is_found() {
        assert_eq!(watts(&[("CPU1 Power", 60.0), ("Pwr Consumption", 182.0)]), Some(182.0));
        assert_eq!(watts(&[("Total_Power", 240.0), ("CPU_Power", 90.0)]), Some(240.0));
        assert_eq!(watts(&[("Total Power Out", 200.0), ("Total Power", 240.0)]), Some(240.0));
        assert_eq!(watts(&[("Power", 300.0), ("Power1", 150.0)]), Some(300.0));
        assert_eq!(watts(&[("GPU board", 31.0)]), Some(31.0));
    }

    #[test]
    fn supplies_are_summed() {
        let sensors = [("PS1 Input Power", 90.0), ("PS2 Input Power", 95.5), ("CPU Power", 60.0)];
        assert_eq!(watts(&sensors), Some(185.5));
        assert_eq!(watts(&[("PSU0_PIN", 90.0), ("PSU0_POUT", 80.0)]), Some(90.0));
    }

    #[test]
    fn where_nothing_tells_there_is_no_guess() {
        assert_eq!(watts(&[("CPU1 Power", 60.0), ("DIMM Power", 20.0)]), None);
        assert_eq!(watts(&[("Pwr Consumption", f64::NAN)]), None);
        assert_eq!(watts(&[("Pwr Consumption", -3.0)]), None);
        assert_eq!(watts(&[]), None);
    }
}
