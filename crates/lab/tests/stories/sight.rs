//! What can be seen of a guest that does not answer, for whoever has to find out why.

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
            "{}; the switch sends to {port:?}; the client knows {:?}; it answers: {at_first}, asked \
             anew: {}",
            hosts.join(", "),
            known.unwrap_or_default().trim(),
            answers()
        )
    }
}
