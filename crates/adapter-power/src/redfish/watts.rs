//! What a machine draws, by the newest of the resources that its service has.
//!
//! DSP2046: `EnvironmentMetrics` of the chassis; the older `Power` resource, deprecated
//! since 2020.4 and still the only one of many BMCs; the supplies of `PowerSubsystem`; the
//! chassis's `Sensors`.

use drover_ports::PowerError;
use serde_json::Value;

use crate::meter::{machine_watts, plausible};
use crate::redfish::service::{Service, link, members};

/// Chassis of a system that are looked at: its own and what it stands in.
const MAX_CHASSIS: usize = 4;
/// Supplies and sensors that are read of one chassis: each costs a request.
const MAX_PARTS: usize = 16;

/// Watts of the first chassis that tells.
pub(super) async fn watts(service: &Service<'_>, system: &Value) -> Result<f64, PowerError> {
    let mut chassis: Vec<String> =
        members(&system["Links"]["Chassis"]).into_iter().map(str::to_owned).collect();
    if chassis.is_empty()
        && let Some(path) = link(service.root(), "Chassis")
    {
        // Only where there is no doubt whose it is.
        let listed = service.get(path).await?;
        chassis = members(&listed).into_iter().map(str::to_owned).collect();
        chassis.truncate(if chassis.len() == 1 { 1 } else { 0 });
    }
    for path in chassis.iter().take(MAX_CHASSIS) {
        let Some(chassis) = there(service.get(path).await)? else { continue };
        if let Some(watts) = of_chassis(service, &chassis).await? {
            return Ok(watts);
        }
    }
    Err(PowerError::Refused("none of its chassis tells its power".to_owned()))
}

async fn of_chassis(service: &Service<'_>, chassis: &Value) -> Result<Option<f64>, PowerError> {
    if let Some(metrics) = linked(service, chassis, "EnvironmentMetrics").await?
        && let Some(watts) = number(&metrics["PowerWatts"]["Reading"])
    {
        return Ok(Some(watts));
    }
    if let Some(power) = linked(service, chassis, "Power").await?
        && let Some(watts) = of_power(&power)
    {
        return Ok(Some(watts));
    }
    if let Some(subsystem) = linked(service, chassis, "PowerSubsystem").await?
        && let Some(watts) = of_supplies(service, &subsystem).await?
    {
        return Ok(Some(watts));
    }
    of_sensors(service, chassis).await
}

/// The first control is the whole chassis; others are parts of it.
fn of_power(power: &Value) -> Option<f64> {
    let control = &power["PowerControl"][0];
    if let Some(watts) = number(&control["PowerConsumedWatts"]) {
        return Some(watts);
    }
    let supplies = power["PowerSupplies"].as_array()?;
    let inputs: Option<Vec<f64>> = supplies
        .iter()
        .filter(|supply| supply["Status"]["State"] != "Absent")
        .map(|supply| number(&supply["PowerInputWatts"]))
        .collect();
    inputs.filter(|inputs| !inputs.is_empty()).map(|inputs| inputs.iter().sum())
}

/// The sum of what every supply that is there takes in.
async fn of_supplies(service: &Service<'_>, subsystem: &Value) -> Result<Option<f64>, PowerError> {
    let Some(listed) = linked(service, subsystem, "PowerSupplies").await? else { return Ok(None) };
    let mut sum = None;
    for path in members(&listed).into_iter().take(MAX_PARTS) {
        let Some(supply) = there(service.get(path).await)? else { continue };
        if supply["Status"]["State"] == "Absent" {
            continue;
        }
        let metrics = linked(service, &supply, "Metrics").await?;
        let input = metrics.and_then(|m| number(&m["InputPowerWatts"]["Reading"]));
        // A part of the sum would be a wrong number.
        let Some(watts) = input else { return Ok(None) };
        sum = Some(sum.unwrap_or(0.0) + watts);
    }
    Ok(sum)
}

/// Sensors have no standard names; those are read whose path speaks of power.
async fn of_sensors(service: &Service<'_>, chassis: &Value) -> Result<Option<f64>, PowerError> {
    let Some(listed) = linked(service, chassis, "Sensors").await? else { return Ok(None) };
    let speaks_of_power = |path: &&str| {
        let lower = path.to_ascii_lowercase();
        ["power", "pwr", "watt", "input", "consum"].iter().any(|part| lower.contains(part))
    };
    let mut sensors = Vec::new();
    for path in members(&listed).into_iter().filter(speaks_of_power).take(MAX_PARTS) {
        let Some(sensor) = there(service.get(path).await)? else { continue };
        let is_power = sensor["ReadingType"] == "Power" || sensor["ReadingUnits"] == "W";
        if let (true, Some(watts)) = (is_power, number(&sensor["Reading"])) {
            sensors.push((sensor["Name"].as_str().unwrap_or(path).to_owned(), watts));
        }
    }
    Ok(machine_watts(&sensors))
}

/// A resource behind a link; none where there is no link or nothing behind it.
async fn linked(
    service: &Service<'_>,
    value: &Value,
    name: &str,
) -> Result<Option<Value>, PowerError> {
    match link(value, name) {
        Some(path) => there(service.get(path).await),
        None => Ok(None),
    }
}

/// What a service links to and does not have is not there.
fn there(found: Result<Value, PowerError>) -> Result<Option<Value>, PowerError> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(PowerError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|watts| plausible(*watts))
}
