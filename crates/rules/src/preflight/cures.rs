//! What to do about each placement constraint.

use crate::constraint::Constraint;
use Constraint as C;

/// The cure for a refusal of this constraint.
pub const fn of_constraint(constraint: Constraint) -> &'static str {
    match constraint {
        C::GuestState => {
            "start or resume it; a guest that is shut off moves with `--mode cold`, and one that \
             is paused by a fault has to be looked at first (`virsh domstate --reason`)"
        }
        C::UnderWay => "wait for the operation, or cancel it (`drover guest cancel`)",
        C::EmulatedMemory => crate::emulation::CURE,
        C::Cooldown => "wait, or ask for the move by name",
        C::Device => "detach the device for the move, or shut the guest down and move it cold",
        C::HostState => "see that drover-agent and libvirtd run there (`drover host show`)",
        C::Peer => "set `migration_address` and `peer_uri` in the agent's configuration there",
        C::Architecture => "choose a host of the same architecture",
        C::MachineType => {
            "install a QEMU there that has it, or start the guest anew with one that both have"
        }
        C::CpuModel => {
            "start the guest anew with a named CPU (`drover baseline apply`), which fits every \
             host of its group"
        }
        C::Storage => {
            "put the disk on storage that both hosts have and declare it in `shared_paths`, start \
             the pool there, or copy local disks with the guest (`--copy-storage full`)"
        }
        C::Network => "create or start the bridge or network there",
        C::FreshSamples => "wait for a few samples, and see that the agent there runs",
        C::Memory => "free memory there, or choose another host",
        C::Place => "name another host, or none to look at all",
        C::Threshold => "choose a less loaded host, or name the host with --to",
        C::Asleep => "wake it first, or choose a host that is awake",
        C::Draining => {
            "`drover host undrain HOST` uses it again, or take its label `drain` off; or choose \
             another host"
        }
        C::Overcommit => "choose a host with fewer promises, or raise the factor",
        C::OnHosts | C::Apart | C::Together | C::Spread => {
            "change the placement rule (`drover placement list`), or choose a host that it allows"
        }
        C::Preflight => {
            "see the finding (`drover guest check`); once it is mended a check that finds nothing \
             lifts this"
        }
        C::AllowedTarget | C::Selected => "ask for this guest and this host",
        C::PowerCap => {
            "choose a host of another group, relieve this one (`drover plan preview`), or raise \
             the cap (`drover policy show`)"
        }
        C::Known => "`drover host list` and `drover guest list` show what there is",
        C::Share => "ask for the move by name; the plan looks for guests whose move helps more",
        C::RelievedHost => "wait until the plan is carried out, or choose another host",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constraint_has_a_cure_of_its_own_words() {
        // These four are lifted in the same way: by the rule that they come from.
        let alike = [C::OnHosts, C::Apart, C::Together, C::Spread];
        let mut seen = std::collections::BTreeMap::new();
        for constraint in Constraint::ALL {
            let cure = of_constraint(*constraint);
            assert!(cure.len() > 10, "{constraint}: {cure}");
            if let Some(other) = seen.insert(cure, *constraint) {
                let same_request = [C::AllowedTarget, C::Selected];
                let may = [&alike[..], &same_request]
                    .iter()
                    .any(|group| group.contains(constraint) && group.contains(&other));
                assert!(may, "{constraint} has the cure of {other}");
            }
        }
    }
}
