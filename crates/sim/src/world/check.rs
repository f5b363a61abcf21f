//! What must hold at every moment of a run; each broken rule is reported.

use super::World;
use super::state::{Copy, as_float};

impl World {
    /// No guest runs twice, and none where its owner record does not say.
    pub(super) fn check(&mut self) {
        let mut broken = Vec::new();
        for (number, guest) in self.guests.iter().enumerate() {
            let runs = || guest.copies.iter().filter(|(_, copy)| *copy == Copy::Running);
            if runs().count() > 1 {
                broken.push(format!("{} runs on two hosts", self.guest_name(number)));
            }
            let owner = self.host_number[&guest.owner.host];
            if let Some((host, _)) = runs().find(|(host, _)| *host != owner) {
                broken.push(format!(
                    "{} runs on {}, and {} owns it",
                    self.guest_name(number),
                    self.host_name(*host),
                    self.host_name(owner)
                ));
            }
        }
        for text in broken {
            self.violation(text);
        }
    }

    /// Memory of a host that is neither held nor promised, bytes.
    pub(super) fn room(&self, host: usize) -> f64 {
        let specs = self.settings.cluster.guests();
        let held = self.guests.iter().zip(specs).filter_map(|(guest, spec)| {
            guest.copy_on(host).map(|copy| match copy {
                Copy::Running => guest.resident,
                Copy::Incoming => as_float(spec.memory.bytes()),
            })
        });
        as_float(self.settings.cluster.hosts()[host].memory) - held.sum::<f64>()
    }

    /// A target has no room. Where guests' memory grows and shrinks with the trace that may
    /// happen between plan and arrival; where it stands still the plan was wrong.
    pub(super) fn no_room(&mut self, guest: usize, host: usize) {
        if self.memory_stands_still() {
            let text = format!(
                "{} was sent to {}, which has no memory for it",
                self.guest_name(guest),
                self.host_name(host)
            );
            self.violation(text);
        }
    }

    fn memory_stands_still(&self) -> bool {
        let trace = &self.settings.trace;
        !trace.guests().any(|name| trace.steps(name).iter().any(|step| step.memory.is_some()))
    }
}
