//! Where the controller is and who we are: flags, then environment, then file.

use std::path::PathBuf;

use drover_api::client::ClientConfig;
use drover_api::{Problem, ProblemKind};
use serde::Deserialize;

/// `~/.config/drover/config.toml`; droverd writes its admin.toml in the same form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    url: Option<String>,
    token: Option<String>,
    ca_pem: Option<String>,
    ca_file: Option<PathBuf>,
}

/// What the file holds.
const FORM: &str = "it holds url, token, and ca_file or ca_pem, as droverd's admin.toml does";

/// What the flags and the environment say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
}

/// The file that is read when none is named.
pub(crate) fn default_path() -> PathBuf {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    home.unwrap_or_default().join("drover/config.toml")
}

/// Puts it all together.
pub(crate) fn load(given: &Given) -> Result<ClientConfig, Problem> {
    let path = given.config.clone().unwrap_or_else(default_path);
    let file = read(&path, given.config.is_some())?;
    let ca_file = given.ca_file.clone().or(file.ca_file);
    let ca_pem = match ca_file {
        Some(path) => Some(std::fs::read_to_string(&path).map_err(|error| {
            bad(format!("the CA file {} cannot be read: {error}", path.display()))
                .hint("it is droverd's ca.crt, in its state directory")
        })?),
        None => file.ca_pem,
    };
    let url = given.url.clone().or(file.url).ok_or_else(|| {
        bad("no controller is configured".to_owned()).hint(format!(
            "set DROVER_URL and DROVER_TOKEN, or write url, token and ca_file to {}",
            path.display()
        ))
    })?;
    Ok(ClientConfig { url, token: given.token.clone().or(file.token), ca_pem })
}

fn read(path: &PathBuf, named: bool) -> Result<File, Problem> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            warn_if_open(path);
            toml::from_str(&text).map_err(|error| {
                bad(format!("{} is unreadable: {}", path.display(), error.message())).hint(FORM)
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => Ok(File::default()),
        Err(error) => Err(bad(format!("{} cannot be read: {error}", path.display())).hint(FORM)),
    }
}

fn warn_if_open(path: &PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
    if open {
        eprintln!("warning: {} can be read by others; chmod 600 it", path.display());
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}
