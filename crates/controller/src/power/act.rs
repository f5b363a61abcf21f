//! Carries out what the machines ask for, and tells them what came of it.

use drover_agent_api::v1::{FailureKind, MagicPacketSent, PowerOffHost, SendMagicPacket};
use drover_lifecycle::power::{ParkEffect, ParkEvent, WakeEffect, WakeEvent, WakeState};
use drover_model::{HostId, MacAddress, PowerState, SecureOn, WakeMethod};
use drover_ports::PowerError;
use futures::future::join_all;
use std::sync::PoisonError;
use std::time::Duration;

use super::neighbours::{Sender, macs, senders};
use super::vault::SecretKind;
use super::{Happening, Switchboard};
use crate::drain::leaving;
use crate::live::{Answer, AskError, Question};
use crate::records::{PowerPhase, PowerRecord};

/// A BMC is asked whether its host is on no more often: it has other things to do, and takes a
/// second for an answer.
const ASK_BMC_EVERY: Duration = Duration::from_secs(5);
/// Cards of one host that are woken: more than it has networks.
const MOST_CARDS: usize = 8;

impl Switchboard {
    /// Carries out what a host's state asks for now. Takes as long as the BMC and the agents
    /// do; may be called again at any time.
    pub async fn carry_out(&self, host: HostId) {
        let record = self.records.read().power.get(host).cloned();
        match record.as_ref().map(|record| &record.phase) {
            Some(PowerPhase::Waking(wake)) => {
                for effect in wake.effects() {
                    let event = match effect {
                        WakeEffect::AskPower => {
                            let first = wake.state == WakeState::Asking;
                            self.ask_power(host, first).await.map(|power| match power {
                                Ok(power) => WakeEvent::Power(power),
                                Err(error) if error.needs_a_person() => {
                                    WakeEvent::Denied(error.to_string())
                                }
                                Err(error) => WakeEvent::PowerUnknown(error.to_string()),
                            })
                        }
                        WakeEffect::Try { number, method } => {
                            Some(self.attempt(host, number, method).await)
                        }
                    };
                    if let Some(event) = event {
                        self.take(host, Happening::Wake(event)).await;
                    }
                }
            }
            Some(PowerPhase::Parking(park)) => {
                for effect in park.effects() {
                    let event = match effect {
                        ParkEffect::PowerOff => Some(self.power_off(host).await),
                        ParkEffect::AskPower => {
                            self.ask_power(host, false).await.map(|power| match power {
                                Ok(power) => ParkEvent::Power(power),
                                Err(error) if error.needs_a_person() => {
                                    ParkEvent::Denied(error.to_string())
                                }
                                Err(error) => ParkEvent::PowerUnknown(error.to_string()),
                            })
                        }
                    };
                    if let Some(event) = event {
                        self.take(host, Happening::Park(event)).await;
                    }
                }
            }
            _ => {}
        }
    }

