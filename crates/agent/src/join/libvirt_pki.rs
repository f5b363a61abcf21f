//! libvirt's and QEMU's TLS files, from the certificate that the host got when it joined: so
//! hosts trust each other's libvirtd, and guests travel encrypted, for as long as the hosts
//! are of one cluster.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::durable;
use crate::identity::Identity;

/// Where libvirt looks for its TLS files, and QEMU below `qemu`.
pub const DEFAULT_ROOT: &str = "/etc/pki";

/// Belongs to the group that QEMU runs as, which has to read QEMU's key.
const QEMU_DIRECTORY: &str = "/var/lib/libvirt/qemu";

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
    group: Option<u32>,
}

impl LibvirtPki {
    /// The files below `root`.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Writes all of libvirt's, or none if one is there and is to be kept; then QEMU's the
    /// same way.
    pub fn write(&self, identity: &Identity, existing: Existing) -> Result<Written> {
        let mut done = Written::default();
        for files in [self.for_libvirt(identity), self.for_qemu(identity)] {
            let there = files.iter().map(|file| &file.path).filter(|path| path.exists());
            let kept: Vec<PathBuf> = there.cloned().collect();
            if existing == Existing::Keep && !kept.is_empty() {
                done.kept.extend(kept);
                continue;
            }
            for file in files {
                file.write().with_context(|| format!("cannot write {}", file.path.display()))?;
                done.written.push(file.path);
            }
        }
        Ok(done)
    }

    fn for_libvirt<'a>(&self, identity: &'a Identity) -> [PkiFile<'a>; 5] {
        let file = |path: &str, contents, mode| PkiFile {
            path: self.root.join(path),
            contents,
            mode,
            group: None,
        };
        [
            file("CA/cacert.pem", identity.ca_pem.as_str(), 0o644),
            file("libvirt/servercert.pem", &identity.certificate_pem, 0o644),
            file("libvirt/private/serverkey.pem", &identity.key_pem, 0o600),
            file("libvirt/clientcert.pem", &identity.certificate_pem, 0o644),
            file("libvirt/private/clientkey.pem", &identity.key_pem, 0o600),
        ]
    }

    /// Names by QEMU's documentation of x509 credentials.
    fn for_qemu<'a>(&self, identity: &'a Identity) -> [PkiFile<'a>; 5] {
        let group = std::fs::metadata(QEMU_DIRECTORY).ok().map(|directory| directory.gid());
        let public = |name: &str, contents| PkiFile {
            path: self.root.join("qemu").join(name),
            contents,
            mode: 0o644,
            group: None,
        };
        let private =
            |name: &str, contents| PkiFile { mode: 0o640, group, ..public(name, contents) };
        [
            public("ca-cert.pem", identity.ca_pem.as_str()),
            public("server-cert.pem", &identity.certificate_pem),
            private("server-key.pem", &identity.key_pem),
            public("client-cert.pem", &identity.certificate_pem),
            private("client-key.pem", &identity.key_pem),
        ]
    }
}

/// Whether QEMU finds what it needs to send and to receive encrypted below this root.
pub fn qemu_is_ready(root: &Path) -> bool {
    ["ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"]
        .iter()
        .all(|name| root.join("qemu").join(name).is_file())
}

impl PkiFile<'_> {
    fn write(&self) -> std::io::Result<()> {
        if let Some(directory) = self.path.parent() {
            let mode = if self.mode == 0o600 { 0o750 } else { 0o755 };
            DirBuilder::new().recursive(true).mode(mode).create(directory)?;
        }
        // Readable by a group only once it is the right one.
        let before = if self.group.is_some() { 0o600 } else { self.mode };
        durable::replace(&self.path, self.contents.as_bytes(), before)?;
        if let Some(group) = self.group {
            chown(&self.path, None, Some(group))?;
            std::fs::set_permissions(&self.path, Permissions::from_mode(self.mode))?;
        }
        Ok(())
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
        assert_eq!((done.written.len(), done.kept.len()), (10, 0));
        assert!(qemu_is_ready(root.path()));
        let done = pki.write(&identity("two"), Existing::Keep).unwrap();
        assert_eq!((done.written.len(), done.kept.len()), (0, 10));
        let ca = root.path().join("CA/cacert.pem");
        assert_eq!(std::fs::read_to_string(&ca).unwrap(), "one");
        pki.write(&identity("two"), Existing::Replace).unwrap();
        assert_eq!(std::fs::read_to_string(&ca).unwrap(), "two");
        std::fs::remove_dir_all(root.path().join("qemu")).unwrap();
        assert!(!qemu_is_ready(root.path()));
        let done = pki.write(&identity("three"), Existing::Keep).unwrap();
        assert_eq!((done.written.len(), done.kept.len()), (5, 5), "QEMU's had been missing");
    }
}
