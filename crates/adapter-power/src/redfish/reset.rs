//! ComputerSystem.Reset with a type that the service allows.

use drover_model::PowerState;
use drover_ports::PowerError;
use serde_json::{Value, json};

use crate::redfish::service::{Service, link};

/// What switches on, the better first. Never `PushPowerButton`: it switches off what was
/// switched on a moment ago.
const ON: [&str; 2] = ["On", "ForceOn"];
/// What cuts power at once. A graceful shutdown is the system's business and may never end.
const OFF: [&str; 1] = ["ForceOff"];

pub(super) async fn reset(
    service: &Service<'_>,
    system: &Value,
    to: PowerState,
) -> Result<(), PowerError> {
    let action = &system["Actions"]["#ComputerSystem.Reset"];
    let target = action["target"]
        .as_str()
        .ok_or_else(|| PowerError::Refused("its system has no action Reset".to_owned()))?;
    let info = match link(action, "@Redfish.ActionInfo") {
        Some(path) => Some(service.get(path).await?),
        None => None,
    };
    let allowed = allowable(action, info.as_ref());
    let wanted: &[&str] = match to {
        PowerState::On => &ON,
        PowerState::Off => &OFF,
    };
    let Some(kind) = choose(wanted, allowed.as_deref()) else {
        let allowed = allowed.unwrap_or_default().join(", ");
        return Err(PowerError::Refused(format!(
            "of the resets {} none is allowed, but {allowed}",
            wanted.join(", ")
        )));
    };
    service.post(target, &json!({ "ResetType": kind })).await
}

/// The first wanted one that is allowed; where the service does not say, the first.
fn choose<'w>(wanted: &[&'w str], allowed: Option<&[String]>) -> Option<&'w str> {
    let is_allowed = |kind: &&&str| allowed.is_none_or(|all| all.iter().any(|one| one == **kind));
    wanted.iter().find(is_allowed).copied()
}

/// What the service says that it allows: beside the action, or in its `ActionInfo`.
fn allowable(action: &Value, info: Option<&Value>) -> Option<Vec<String>> {
    let beside = action["ResetType@Redfish.AllowableValues"].as_array();
    let named = |parameter: &&Value| parameter["Name"] == "ResetType";
    let in_info = || {
        let parameters = info?["Parameters"].as_array()?;
        parameters.iter().find(named)?["AllowableValues"].as_array()
    };
    let values = beside.or_else(in_info)?;
    Some(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_type_is_taken() {
        let action = json!({ "ResetType@Redfish.AllowableValues": ["ForceOn", "ForceOff"] });
        let allowed = allowable(&action, None);
        assert_eq!(choose(&ON, allowed.as_deref()), Some("ForceOn"));
        let info = json!({ "Parameters": [
            { "Name": "Delay" },
            { "Name": "ResetType", "AllowableValues": ["On", "PushPowerButton"] },
        ] });
        let allowed = allowable(&json!({}), Some(&info));
        assert_eq!(choose(&ON, allowed.as_deref()), Some("On"));
        assert_eq!(choose(&OFF, allowed.as_deref()), None);
        assert_eq!(choose(&OFF, allowable(&json!({}), None).as_deref()), Some("ForceOff"));
    }
}