    /// The BMC's word; none where it was asked a moment ago.
    async fn ask_power(
        &self,
        host: HostId,
        at_once: bool,
    ) -> Option<Result<PowerState, PowerError>> {
        let now = self.clock.now();
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let lately = asked.get(&host).is_some_and(|last| now.since(*last) < ASK_BMC_EVERY);
            if lately && !at_once {
                return None;
            }
            asked.insert(host, now);
        }
        let answer = self.bmcs.state(&self.records, host).await;
        if let Err(error) = &answer {
            tracing::info!(%host, %error, "a BMC does not say whether its host is on");
        }
        Some(answer)
    }

    async fn attempt(&self, host: HostId, number: u32, method: WakeMethod) -> WakeEvent {
        let made = match method {
            WakeMethod::Bmc => match self.bmcs.switch_on(&self.records, host).await {
                Err(error) if error.needs_a_person() => {
                    tracing::warn!(%host, %error, "a BMC is not asked again");
                    return WakeEvent::Denied(error.to_string());
                }
                switched => switched.map_err(|error| error.to_string()),
            },
            WakeMethod::WakeOnLan => self.send_packets(host).await,
        };
        match &made {
            Ok(()) => tracing::info!(%host, method = method.as_str(), "a wake was tried"),
            Err(why) => tracing::info!(%host, method = method.as_str(), why, "a wake failed"),
        }
        WakeEvent::Tried { number, method, failure: made.err() }
    }

    /// Has the host's neighbours send its magic packets. Done when one has left.
    async fn send_packets(&self, host: HostId) -> Result<(), String> {
        let (record, cards, senders) = {
            let tables = self.records.read();
            let known = tables.hosts.get(host).ok_or("there is no such host")?;
            let record = tables.power.get(host).cloned();
            let record = record.unwrap_or_else(|| PowerRecord::new(host, self.clock.now()));
            let cards = macs(&record.settings, &known.host);
            let (senders, _) = senders(&tables, host, |other| self.live.is_connected(other));
            (record, cards, senders)
        };
        if cards.is_empty() {
            return Err("the address of its network card is not known".to_owned());
        }
        if senders.is_empty() {
            return Err("no other host is online to send its magic packet".to_owned());
        }
        let password = self.secure_on(host)?;
        let orders = senders.iter().flat_map(|sender| {
            cards.iter().take(MOST_CARDS).map(|card| packet(&record, sender, *card, &password))
        });
        let asked = orders.map(async |(sender, order)| {
            let answer = self.live.ask(sender, Question::SendMagicPacket(order)).await;
            let name = self.records.read().host_name(sender);
            match answer {
                Ok(Answer::MagicPacketSent(MagicPacketSent { sent, failed })) => {
                    if sent.is_empty() {
                        Err(format!("{name}: {}", failed.join(", ")))
                    } else {
                        Ok(())
                    }
                }
                Ok(_) => Err(format!("{name}: {}", AskError::Unexpected)),
                Err(error) => Err(format!("{name}: {error}")),
            }
        });
        let (sent, failed): (Vec<_>, Vec<_>) =
            join_all(asked).await.into_iter().partition(Result::is_ok);
        if sent.is_empty() {
            let why: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
            return Err(format!("no magic packet left: {}", why.join("; ")));
        }
        Ok(())
    }

    /// The card's password; empty where there is none.
    fn secure_on(&self, host: HostId) -> Result<Vec<u8>, String> {
        let secrets = self.records.read().host_secrets.get(host).cloned();
        let Some(sealed) = secrets.and_then(|secrets| secrets.secure_on) else {
            return Ok(Vec::new());
        };
        let opened = self.bmcs.vault().open(SecretKind::SecureOn, host, &sealed);
        let opened = opened.map_err(|error| error.to_string())?;
        let password = SecureOn::parse(opened.reveal());
        password
            .map(|it| it.bytes().to_vec())
            .ok_or_else(|| "its SecureOn is unreadable".to_owned())
    }

    async fn power_off(&self, host: HostId) -> ParkEvent {
        if !leaving(&self.records.read(), host).is_empty() {
            return ParkEvent::Occupied;
        }
        match self.live.ask(host, Question::PowerOffHost(PowerOffHost {})).await {
            Ok(Answer::PoweringOff(_)) => ParkEvent::OrderTaken,
            Err(AskError::Failed { kind: FailureKind::Retry, message }) => {
                ParkEvent::OrderUnknown(message)
            }
            Err(AskError::Failed { kind: FailureKind::Conflict, message }) => {
                ParkEvent::OrderNotNow(message)
            }
            Err(AskError::Failed { message, .. }) => ParkEvent::OrderRefused(message),
            Ok(_) => ParkEvent::OrderUnknown(AskError::Unexpected.to_string()),
            Err(error) => ParkEvent::OrderUnknown(error.to_string()),
        }
    }
}

fn packet(
    record: &PowerRecord,
    sender: &Sender,
    card: MacAddress,
    password: &[u8],
) -> (HostId, SendMagicPacket) {
    let settings = &record.settings;
    let order = SendMagicPacket {
        mac: card.0.to_vec(),
        password: password.to_vec(),
        interfaces: sender.interfaces.clone(),
        to: settings.broadcasts.iter().map(ToString::to_string).collect(),
        port: u32::from(settings.port.unwrap_or_default()),
    };
    (sender.host, order)
}
