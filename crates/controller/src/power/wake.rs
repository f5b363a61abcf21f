//! Asking for a wake, and by what a host is woken.

use drover_lifecycle::power::{ParkState, Wake, WakeSettings};
use drover_model::{HostId, HostState, Timestamp, WakeMethod};

use super::neighbours::macs;
use super::refusal::name_a_way;
use super::sight::belongings;
use crate::records::{
    Cause, PowerPhase, PowerRecord, PowerSettings, RecordError, Records, Tables, Txn,
};

/// What came of asking for a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It begins. A host that is up ends it at once; one that is being emptied to be parked is
    /// called back.
    Begun,
    /// It is being woken already.
    UnderWay,
    /// It is up, and there is no way to wake it anyhow.
    Up,
}

/// Why a host is not woken.
#[derive(Debug, thiserror::Error)]
pub enum WakeError {
    /// There is none.
    #[error("there is no such host")]
    NoHost,
    /// Neither BMC nor card is known.
    #[error("no way to wake {0} is known: neither its BMC nor the address of a network card")]
    NoMethod(String),
    /// It is being switched off.
    #[error("{host} is being parked: {state}")]
    Parking {
        /// Its name.
        host: String,
        /// How far that is.
        state: String,
    },
    /// Not stored.
    #[error("the wake is not stored")]
    Record(#[from] RecordError),
}

impl WakeError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoHost => "`drover host list` shows the hosts".to_owned(),
            Self::NoMethod(host) => name_a_way(host),
            Self::Parking { host, .. } => format!(
                "it was told to switch off: wake it once it is parked, which `drover host power \
                 {host}` tells; while guests leave, `drover host undrain {host}` ends it"
            ),
            Self::Record(_) => "droverd's log says more".to_owned(),
        }
    }
}

/// Begins to wake a host, whoever wants it: the reconciler carries it out. The outcome is an
/// event, `host.awake` or `host.wake_failed`, and the record's phase.
pub async fn request_wake(
    records: &Records,
    host: HostId,
    cause: Cause,
    now: Timestamp,
) -> Result<Asked, WakeError> {
    records
        .update(|tables| {
            let mut txn = Txn::none();
            match begin(tables, host, cause, now) {
                Ok(Begin::With(record)) => {
                    txn.change(tables.power.get(host), *record);
                    (txn, Ok(Asked::Begun))
                }
                Ok(Begin::Already(asked)) => (txn, Ok(asked)),
                Err(error) => (txn, Err(error)),
            }
        })
        .await?
}

enum Begin {
    With(Box<PowerRecord>),
    Already(Asked),
}

fn begin(tables: &Tables, host: HostId, cause: Cause, now: Timestamp) -> Result<Begin, WakeError> {
    let known = &tables.hosts.get(host).ok_or(WakeError::NoHost)?.host;
    let before = tables.power.get(host).cloned();
    let mut record = before.unwrap_or_else(|| PowerRecord::new(host, now));
    let from_off = match &record.phase {
        PowerPhase::Waking(_) => return Ok(Begin::Already(Asked::UnderWay)),
        PowerPhase::Parking(_) if record.called_back.is_some() => {
            return Ok(Begin::Already(Asked::UnderWay));
        }
        PowerPhase::Parking(_) if record.can_be_called_back(&cause) => {
            record.called_back = Some(cause);
            return Ok(Begin::With(Box::new(record)));
        }
        PowerPhase::Parking(park) => {
            let state = match park.state {
                ParkState::Draining => "its guests leave",
                _ => "it shuts down",
            };
            let (host, state) = (known.name.clone(), state.to_owned());
            return Err(WakeError::Parking { host, state });
        }
        PowerPhase::Parked(_) => true,
        PowerPhase::Settled | PowerPhase::WakeFailed(_) => false,
    };
    let methods = methods(tables, host);
    if methods.is_empty() {
        let is_up = !from_off && known.state == HostState::Online;
        return if is_up {
            Ok(Begin::Already(Asked::Up))
        } else {
            Err(WakeError::NoMethod(known.name.clone()))
        };
    }
    let asks_bmc = record.settings.bmc.is_some();
    let settings = wake_settings(&record.settings, methods);
    record.belongings.get_or_insert_with(|| belongings(known));
    record.phase = PowerPhase::Waking(Wake::new(now, settings, asks_bmc, from_off));
    record.from_park = from_off;
    record.since = now;
    record.cause = Some(cause);
    Ok(Begin::With(Box::new(record)))
}

/// Ways to wake a host that can be used: those that are set, else all that are known.
pub fn methods(tables: &Tables, host: HostId) -> Vec<WakeMethod> {
    let settings = tables.power.get(host).map(|record| record.settings.clone());
    let settings = settings.unwrap_or_default();
    let has_card = tables.hosts.get(host).is_some_and(|of| !macs(&settings, &of.host).is_empty());
    let usable = |method: &WakeMethod| match method {
        WakeMethod::Bmc => settings.bmc.is_some(),
        WakeMethod::WakeOnLan => has_card,
    };
    let all = [WakeMethod::Bmc, WakeMethod::WakeOnLan];
    let wanted = if settings.methods.is_empty() { &all[..] } else { &settings.methods };
    wanted.iter().copied().filter(usable).collect()
}

/// How patient a host's wake is.
pub fn wake_settings(settings: &PowerSettings, methods: Vec<WakeMethod>) -> WakeSettings {
    let defaults = WakeSettings::by(methods);
    WakeSettings {
        tries: settings.tries.unwrap_or(defaults.tries),
        pause: settings.pause.unwrap_or(defaults.pause),
        pauses: settings.pauses,
        deadline: settings.deadline.unwrap_or(defaults.deadline),
        ..defaults
    }
}
