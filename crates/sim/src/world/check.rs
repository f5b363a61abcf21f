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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use drover_model::{Bytes, GuestId, HostId, Mib, Timestamp};

    use super::*;
    use crate::{Cluster, DEFAULT_LINK, GuestSpec, HostSpec, Model, PowerCurve, Settings, Trace};

    fn world() -> World {
        let host = |n: u128| HostSpec {
            id: HostId::from_u128(n),
            name: format!("h{n}"),
            cores: 4.0,
            memory: Bytes(4 << 30),
            overhead_cores: 0.0,
            power: PowerCurve::default(),
            link: DEFAULT_LINK,
        };
        let guest = GuestSpec {
            id: GuestId::from_u128(1),
            name: "vm1".to_owned(),
            vcpus: 1,
            memory: Mib(1024),
            host: HostId::from_u128(1),
        };
        World::new(Settings {
            cluster: Cluster::new(vec![host(1), host(2)], vec![guest]).unwrap(),
            trace: Trace::new(),
            rules: vec![],
            judges: vec![],
            replay: vec![],
            failures: vec![],
            model: Model::default(),
            start: Timestamp::EPOCH,
            duration: Duration::from_secs(60),
            interval: Duration::from_secs(5),
            seed: 1,
        })
    }

    fn check(change: impl FnOnce(&mut World), expected: &[&str]) {
        let mut world = world();
        change(&mut world);
        world.check();
        let texts: Vec<&str> =
            world.violations.iter().filter_map(|text| text.strip_prefix("at 0 s: ")).collect();
        assert_eq!(texts, expected);
    }

    /// A checker that finds nothing must have been able to.
    #[test]
    fn what_must_not_be_is_found() {
        check(|_| {}, &[]);
        check(|world| world.guests[0].set_copy(1, Some(Copy::Incoming)), &[]);
        check(
            |world| world.guests[0].set_copy(1, Some(Copy::Running)),
            &["vm1 runs on two hosts", "vm1 runs on h2, and h1 owns it"],
        );
        check(
            |world| {
                world.guests[0].set_copy(0, None);
                world.guests[0].set_copy(1, Some(Copy::Running));
            },
            &["vm1 runs on h2, and h1 owns it"],
        );
        check(|world| world.no_room(0, 1), &["vm1 was sent to h2, which has no memory for it"]);
    }

    #[test]
    fn room_is_what_neither_runs_nor_arrives() {
        let mut world = world();
        assert_eq!((world.room(0), world.room(1)), (3_221_225_472.0, 4_294_967_296.0));
        world.guests[0].set_copy(1, Some(Copy::Incoming));
        assert_eq!(world.room(1), 3_221_225_472.0);
    }
}
