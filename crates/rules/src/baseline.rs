//! One CPU for a group of hosts, and guests that no host but their own can give theirs.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::{CpuFingerprint, CpuFit, GuestId, HostId, NamedCpu};

/// The CPUs that may fit all hosts, the first choice first, from what each host's libvirt made
/// of all their CPUs.
///
/// Where all say the same there is one. Different versions of libvirt may name another model
/// and know other features; then each model is tried with the features that all say, and
/// without what else it has. Whether a host has such a CPU is for its libvirt to say.
pub fn candidates(of_hosts: &[NamedCpu]) -> Vec<NamedCpu> {
    let required = |cpu: &NamedCpu| -> BTreeSet<String> {
        cpu.features.iter().filter(|(_, has)| **has).map(|(name, _)| name.clone()).collect()
    };
    let mut sets = of_hosts.iter().map(required);
    let Some(first) = sets.next() else { return Vec::new() };
    let common = sets.fold(first, |common, set| &common & &set);
    let mut found: Vec<NamedCpu> = Vec::new();
    for cpu in of_hosts {
        let same = |other: &&NamedCpu| (&other.model, &other.vendor) == (&cpu.model, &cpu.vendor);
        let features: BTreeMap<String, bool> = of_hosts
            .iter()
            .filter(same)
            .flat_map(|other| other.features.keys())
            .map(|name| (name.clone(), common.contains(name)))
            .collect();
        let candidate = NamedCpu { features, ..cpu.clone() };
        if !found.contains(&candidate) {
            found.push(candidate);
        }
    }
    found
}

/// What of a host changed that may change the CPUs that it gives: name, before, after.
pub fn changes(before: &CpuFingerprint, after: &CpuFingerprint) -> Vec<String> {
    let none = "none".to_owned();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| none.clone());
    let mut pairs = vec![
        ("processor".to_owned(), before.model.clone(), after.model.clone()),
        ("microcode".to_owned(), text(&before.microcode), text(&after.microcode)),
        ("kernel".to_owned(), before.kernel.clone(), after.kernel.clone()),
        ("kernel options".to_owned(), before.kernel_options.clone(), after.kernel_options.clone()),
        ("QEMU".to_owned(), before.qemu.clone(), after.qemu.clone()),
        ("libvirt".to_owned(), before.libvirt.clone(), after.libvirt.clone()),
    ];
    let names: BTreeSet<&String> = before.kvm.keys().chain(after.kvm.keys()).collect();
    for name in names {
        let value = |of: &CpuFingerprint| of.kvm.get(name).cloned();
        pairs.push((name.clone(), text(&value(before)), text(&value(after))));
    }
    pairs
        .into_iter()
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| format!("{name}: {before} -> {after}"))
        .collect()
}

/// What is imagined when looking for trapped guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhatIf {
    /// The group as it is.
    AsItIs,
    /// A host has left.
    Without(HostId),
    /// Every host gives what this one, upgraded first, gives now.
    LikeHost(HostId),
}

/// The hosts of a group that a guest on `home` could go to.
pub fn ways_out(group: &[HostId], home: HostId, what_if: WhatIf) -> Vec<HostId> {
    match what_if {
        WhatIf::AsItIs => group.iter().copied().filter(|host| *host != home).collect(),
        WhatIf::Without(gone) => {
            group.iter().copied().filter(|host| *host != home && *host != gone).collect()
        }
        WhatIf::LikeHost(host) => vec![host],
    }
}

/// Whether a guest is trapped, by what each way out says of its CPU; who does not say does
/// not help. With no way out it is.
pub fn is_trapped(
    answers: &BTreeMap<(GuestId, HostId), CpuFit>,
    guest: GuestId,
    ways: &[HostId],
) -> bool {
    !ways.iter().any(|host| answers.get(&(guest, *host)) == Some(&CpuFit::Fits))
}

#[cfg(test)]
mod tests {
    use drover_testkit::{guest_id, host_id};

    use super::*;

    fn cpu(model: &str, features: &[(&str, bool)]) -> NamedCpu {
        let features = features.iter().map(|(name, has)| ((*name).to_owned(), *has)).collect();
        NamedCpu { model: model.to_owned(), vendor: None, features }
    }

    #[test]
    fn hosts_that_agree_give_one_candidate() {
        let one = cpu("EPYC", &[("avx", true), ("vme", false)]);
        assert_eq!(candidates(&[one.clone(), one.clone()]), [one]);
        assert_eq!(candidates(&[]), []);
    }

    #[test]
    fn hosts_that_disagree_keep_what_all_have_by_each_model() {
        let found = candidates(&[
            cpu("EPYC", &[("avx", true), ("sha", true)]),
            cpu("EPYC", &[("avx", true), ("vaes", true)]),
            cpu("Opteron", &[("avx", true), ("sha", true)]),
        ]);
        assert_eq!(
            found,
            [
                cpu("EPYC", &[("avx", true), ("sha", false), ("vaes", false)]),
                cpu("Opteron", &[("avx", true), ("sha", false)]),
            ]
        );
    }

    #[test]
    fn a_change_is_told_with_before_and_after() {
        let before = CpuFingerprint {
            kernel: "6.1".to_owned(),
            kvm: [("kvm_intel.nested".to_owned(), "N".to_owned())].into(),
            ..CpuFingerprint::default()
        };
        assert_eq!(changes(&before, &before), Vec::<String>::new());
        let mut after = before.clone();
        after.microcode = Some("0x2".to_owned());
        after.kvm = [("kvm_intel.nested".to_owned(), "Y".to_owned())].into();
        assert_eq!(
            changes(&before, &after),
            ["microcode: none -> 0x2", "kvm_intel.nested: N -> Y"]
        );
    }

    #[test]
    fn a_guest_is_trapped_when_no_way_out_takes_it() {
        let group = [host_id(1), host_id(2), host_id(3)];
        let lacks = CpuFit::Lacks { features: vec!["hle".to_owned()], said: String::new() };
        let guest = guest_id(1);
        let answers =
            BTreeMap::from([((guest, host_id(2)), CpuFit::Fits), ((guest, host_id(3)), lacks)]);
        for (what_if, trapped) in [
            (WhatIf::AsItIs, false),
            (WhatIf::Without(host_id(2)), true),
            (WhatIf::Without(host_id(3)), false),
            (WhatIf::LikeHost(host_id(2)), false),
            (WhatIf::LikeHost(host_id(3)), true),
        ] {
            let ways = ways_out(&group, host_id(1), what_if);
            assert_eq!(is_trapped(&answers, guest, &ways), trapped, "{what_if:?}");
        }
        assert!(is_trapped(&answers, guest, &[]), "a host alone");
    }
}
