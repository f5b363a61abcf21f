//! What a host got when it joined: its name, key and certificate, and whom to trust.
//!
//! ```text
//! <state_dir>/identity -> identity.<random>      replaced in one step
//! <state_dir>/identity.<random>/key.pem           0600
//!                               certificate.pem
//!                               ca.pem
//!                               agent.json        host id, host name, agent URL
//! ```

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use drover_model::HostId;
use serde::{Deserialize, Serialize};

use crate::{durable, random};

const LINK: &str = "identity";

/// What a host got when it joined.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who, and where to dial.
    pub card: Card,
    /// Private key, PEM.
    pub key_pem: String,
    /// Certificate, PEM.
    pub certificate_pem: String,
    /// The only CA to trust, PEM.
    pub ca_pem: String,
}

/// The part of an identity that is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// libvirt's host UUID at the time of joining.
    pub host_id: HostId,
    /// The host's name in the cluster.
    pub host_name: String,
    /// Where the controller takes agents' sessions.
    pub agent_url: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("card", &self.card).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the identity of a host that has joined.
    pub fn load(state_dir: &Path) -> Result<Self> {
        let directory = state_dir.join(LINK);
        if !directory.exists() {
            bail!(
                "this host has not joined a cluster ({} does not exist)\n\
                 hint: make a join token at the controller and run the command that it prints",
                directory.display()
            );
        }
        let read = |name: &str| {
            let path = directory.join(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self {
            card: serde_json::from_str(&read("agent.json")?)
                .context("agent.json is damaged; join again")?,
            key_pem: read("key.pem")?,
            certificate_pem: read("certificate.pem")?,
            ca_pem: read("ca.pem")?,
        })
    }

    /// Makes this the host's identity in one step; the old one is removed.
    pub fn store(&self, state_dir: &Path) -> Result<()> {
        self.store_files(state_dir)
            .with_context(|| format!("cannot store the identity below {}", state_dir.display()))
    }

    fn store_files(&self, state_dir: &Path) -> io::Result<()> {
        create_private(state_dir)?;
        let fresh = format!("{LINK}.{}", random::hex(8));
        let directory = state_dir.join(&fresh);
        create_private(&directory)?;
        let card = serde_json::to_vec_pretty(&self.card)?;
        durable::replace(&directory.join("key.pem"), self.key_pem.as_bytes(), 0o600)?;
        durable::replace(
            &directory.join("certificate.pem"),
            self.certificate_pem.as_bytes(),
            0o644,
        )?;
        durable::replace(&directory.join("ca.pem"), self.ca_pem.as_bytes(), 0o644)?;
        durable::replace(&directory.join("agent.json"), &card, 0o644)?;
        let link = state_dir.join(format!("{LINK}.link"));
        let _ = std::fs::remove_file(&link);
        symlink(&fresh, &link)?;
        std::fs::rename(&link, state_dir.join(LINK))?;
        durable::sync_directory(state_dir)?;
        remove_old(state_dir, &fresh)
    }
}

/// Creates a directory that only its owner may enter; it may exist.
pub fn create_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn remove_old(state_dir: &Path, keep: &str) -> io::Result<()> {
    let prefix = format!("{LINK}.");
    let old: Vec<PathBuf> = std::fs::read_dir(state_dir)?
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&prefix) && name != keep
        })
        .map(|entry| entry.path())
        .collect();
    old.iter().try_for_each(std::fs::remove_dir_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity {
            card: Card {
                host_id: HostId::from_u128(1),
                host_name: name.to_owned(),
                agent_url: "https://c:7441".to_owned(),
            },
            key_pem: "SECRET".to_owned(),
            certificate_pem: "cert".to_owned(),
            ca_pem: "ca".to_owned(),
        }
    }

    #[test]
    fn joining_again_replaces_the_identity_and_leaves_no_old_key() {
        let directory = tempfile::tempdir().unwrap();
        let error = Identity::load(directory.path()).unwrap_err().to_string();
        assert!(error.contains("has not joined"), "{error}");
        for name in ["a", "b"] {
            identity(name).store(directory.path()).unwrap();
            assert_eq!(Identity::load(directory.path()).unwrap(), identity(name));
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_key_is_not_shown() {
        assert!(!format!("{:?}", identity("a")).contains("SECRET"));
    }
}
