//! RAPL's energy counters by the kernel's power capping framework.
//!
//! `/sys/class/powercap` lists zones (Documentation/power/powercap/powercap.rst):
//! `intel-rapl:N` is a package or the platform, `intel-rapl:N:M` a part of it. AMD's counters
//! have the same names. `core` and `uncore` are parts of their package and are not added to it;
//! `dram` is beside it. The same package may be told a second time by memory-mapped registers
//! (`intel-rapl-mmio:N`): the first that can be read counts.
//!
//! Since Linux 5.10 only root may read the counters (CVE-2020-8694: they tell secrets of other
//! processes).

use std::path::Path;

use super::{Counter, Counters, entries, number, text};

/// The counters, by what they count.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rapl {
    /// CPU packages, e.g. `package-0`; a package of several dies has one for each.
    pub packages: Counters,
    /// Memory, e.g. `package-0/dram`.
    pub memory: Counters,
    /// The platform.
    pub platform: Counters,
}

/// Who tells a zone, the preferred first.
const CONTROLS: [&str; 2] = ["intel-rapl", "intel-rapl-mmio"];

/// What psys is called as a zone.
const PLATFORM: &str = "psys";

impl Rapl {
    /// Reads `/sys/class/powercap`. What cannot be read is absent.
    pub(super) fn read(class: &Path) -> Self {
        let mut rapl = Self::default();
        let all = entries(class);
        for control in CONTROLS {
            let before = rapl.names();
            for zone in all.iter().filter(|zone| is_zone(zone, control)) {
                rapl.add(class, zone, &before);
            }
        }
        rapl
    }

    /// Packages and memory: together what RAPL sees of the machine.
    pub(super) fn packages_and_memory(&self) -> Counters {
        self.packages.iter().chain(&self.memory).map(|(name, at)| (name.clone(), *at)).collect()
    }

    fn names(&self) -> Vec<String> {
        let all = self.packages.keys().chain(self.memory.keys()).chain(self.platform.keys());
        all.cloned().collect()
    }

    /// `told` names what another control has told already.
    fn add(&mut self, class: &Path, zone: &str, told: &[String]) {
        let directory = class.join(zone);
        let Some(name) = text(&directory.join("name")) else { return };
        let parent = zone.rsplit_once(':').map(|(parent, _)| parent);
        let parent = parent.filter(|parent| parent.contains(':'));
        let (kind, key) = match parent {
            None if name.starts_with("package") => (&mut self.packages, name),
            None if name == PLATFORM => (&mut self.platform, name),
            Some(parent) if name == "dram" => {
                let above = text(&class.join(parent).join("name"));
                (&mut self.memory, format!("{}/dram", above.as_deref().unwrap_or(parent)))
            }
            _ => return,
        };
        let Some(counter) = counter(&directory).filter(|_| !told.contains(&key)) else { return };
        // A platform that is not wired counts nothing.
        if key == PLATFORM && counter.energy_uj == 0 {
            return;
        }
        // Two zones of one control and one name are two parts.
        let key = if kind.contains_key(&key) { format!("{key} {zone}") } else { key };
        kind.insert(key, counter);
    }
}

fn counter(zone: &Path) -> Option<Counter> {
    let energy_uj = number(&zone.join("energy_uj"))?;
    Some(Counter { energy_uj, range_uj: number(&zone.join("max_energy_range_uj")).unwrap_or(0) })
}

