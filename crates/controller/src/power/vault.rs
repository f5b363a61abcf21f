//! Seals passwords before they are stored.
//!
//! ChaCha20-Poly1305 (RFC 8439) with a random nonce for each seal. What the secret is and whose
//! is authenticated with it, so that a sealed password moved to another host's record does not
//! open. The key is in a file of its own, never in the database: a copy of the database alone
//! tells nothing.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use drover_model::HostId;
use drover_ports::Secret;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::files;
use crate::records::Sealed;

/// The key's file in the state directory.
pub const KEY_FILE: &str = "secrets.key";
/// 256 bits.
const KEY_LEN: usize = 32;
/// Longer, a file is no key: it is not read to its end.
const MAX_KEY_FILE: u64 = 1024;

/// Which secret of a host it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// The password of its BMC.
    BmcPassword,
    /// The password of its network card.
    SecureOn,
}

impl SecretKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BmcPassword => "bmc-password",
            Self::SecureOn => "secure-on",
        }
    }

    fn of(self, host: HostId) -> Vec<u8> {
        format!("drover:{}:{host}", self.as_str()).into_bytes()
    }
}

/// Why a secret could not be sealed or opened. Texts never contain it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key is gone.
    #[error("{0} is missing: restore it from a backup, or set the password anew")]
    NoKey(PathBuf),
    /// The key can be read by others.
    #[error("{0} can be read by others: `chmod 600` it, and set the passwords anew if they had it")]
    Exposed(PathBuf),
    /// The file is no key.
    #[error("{0} is not 64 hex digits: restore it from a backup")]
    NoHex(PathBuf),
    /// The file cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// Another key, another host, or changed.
    #[error("the stored password does not open with this secrets.key: set it anew")]
    Sealed,
    /// The system gives no randomness.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

/// Seals and opens.
pub struct Vault {
    path: PathBuf,
    key: Mutex<Option<LessSafeKey>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Vault {
    /// A vault whose key is in this directory, made when the first secret is sealed.
    pub fn in_dir(dir: &Path) -> Self {
        Self { path: dir.join(KEY_FILE), key: Mutex::new(None) }
    }

    /// Seals a secret of a host.
    pub fn seal(
        &self,
        kind: SecretKind,
        host: HostId,
        secret: &Secret,
    ) -> Result<Sealed, VaultError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| VaultError::NoRandomness)?;
        let mut bytes = secret.reveal().as_bytes().to_vec();
        self.with_key(IfMissing::Make, |key| {
            let unique = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(unique, Aad::from(kind.of(host)), &mut bytes)
                .map_err(|_| VaultError::Sealed)
        })?;
        Ok(Sealed { nonce: hex(&nonce), sealed: hex(&bytes) })
    }

    /// Opens what was sealed for this host.
    pub fn open(
        &self,
        kind: SecretKind,
        host: HostId,
        sealed: &Sealed,
    ) -> Result<Secret, VaultError> {
        let nonce = unhex(&sealed.nonce).and_then(|bytes| <[u8; NONCE_LEN]>::try_from(bytes).ok());
        let (Some(nonce), Some(mut bytes)) = (nonce, unhex(&sealed.sealed)) else {
            return Err(VaultError::Sealed);
        };
        self.with_key(IfMissing::Fail, |key| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let plain = key
                .open_in_place(nonce, Aad::from(kind.of(host)), &mut bytes)
                .map_err(|_| VaultError::Sealed)?;
            let text = String::from_utf8(plain.to_vec()).map_err(|_| VaultError::Sealed)?;
            Ok(Secret::new(text))
        })
    }

    fn with_key<T>(
        &self,
        if_missing: IfMissing,
        work: impl FnOnce(&LessSafeKey) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut held = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            let bytes = match self.read()? {
                Some(bytes) => bytes,
                None if if_missing == IfMissing::Make => self.make()?,
                None => return Err(VaultError::NoKey(self.path.clone())),
            };
            let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes);
            *held = Some(LessSafeKey::new(key.map_err(|_| VaultError::NoHex(self.path.clone()))?));
        }
        let key = held.as_ref().ok_or_else(|| VaultError::NoKey(self.path.clone()))?;
        work(key)
    }

    fn read(&self) -> Result<Option<Vec<u8>>, VaultError> {
        let file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.file(&error)),
        };
        let mode = file.metadata().map_err(|error| self.file(&error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(VaultError::Exposed(self.path.clone()));
        }
        let mut text = String::new();
        file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(|error| self.file(&error))?;
        let bytes = unhex(text.trim()).filter(|bytes| bytes.len() == KEY_LEN);
        bytes.map(Some).ok_or_else(|| VaultError::NoHex(self.path.clone()))
    }

    fn make(&self) -> Result<Vec<u8>, VaultError> {
        let mut bytes = vec![0; KEY_LEN];
        SystemRandom::new().fill(&mut bytes).map_err(|_| VaultError::NoRandomness)?;
        let text = format!("{}\n", hex(&bytes));
        files::write_private(&self.path, text.as_bytes()).map_err(|error| VaultError::File {
            path: self.path.clone(),
            cause: format!("{error:#}"),
        })?;
        Ok(bytes)
    }

    fn file(&self, error: &std::io::Error) -> VaultError {
        VaultError::File { path: self.path.clone(), cause: error.to_string() }
    }
}

/// What is done where there is no key yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfMissing {
    Make,
    Fail,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostId = HostId::from_u128(1);
    const KIND: SecretKind = SecretKind::BmcPassword;

    #[test]
    fn what_is_sealed_opens_for_its_host_and_purpose_only() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::in_dir(dir.path());
        let sealed = vault.seal(KIND, HOST, &Secret::new("calvin")).unwrap();
        let again = vault.seal(KIND, HOST, &Secret::new("calvin")).unwrap();
        assert_ne!(sealed, again, "every seal has its own nonce");
        let later = Vault::in_dir(dir.path());
        assert_eq!(later.open(KIND, HOST, &sealed).unwrap(), Secret::new("calvin"));
        let foreign = later.open(KIND, HostId::from_u128(2), &sealed);
        assert!(matches!(foreign, Err(VaultError::Sealed)));
        let other = later.open(SecretKind::SecureOn, HOST, &sealed);
        assert!(matches!(other, Err(VaultError::Sealed)));
        let text = serde_json::to_string(&sealed).unwrap();
        assert!(!text.contains("calvin") && !text.contains(&hex(b"calvin")), "{text}");
        assert_eq!(format!("{sealed:?}"), "Sealed(…)");
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_never_in_place_of_a_lost_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        let vault = Vault::in_dir(dir.path());
        let sealed = vault.seal(KIND, HOST, &Secret::new("x")).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = Vault::in_dir(dir.path()).open(KIND, HOST, &sealed);
        assert!(matches!(exposed, Err(VaultError::Exposed(_))));
        std::fs::remove_file(&path).unwrap();
        let lost = Vault::in_dir(dir.path()).open(KIND, HOST, &sealed);
        assert!(matches!(lost, Err(VaultError::NoKey(_))));
        assert!(!path.exists(), "opening makes no key");
        std::fs::write(&path, "not a key").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let spoilt = Vault::in_dir(dir.path()).open(KIND, HOST, &sealed);
        assert!(matches!(spoilt, Err(VaultError::NoHex(_))));
    }
}
