//! `drover host power` and `drover host reserve`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use drover_api::v1::{self, SetHostPower};
use drover_api::{Problem, ProblemKind};

use super::wait::patiently;
use super::{Context, Done, problem, secret};
use crate::{output, show};

/// With `--watch`, the host is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// See [`super::host::Command::Power`].
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Power {
    #[command(subcommand)]
    command: Option<Command>,
    /// Name or id.
    #[arg(required = true)]
    host: Option<String>,
    /// Follow it: a line every two seconds.
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say how a host is woken and whether it may be parked; what is left out stays.
    Set(Box<Set>),
}

/// See [`Command::Set`].
#[derive(Debug, Args)]
struct Set {
    /// Name or id.
    host: String,
    #[command(flatten)]
    wanted: Wanted,
}

/// At least one of them: a command that changes nothing is a mistake.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Wanted {
    /// Way to wake it; may be repeated, in order. `any` means all that are known.
    #[arg(long, value_enum)]
    method: Vec<Method>,
    /// Network card that wakes it, as 52:54:00:12:34:56; may be repeated. `any` means those that
    /// say that they do.
    #[arg(long)]
    mac: Vec<String>,
    /// Directed broadcast address of its network, as 10.1.0.255, for when no awake host is in it;
    /// may be repeated. `none` takes them away.
    #[arg(long)]
    broadcast: Vec<String>,
    /// UDP port of magic packets, 7 or 9; 9 at first.
    #[arg(long)]
    port: Option<u16>,
    /// File with the SecureOn password of its card: six pairs of hex digits, or four numbers as
    /// in 10.0.0.1; `-` is standard input. An empty file takes it away.
    #[arg(long, value_name = "FILE")]
    secure_on_file: Option<PathBuf>,
    /// Tries of a wake, 1 to 100; 12 at first.
    #[arg(long)]
    tries: Option<u32>,
    /// Between two tries, 1s to 10m; 10s at first.
    #[arg(long)]
    pause: Option<String>,
    /// Whether each pause is twice the one before, up to 2 min: twelve tries then take 16 min
    /// 30 s, so give a longer --deadline, too. `--doubling-pauses=false` ends it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    doubling_pauses: Option<bool>,
    /// From the request to the proof that it is of use, 10s to 1h; 5m at first.
    #[arg(long)]
    deadline: Option<String>,
    /// Whether it is never parked; `--keep-awake=false` ends it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    keep_awake: Option<bool>,
    /// Who measures what it draws; its agent at first.
    #[arg(long, value_enum)]
    watts: Option<Watts>,
}

/// A way to wake a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// By its BMC.
    Bmc,
    /// By a magic packet that its neighbours send.
    WakeOnLan,
    /// All that are known.
    Any,
}

/// Who measures what a host draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Watts {
    /// Its agent, by the best source that it has.
    Agent,
    /// Its BMC.
    Bmc,
}

/// See [`super::host::Command::Reserve`].
#[derive(Debug, Args)]
pub(crate) struct Reserve {
    /// Hosts that stay awake; 1 at first.
    #[arg(long)]
    min_awake: Option<u32>,
    /// Hosts that may fail at once without a guest being left without a place on those that are
    /// awake; 0 at first.
    #[arg(long)]
    survive_failures: Option<u8>,
}

pub(crate) async fn run(context: &Context, power: Power) -> Done {
    if let Some(Command::Set(set)) = power.command {
        return self::set(context, *set).await;
    }
    let host = power.host.unwrap_or_default();
    if power.watch {
        return watch(context, &host).await;
    }
    let shown = context.client.host_power(&host).await.map_err(problem)?;
    output::print(context.format, &shown, |_| show::power::power(&shown))
}

async fn set(context: &Context, Set { host, wanted: set }: Set) -> Done {
    let secure_on = match &set.secure_on_file {
        Some(file) => Some(secret::read(Some(file), "", "SecureOn password")?),
        None => None,
    };
    let methods = set.method.iter().map(|method| match method {
        Method::Bmc => "bmc",
        Method::WakeOnLan => "wake_on_lan",
        Method::Any => "any",
    });
    let methods: Vec<String> = methods.map(str::to_owned).collect();
    let change = SetHostPower {
        methods: list(&methods, "any")?,
        macs: list(&set.mac, "any")?,
        broadcasts: list(&set.broadcast, "none")?,
        port: set.port,
        secure_on,
        tries: set.tries,
        pause: set.pause,
        doubling_pauses: set.doubling_pauses,
        deadline: set.deadline,
        keep_awake: set.keep_awake,
        watts: set.watts.map(|who| match who {
            Watts::Agent => "agent".to_owned(),
            Watts::Bmc => "bmc".to_owned(),
        }),
    };
    let shown = context.client.set_host_power(&host, &change).await.map_err(problem)?;
    output::print(context.format, &shown, |_| show::power::power(&shown))
}

/// None where nothing is said; empty where the word for it stands alone.
fn list(words: &[String], empty: &str) -> Result<Option<Vec<String>>, Problem> {
    match words {
        [] => Ok(None),
        [word] if word == empty => Ok(Some(Vec::new())),
        words if words.iter().any(|word| word == empty) => {
            let detail = format!("`{empty}` stands alone");
            Err(Problem::new(ProblemKind::BadRequest, detail).hint("name it or the others"))
        }
        words => Ok(Some(words.to_vec())),
    }
}

async fn watch(context: &Context, host: &str) -> Done {
    loop {
        let shown = patiently(async || context.client.host_power(host).await).await?;
        if context.format.is_for_people() {
            output::out(&show::power::line(&shown));
        } else {
            output::print(context.format, &shown, |_| String::new())?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(crate) async fn reserve(context: &Context, reserve: &Reserve) -> Done {
    let client = &context.client;
    let before = client.reserve().await.map_err(problem)?;
    let says_nothing = reserve.min_awake.is_none() && reserve.survive_failures.is_none();
    let after = if says_nothing {
        before
    } else {
        let wanted = v1::Reserve {
            min_awake: reserve.min_awake.or(before.min_awake),
            survive_failures: reserve.survive_failures.or(before.survive_failures),
        };
        client.set_reserve(&wanted).await.map_err(problem)?
    };
    output::print(context.format, &after, |_| show::power::reserve(&after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stands_for_an_empty_list() {
        let words = |all: &[&str]| -> Vec<String> { all.iter().map(|w| (*w).to_owned()).collect() };
        assert_eq!(list(&[], "any").unwrap(), None);
        assert_eq!(list(&words(&["any"]), "any").unwrap(), Some(vec![]));
        assert_eq!(list(&words(&["bmc"]), "any").unwrap(), Some(words(&["bmc"])));
        assert!(list(&words(&["bmc", "any"]), "any").is_err());
    }
}
