//! What the machine takes from its batteries while it runs on them.
//!
//! `/sys/class/power_supply/*` (Documentation/ABI/testing/sysfs-class-power): microwatts in
//! `power_now`, or microamperes and microvolts. While a battery is charged, or the machine is
//! plugged in, these say nothing of what the machine draws.

use std::path::Path;

use super::{entries, from_micro, text};

/// Watts of all batteries that discharge; none where none does.
pub(super) fn watts(class: &Path) -> Option<f64> {
    let all = entries(class).into_iter().map(|supply| class.join(supply));
    all.filter(|supply| discharges(supply))
        .map(|supply| draw(&supply))
        .sum::<Option<f64>>()
        .filter(|watts| *watts > 0.0)
}

fn discharges(supply: &Path) -> bool {
    let is = |file: &str, value: &str| text(&supply.join(file)).as_deref() == Some(value);
    // `Device`: the battery of a mouse or a keyboard.
    is("type", "Battery") && is("status", "Discharging") && !is("scope", "Device")
}

fn draw(supply: &Path) -> Option<f64> {
    // Some drivers tell a current that flows out as negative.
    let amount = |file: &str| {
        let number: i64 = text(&supply.join(file))?.parse().ok()?;
        Some(from_micro(number.unsigned_abs()))
    };
    amount("power_now").or_else(|| Some(amount("current_now")? * amount("voltage_now")?))
}

#[cfg(test)]
mod tests {
    use super::super::tree::write;
    use super::*;

    #[test]
    fn only_a_battery_that_discharges_tells_what_the_machine_draws() {
        let by_power = [("BAT0/type", "Battery"), ("BAT0/power_now", "15250000")];
        let by_current = [
            ("BAT1/type", "Battery"),
            ("BAT1/status", "Discharging"),
            ("BAT1/current_now", "-1000000"),
            ("BAT1/voltage_now", "12000000"),
        ];
        let mouse = [
            ("hid/type", "Battery"),
            ("hid/status", "Discharging"),
            ("hid/scope", "Device"),
            ("hid/power_now", "1000000"),
        ];
        let mains = [("AC/type", "Mains"), ("AC/online", "1")];
        let unreadable = [("BAT2/type", "Battery"), ("BAT2/status", "Discharging")];
        let status = |word: &'static str| [("BAT0/status", word)];
        for (what, parts, expected) in [
            ("on battery", vec![&by_power[..], &status("Discharging")], Some(15.25)),
            ("two", vec![&by_power[..], &status("Discharging"), &by_current], Some(27.25)),
            ("charged", vec![&by_power[..], &status("Charging"), &mains], None),
            ("full", vec![&by_power[..], &status("Full"), &mains], None),
            ("by current and voltage", vec![&by_current[..], &mouse], Some(12.0)),
            ("a mouse", vec![&mouse[..]], None),
            ("one does not tell", vec![&by_current[..], &unreadable], None),
            ("none", vec![], None),
        ] {
            let class = tempfile::tempdir().unwrap();
            for part in parts {
                write(class.path(), part);
            }
            assert_eq!(watts(class.path()), expected, "{what}");
        }
    }
}
