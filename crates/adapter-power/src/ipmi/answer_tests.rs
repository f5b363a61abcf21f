//! Recorded from ipmitool 1.8.19 against OpenIPMI's simulator, but where another machine is
//! named.

use super::*;

const PASSWORD: &str = "Xy-secret";

fn denied(text: &str) -> bool {
    matches!(failure(text, PASSWORD), Failure::Is(PowerError::Denied(_)))
}

#[test]
fn a_dcmi_reading_is_read() {
    let text = "Loading IANA PEN Registry...\n\n    \
        Instantaneous power reading:                   137 Watts\n    \
        Minimum during sampling period:                 90 Watts\n    \
        Maximum during sampling period:                250 Watts\n    \
        Average power reading over sample period:      140 Watts\n    \
        IPMI timestamp:                           S+ 00:00:00    Sampling period:        \
        00000001 Seconds.\n    Power reading state is:                   activated\n\n";
    assert_eq!(dcmi_watts(text), Some(137.0));
    assert_eq!(dcmi_watts(&text.replace("   activated", "   deactivated")), None);
    assert_eq!(dcmi_watts(""), None);
}

#[test]
fn sensors_in_watts_are_read() {
    let text = "Loading IANA PEN Registry...\n\
                Pwr Consumption,138,Watts,ok,7.1,System Board,Other,,,,,,,,,,0.000,510.000\n\
                Inlet Temp,23,degrees C,ok\nPS2 Input Power,,,ns\nFan, rear,3720,RPM,ok\n\
                PS1, Input,96.5,Watts,ok\n";
    let read = sensors_in_watts(text);
    assert_eq!(read, [("Pwr Consumption".to_owned(), 138.0), ("PS1, Input".to_owned(), 96.5)]);
    assert_eq!(sensors_in_watts("Pwr Consumption,,,ns\n"), []);
}

#[test]
fn the_state_is_read() {
    let noise = "Get HPM.x Capabilities request failed, compcode = d4\n";
    assert_eq!(state(&format!("{noise}Chassis Power is on\n")), Ok(PowerState::On));
    assert_eq!(state(&format!("{noise}Chassis Power is off\n")), Ok(PowerState::Off));
    assert!(matches!(state(noise), Err(PowerError::Broken(_))));
}

#[test]
fn a_refused_login_is_denied() {
    let end = "Error: Unable to establish IPMI v2 / RMCP+ session\n";
    for line in [
        "> RAKP 2 HMAC is invalid",
        "RAKP 2 message indicates an error : unauthorized name",
        "> RAKP 4 message has invalid integrity check value",
    ] {
        let text = format!("Loading IANA PEN Registry...\n{line}\n{end}");
        assert!(denied(&text), "{line}: {:?}", failure(&text, PASSWORD));
    }
    let role = "RAKP 2 message indicates an error : unauthorized role or privilege level requested";
    assert!(matches!(failure(&format!("{role}\n{end}"), PASSWORD), Failure::Privilege(_)));
    let text = "Get HPM.x Capabilities request failed, compcode = d4\n\
                Set Chassis Power Control to Down/Off failed: Insufficient privilege level\n";
    assert!(matches!(failure(text, PASSWORD), Failure::Privilege(_)));
    assert!(matches!(failure(text, PASSWORD).into(), PowerError::Denied(_)));
}

#[test]
fn a_silent_bmc_is_to_be_asked_again() {
    for text in [
        "Get Auth Capabilities error\nError issuing Get Channel Authentication Capabilities \
         request\nError: Unable to establish IPMI v2 / RMCP+ session\n",
        "Address lookup for nosuch.invalid failed\nCould not open socket!\n\
         Error: Unable to establish IPMI v2 / RMCP+ session\n",
        "RAKP 2 message indicates an error : insufficient resources to create a session\n",
        "Set Chassis Power Control to Up/On failed: Node busy\n",
    ] {
        let failed = failure(text, PASSWORD);
        assert!(matches!(failed, Failure::Is(PowerError::Retry(_))), "{text}: {failed:?}");
    }
    let text = "Set Chassis Power Control to Up/On failed: Command not supported in present state";
    assert!(matches!(failure(text, PASSWORD), Failure::NotNow(_)));
}

#[test]
fn what_a_bmc_cannot_is_refused() {
    let noise = "Get HPM.x Capabilities request failed, compcode = d4\n\
                 Invalid completion code received: Insufficient privilege level\n";
    let text = format!("{noise}\n    DCMI request failed because: Invalid command (c1)\n\n");
    assert!(matches!(failure(&text, PASSWORD), Failure::Refused(_)));
    let text = "Error in open session response message : invalid authentication algorithm\n\n\
                Error: Unable to establish IPMI v2 / RMCP+ session\n";
    assert_eq!(failure(text, PASSWORD), Failure::Suite);
    let text = "Error in open session response message : no matching cipher suite with the \
                proposed security algorithms\n";
    assert_eq!(failure(text, PASSWORD), Failure::Suite);
}

#[test]
fn what_is_not_known_is_shown_without_the_password() {
    let failed = failure(&format!("oops {PASSWORD} \u{1b}[1m\n"), PASSWORD);
    assert_eq!(failed, Failure::Is(PowerError::Broken("ipmitool: oops … [1m".to_owned())));
    let nothing = failure("", PASSWORD);
    assert!(matches!(nothing, Failure::Is(PowerError::Broken(_))), "{nothing:?}");
}
