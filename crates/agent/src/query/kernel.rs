//! What the kernel tells of CPUs and huge pages.

use std::collections::BTreeMap;
use std::path::Path;

use drover_model::FreePages;

/// KVM's modules that decide about CPU features.
const KVM_MODULES: [&str; 3] = ["kvm", "kvm_intel", "kvm_amd"];

/// Words of the kernel's command line that switch CPU features on or off. The rest of the line
/// (root device, console) differs from host to host and means nothing here.
const CPU_OPTIONS: [&str; 14] = [
    "mitigations",
    "tsx",
    "tsx_async_abort",
    "clearcpuid",
    "nosmap",
    "nosmep",
    "nopku",
    "nox2apic",
    "noxsave",
    "nopcid",
    "la57",
    "no5lvl",
    "split_lock_detect",
    "kvm",
];

/// Free huge pages of every size.
pub(super) fn free_huge_pages() -> Vec<FreePages> {
    pages(Path::new("/sys/kernel/mm/hugepages"))
}

fn pages(directory: &Path) -> Vec<FreePages> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<FreePages> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let size = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            let free = std::fs::read_to_string(entry.path().join("free_hugepages")).ok()?;
            Some(FreePages { size_kib: size.parse().ok()?, free: free.trim().parse().ok()? })
        })
        .collect();
    found.sort_unstable_by_key(|pages| pages.size_kib);
    found
}

/// Parameters of KVM's modules; empty without KVM.
pub(super) fn kvm_parameters(modules: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for module in KVM_MODULES {
        let Ok(entries) = std::fs::read_dir(modules.join(module).join("parameters")) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            // Some can only be written.
            if let (Ok(value), Ok(name)) =
                (std::fs::read_to_string(entry.path()), entry.file_name().into_string())
            {
                all.insert(format!("{module}.{name}"), value.trim().to_owned());
            }
        }
    }
    all
}

/// The kernel's options that concern the CPU.
pub(super) fn options() -> String {
    cpu_options(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default())
}

fn cpu_options(line: &str) -> String {
    let concerns = |word: &&str| {
        let name = word.split(['=', '.']).next().unwrap_or_default();
        CPU_OPTIONS.contains(&name) || name.starts_with("kvm_") || name.starts_with("spec")
    };
    line.split_whitespace().filter(concerns).collect::<Vec<&str>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_about_the_cpu_are_picked() {
        let line = "root=/dev/sda1 mitigations=off console=ttyS0 kvm_intel.nested=1 tsx=on quiet";
        assert_eq!(cpu_options(line), "mitigations=off kvm_intel.nested=1 tsx=on");
        assert_eq!(cpu_options(""), "");
    }

    #[test]
    fn parameters_and_pages_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("kvm_intel/parameters/nested", "Y\n");
        write("other/parameters/x", "1\n");
        write("hugepages-1048576kB/free_hugepages", "3\n");
        write("hugepages-2048kB/free_hugepages", "0\n");
        let parameters = kvm_parameters(dir.path());
        assert_eq!(parameters, [("kvm_intel.nested".to_owned(), "Y".to_owned())].into());
        let sizes = pages(dir.path());
        assert_eq!(sizes[0], FreePages { size_kib: 2048, free: 0 });
        assert_eq!(sizes[1], FreePages { size_kib: 1_048_576, free: 3 });
        assert_eq!(pages(Path::new("/no/such")), []);
    }
}
