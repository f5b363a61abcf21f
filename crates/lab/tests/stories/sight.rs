//! What can be seen of a guest that does not answer, for whoever has to find out why.

use std::time::Duration;

use drover_lab::addresses::{guest_address, number_of};

use super::world::World;

impl World {
    /// An error about a guest, with what can be seen of the guest now.
    pub(crate) fn with_sight(&self, guest: &str, error: anyhow::Error) -> anyhow::Error {
        error.context(format!("{guest} as it is now: {}", self.sight(guest)))
    }

    /// Where it runs by libvirt's word, where the switch sends its frames, whether it answers,
    /// and whether it does once its address is asked for anew.
    pub(crate) fn sight(&self, guest: &str) -> String {
        let (Some(number), Some(address)) = (number_of(guest), guest_address(guest)) else {
            return "it is none of the lab's".to_owned();
        };
        let mac = format!("52:54:00:88:00:{number:02x}");
        let answers = || self.lab.exec("ctl", &["ping", "-n", "-c1", "-W2", &address]).is_ok();
        let hosts = self.lab.spec().host_names().into_iter().map(|host| {
            let state = self.lab.virsh(&host, &["domstate", "--reason", guest]);
            format!(
                "{host} {}",
                state.map_or_else(|_| "-".to_owned(), |state| state.trim().to_owned())
            )
        });
        let hosts: Vec<String> = hosts.collect();
        let port = self.lab.switch_sends_to(&mac).ok().flatten();
        let known = self.lab.exec("ctl", &["ip", "neigh", "show", "to", &address]);
        let at_first = answers();
        let _ = self.lab.exec("ctl", &["ip", "neigh", "flush", "to", &address]);
        format!(
            "{}; the switch sends to {port:?}; the client knows {:?}; it answers a ping: {at_first}, \
             asked anew: {}; {}",
            hosts.join(", "),
            known.unwrap_or_default().trim(),
            answers(),
            self.home(guest).map_or_else(|error| error.to_string(), |at| self.inside(&at, guest)),
        )
    }

    /// Whether its CPU gets on, and the last that it said.
    fn inside(&self, host: &str, guest: &str) -> String {
        let place = || {
            let asked = ["qemu-monitor-command", guest, "--hmp", "info registers"];
            let registers = self.lab.virsh(host, &asked).unwrap_or_default();
            let told = |word: &&str| word.starts_with("RIP=") || word.starts_with("HLT=");
            registers.split_whitespace().filter(told).collect::<Vec<_>>().join(" ")
        };
        let places: Vec<String> = (0..3)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(300));
                place()
            })
            .collect();
        let console = format!("/var/log/libvirt/qemu/{guest}-console.log");
        let said = self.lab.exec(host, &["tail", "-c", "300", &console]).unwrap_or_default();
        format!("its CPU: {}; its console on {host}: {:?}", places.join(", "), said.trim())
    }
}
