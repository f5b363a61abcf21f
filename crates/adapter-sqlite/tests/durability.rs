//! A process that is killed loses nothing that it acknowledged, and the next one can open
//! the file at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use drover_adapter_sqlite::SqliteStore;
use drover_ports::{Change, Expected, Store as _};

/// Tells the test binary that it is the process that will be killed.
const VICTIM: &str = "DROVER_TEST_STORE";
/// Commits that are waited for before the kill.
const ENOUGH: usize = 200;
const ROUNDS: usize = 3;

/// Commits pairs of keys from many tasks and says which were acknowledged, for ever.
#[tokio::main]
async fn commit_until_killed(path: &Path) {
    let store = Arc::new(SqliteStore::open(path).unwrap());
    let begin = store.list("a/").await.unwrap().len();
    let mut tasks = Vec::new();
    for task in 0..8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for number in begin.. {
                let name = format!("{task}-{number}");
                let pair = ["a", "b"].map(|side| {
                    Change::put(format!("{side}/{name}"), Expected::Absent, name.clone())
                });
                store.commit(pair.to_vec()).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {name}").unwrap();
                out.flush().unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn invariant_what_was_acknowledged_survives_a_kill() {
    if let Some(path) = std::env::var_os(VICTIM) {
        return commit_until_killed(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut acknowledged: Vec<String> = Vec::new();
    for _ in 0..ROUNDS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "invariant_what_was_acknowledged_survives_a_kill", "--nocapture"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut said = lines
            .map_while(Result::ok)
            .filter_map(|line| Some(line.split_once("acknowledged ")?.1.to_owned()));
        acknowledged.extend(said.by_ref().take(ENOUGH));
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What it managed to say before it died counts as well, but for a line cut short.
        acknowledged.extend(said);
        acknowledged.pop();
    }
    assert!(acknowledged.len() >= ROUNDS * ENOUGH / 2, "{} acknowledged", acknowledged.len());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let keys = |prefix| -> Vec<String> {
        let entries = runtime.block_on(store.list(prefix)).unwrap();
        entries.into_iter().map(|(key, _)| key[prefix.len()..].to_owned()).collect()
    };
    let (left, right) = (keys("a/"), keys("b/"));
    assert_eq!(left, right, "no commit is half there");
    for name in acknowledged {
        assert!(left.binary_search(&name).is_ok(), "{name} is lost");
    }
}
