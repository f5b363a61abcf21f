//! Limits on files, and names that may appear in one place only.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Longest file: beyond it one idea has become two.
const MAX_LINES: usize = 700;

/// A text, the only files that may contain it (by the end of their path), and why.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    (
        "use drover_adapter_",
        &[
            "/wiring.rs",
            "adapter-libvirt/tests/soak.rs",
            "adapter-sqlite/tests/durability.rs",
            "lab/tests/stories/hypervisor.rs",
            "lab/tests/stories/bmc.rs",
            "adapter-power/tests/redfish.rs",
            "/tests/contract.rs",
        ],
        "concrete adapters are named in wiring.rs only",
    ),
    (
        "allow(unsafe_code",
        &["adapter-libvirt/src/connection/mod.rs"],
        "unsafe code lives in the libvirt connection only",
    ),
];

/// A text that only tests may contain, where it may not, and why.
const ONLY_IN_TESTS: &[(&str, &str, &str)] = &[(
    "txn.put(",
    "crates/controller/src/",
    "a write says what it was decided on: `Txn::change`, `add` or `replace`",
)];

pub(crate) fn check() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
    let mut files = Vec::new();
    for dir in ["crates", "xtask/src"] {
        collect(&root.join(dir), &mut files)?;
    }
    let mut wrong = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path)?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{shown} has {lines} lines, at most {MAX_LINES}"));
        }
        if shown.ends_with("xtask/src/tidy.rs") {
            continue;
        }
        for (needle, allowed, why) in ONLY_IN {
            if text.contains(needle) && !allowed.iter().any(|end| shown.ends_with(end)) {
                wrong.push(format!("{shown} contains `{needle}`: {why}"));
            }
        }
        for (needle, under, why) in ONLY_IN_TESTS {
            if shown.starts_with(under) && !is_of_tests(&shown) && program(&text).contains(needle) {
                wrong.push(format!("{shown} contains `{needle}`: {why}"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("tidy:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

fn is_of_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// A file without the tests at its end.
fn program(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_at_the_end_of_a_file_are_not_the_program() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    txn.put(b);\n}\n";
        assert_eq!(program(text), "fn a() {}\n");
        assert!(is_of_tests("crates/controller/src/records/tests.rs"));
        assert!(!is_of_tests("crates/controller/src/tests_of_time.rs"));
    }
}
