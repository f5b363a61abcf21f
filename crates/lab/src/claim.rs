//! One lab of a name on a machine: namespaces are called after it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::Lab;
use crate::spec::LabSpec;

/// Gone with the machine's next start, as the namespaces are.
const CLAIMS: &str = "/run/drover-lab";

fn path(name: &str) -> PathBuf {
    Path::new(CLAIMS).join(name)
}

/// Takes the name for the lab's directory; fails when a lab in another one has it.
pub(crate) fn take(spec: &LabSpec) -> anyhow::Result<()> {
    let path = path(&spec.name);
    if let Ok(holder) = std::fs::read_to_string(&path) {
        let holder = PathBuf::from(holder);
        let lives = Lab::open(&holder).is_ok_and(|lab| lab.spec().name == spec.name);
        ensure!(
            holder == spec.dir || !lives,
            "a lab called `{}` runs from {} already: take it down first \
             (drover-lab --dir {} down), or give this one another name",
            spec.name,
            holder.display(),
            holder.display()
        );
    }
    std::fs::create_dir_all(CLAIMS).with_context(|| format!("create {CLAIMS}"))?;
    std::fs::write(&path, spec.dir.as_os_str().as_encoded_bytes())
        .with_context(|| format!("write {}", path.display()))
}

/// Gives the name back.
pub(crate) fn release(spec: &LabSpec) {
    let path = path(&spec.name);
    if std::fs::read_to_string(&path).is_ok_and(|holder| Path::new(&holder) == spec.dir) {
        let _ = std::fs::remove_file(&path);
        // The last one takes the directory with it.
        let _ = std::fs::remove_dir(CLAIMS);
    }
}
