//! What to do about each placement constraint.

/// The cure for a refusal of this constraint.
pub fn of_constraint(constraint: &str) -> &'static str {
    match constraint {
        "guest-state" => {
            "start or resume it; a guest that is shut off moves with `--mode cold`, and one that \
             is paused by a fault has to be looked at first (`virsh domstate --reason`)"
        }
        "under-way" => "wait for the operation, or cancel it (`drover guest cancel`)",
        crate::EMULATED_MEMORY => crate::emulation::CURE,
        "cooldown" => "wait, or ask for the move by name",
        "device" => "detach the device for the move, or shut the guest down and move it cold",
        "host-state" => "see that drover-agent and libvirtd run there (`drover host show`)",
        "peer" => "set `migration_address` and `peer_uri` in the agent's configuration there",
        "architecture" => "choose a host of the same architecture",
        "machine-type" => {
            "install a QEMU there that has it, or start the guest anew with one that both have"
        }
        "cpu-model" => {
            "start the guest anew with a named CPU (`drover baseline apply`), which fits every \
             host of its group"
        }
        "storage" => {
            "put the disk on storage that both hosts have and declare it in `shared_paths`, start \
             the pool there, or copy local disks with the guest (`--copy-storage full`)"
        }
        "network" => "create or start the bridge or network there",
        "fresh-samples" => "wait for a few samples, and see that the agent there runs",
        "memory" => "free memory there, or choose another host",
        "place" => "name another host, or none to look at all",
        "threshold" => "choose a less loaded host, or name the host with --to",
        "asleep" => "wake it first, or choose a host that is awake",
        "draining" => {
            "`drover host undrain HOST` uses it again, or take its label `drain` off; or choose \
             another host"
        }
        "overcommit" => "choose a host with fewer promises, or raise the factor",
        "on-hosts" | "apart" | "together" | "spread" => {
            "change the placement rule (`drover placement list`), or choose a host that it allows"
        }
        "preflight" => {
            "see the finding (`drover guest check`); once it is mended a check that finds nothing \
             lifts this"
        }
        "allowed-target" | "selected" => "ask for this guest and this host",
        _ => "`drover host show` and `drover guest show` tell what they have",
    }
}