/// `intel-rapl:0` and `intel-rapl:0:1` are zones of `intel-rapl`.
fn is_zone(entry: &str, control: &str) -> bool {
    let rest = entry.strip_prefix(control).and_then(|rest| rest.strip_prefix(':'));
    rest.is_some_and(|rest| {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        rest.split(':').all(is_number) && rest.split(':').count() <= 2
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::write;
    use super::*;

    /// Name and energy.
    type Counted = &'static [(&'static str, u64)];

    /// (zone, name, energy, range)
    type Zone = (&'static str, &'static str, &'static str, &'static str);

    fn tree(zones: &[Zone]) -> tempfile::TempDir {
        let class = tempfile::tempdir().unwrap();
        for (zone, name, energy, range) in zones {
            write(class.path(), &[(&format!("{zone}/name"), name)]);
            if !energy.is_empty() {
                write(class.path(), &[(&format!("{zone}/energy_uj"), energy)]);
            }
            write(class.path(), &[(&format!("{zone}/max_energy_range_uj"), range)]);
        }
        class
    }

    fn shown(counters: &Counters) -> Vec<(String, u64)> {
        counters.iter().map(|(name, at)| (name.clone(), at.energy_uj)).collect()
    }

    /// What a machine tells, and which packages, memory and platform are made of it.
    #[test]
    fn every_joule_is_counted_once() {
        const R: &str = "262143328850";
        let cases: &[(&str, &[Zone], Counted, Counted, Counted)] = &[
            (
                "a desktop with the platform and a second view of the package",
                &[
                    ("intel-rapl", "", "", ""),
                    ("intel-rapl:0", "package-0", "100", R),
                    ("intel-rapl:0:0", "core", "60", R),
                    ("intel-rapl:0:1", "uncore", "10", R),
                    ("intel-rapl:0:2", "dram", "7", R),
                    ("intel-rapl:1", "psys", "150", R),
                    ("intel-rapl-mmio:0", "package-0", "101", R),
                    ("intel-rapl-mmio:0:0", "dram", "7", R),
                ],
                &[("package-0", 100)],
                &[("package-0/dram", 7)],
                &[("psys", 150)],
            ),
            (
                "two sockets, one of two dies",
                &[
                    ("intel-rapl:0", "package-0-die-0", "1", R),
                    ("intel-rapl:1", "package-0-die-1", "2", R),
                    ("intel-rapl:2", "package-1", "4", R),
                    ("intel-rapl:2:0", "dram", "8", "65712999613"),
                ],
                &[("package-0-die-0", 1), ("package-0-die-1", 2), ("package-1", 4)],
                &[("package-1/dram", 8)],
                &[],
            ),
            (
                "AMD",
                &[("intel-rapl:0", "package-0", "5", R), ("intel-rapl:0:0", "core", "3", R)],
                &[("package-0", 5)],
                &[],
                &[],
            ),
            (
                "only the second view can be read",
                &[("intel-rapl:0", "package-0", "", R), ("intel-rapl-mmio:0", "package-0", "9", R)],
                &[("package-0", 9)],
                &[],
                &[],
            ),
            (
                "a platform that counts nothing",
                &[("intel-rapl:0", "package-0", "5", R), ("intel-rapl:1", "psys", "0", R)],
                &[("package-0", 5)],
                &[],
                &[],
            ),
            ("not root", &[("intel-rapl:0", "package-0", "", R)], &[], &[], &[]),
            ("another framework", &[("dtpm:0", "soc", "5", R)], &[], &[], &[]),
        ];
        for (machine, zones, packages, memory, platform) in cases {
            let class = tree(zones);
            let rapl = Rapl::read(class.path());
            let expected = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
                list.iter().map(|(name, energy)| ((*name).to_owned(), *energy)).collect()
            };
            assert_eq!(shown(&rapl.packages), expected(packages), "{machine}");
            assert_eq!(shown(&rapl.memory), expected(memory), "{machine}");
            assert_eq!(shown(&rapl.platform), expected(platform), "{machine}");
        }
        assert_eq!(Rapl::read(Path::new("/no/such")), Rapl::default());
    }

    #[test]
    fn the_range_is_each_counters_own() {
        let class = tree(&[("intel-rapl:0", "package-0", "5", "7")]);
        let rapl = Rapl::read(class.path());
        assert_eq!(rapl.packages["package-0"], Counter { energy_uj: 5, range_uj: 7 });
        std::fs::remove_file(class.path().join("intel-rapl:0/max_energy_range_uj")).unwrap();
        assert_eq!(Rapl::read(class.path()).packages["package-0"].range_uj, 0);
    }
}
