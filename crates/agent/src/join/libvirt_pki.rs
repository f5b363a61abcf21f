//! libvirt's TLS files, from the certificate that the host got when it joined: so hosts
//! trust each other's libvirtd for as long as they are of one cluster.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::durable;
use crate::identity::Identity;

/// Where libvirt looks for its TLS files.
pub const DEFAULT_ROOT: &str = "/etc/pki";

/// What to do when some of the files are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Write none: a mix of two CAs' files works for nobody.
    Keep,
    /// Replace them.
    Replace,
}

/// libvirt's TLS files below one directory.
#[derive(Debug)]
pub struct LibvirtPki {
    root: PathBuf,
}

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// Files that were there and were left alone; then none was written.
    pub kept: Vec<PathBuf>,
}

struct PkiFile<'a> {
    path: PathBuf,
    contents: &'a str,
    mode: u32,
}

impl LibvirtPki {
    /// The files below `root`.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Writes all of them, or none if one is there and is to be kept.
    pub fn write(&self, identity: &Identity, existing: Existing) -> Result<Written> {
        let files = self.files(identity);
        let kept: Vec<PathBuf> =
            files.iter().map(|file| &file.path).filter(|path| path.exists()).cloned().collect();
        if existing == Existing::Keep && !kept.is_empty() {
            return Ok(Written { written: Vec::new(), kept });
        }
        for file in &files {
            file.write().with_context(|| format!("cannot write {}", file.path.display()))?;
        }
        Ok(Written { written: files.into_iter().map(|file| file.path).collect(), kept: Vec::new() })
    }

    fn files<'a>(&self, identity: &'a Identity) -> [PkiFile<'a>; 5] {
        let public =
            |path: &str, contents| PkiFile { path: self.root.join(path), contents, mode: 0o644 };
        let private =
            |path: &str, contents| PkiFile { path: self.root.join(path), contents, mode: 0o600 };
        [
            public("CA/cacert.pem", identity.ca_pem.as_str()),
            public("libvirt/servercert.pem", &identity.certificate_pem),
            private("libvirt/private/serverkey.pem", &identity.key_pem),
            public("libvirt/clientcert.pem", &identity.certificate_pem),
            private("libvirt/private/clientkey.pem", &identity.key_pem),
        ]
    }
}

impl PkiFile<'_> {
    fn write(&self) -> std::io::Result<()> {
        if let Some(directory) = self.path.parent() {
            let mode = if self.mode == 0o600 { 0o750 } else { 0o755 };
            DirBuilder::new().recursive(true).mode(mode).create(directory)?;
        }
        durable::replace(&self.path, self.contents.as_bytes(), self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Card;
    use drover_model::HostId;

    fn identity(ca: &str) -> Identity {
        Identity {
            card: Card {
                host_id: HostId::from_u128(1),
                host_name: "h".to_owned(),
                agent_url: String::new(),
            },
            key_pem: "key".to_owned(),
            certificate_pem: "certificate".to_owned(),
            ca_pem: ca.to_owned(),
        }
    }

    #[test]
    fn files_of_the_administrator_are_kept_unless_told_otherwise() {
        let root = tempfile::tempdir().unwrap();
        let pki = LibvirtPki::below(root.path());
        let done = pki.write(&identity("one"), Existing::Keep).unwrap();
        assert_eq!((done.written.len(), done.kept.len()), (5, 0));
        let done = pki.write(&identity("two"), Existing::Keep).unwrap();
        assert_eq!((done.written.len(), done.kept.len()), (0, 5));
        let ca = root.path().join("CA/cacert.pem");
        assert_eq!(std::fs::read_to_string(&ca).unwrap(), "one");
        pki.write(&identity("two"), Existing::Replace).unwrap();
        assert_eq!(std::fs::read_to_string(&ca).unwrap(), "two");
    }
}
