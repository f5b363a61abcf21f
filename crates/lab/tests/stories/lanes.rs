//! Lanes of stories, each a process of this program, beside each other: most of a story is
//! waiting.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::Arguments;

use super::ground::{self, Ground};
use super::world::World;

/// Tells a process of this program which lane it is.
const LANE: &str = "DROVER_LAB_LANE";
/// Longest line that is shown again at the end, characters.
const MAX_LINE: usize = 1000;

/// A story by its name, and what it is told on.
pub(crate) type Story<On> = (&'static str, fn(&On) -> anyhow::Result<()>);

/// Stories that are told one after the other.
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    /// On one lab for all; told first.
    pub(crate) shared: &'static [Story<World>],
    /// Each on a lab of its own.
    pub(crate) own: &'static [Story<Ground>],
}

impl Lane {
    pub(crate) fn wants_shared(&self, arguments: &Arguments) -> bool {
        self.shared.iter().any(|(name, _)| wanted(arguments, name))
    }

    pub(crate) fn wants_own(&self, arguments: &Arguments) -> bool {
        self.own.iter().any(|(name, _)| wanted(arguments, name))
    }
}

/// Whether a story of this name is to be told, as libtest-mimic decides it.
fn wanted(arguments: &Arguments, name: &str) -> bool {
    let is = |filter: &String| {
        if arguments.exact { name == filter } else { name.contains(filter.as_str()) }
    };
    arguments.filter.as_ref().is_none_or(is) && !arguments.skip.iter().any(is)
}

/// Tells the lanes that have wanted stories: one alone here, several as processes. `tell` says
/// whether all went well.
pub(crate) fn run(
    lanes: &'static [Lane],
    arguments: &Arguments,
    tell: impl Fn(&Lane) -> bool,
) -> ExitCode {
    if let Ok(name) = std::env::var(LANE) {
        let Some(lane) = lanes.iter().find(|lane| lane.name == name) else {
            let names: Vec<_> = lanes.iter().map(|lane| lane.name).collect();
            eprintln!("error: {LANE} is `{name}`: it may be one of {}", names.join(", "));
            return ExitCode::FAILURE;
        };
        return code(tell(lane));
    }
    let begun: Vec<&'static Lane> = lanes
        .iter()
        .filter(|lane| lane.wants_shared(arguments) || lane.wants_own(arguments))
        .collect();
    match begun.as_slice() {
        [] => {
            eprintln!("error: no story has such a name; `-- --list` shows them");
            ExitCode::FAILURE
        }
        [lane] => code(tell(lane)),
        several => beside_each_other(several),
    }
}

fn code(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn beside_each_other(lanes: &[&'static Lane]) -> ExitCode {
    // Not by all at once.
    if let Err(error) = drover_lab::make_image(&ground::image()) {
        eprintln!("error: the guests' image cannot be made: {error:#}");
        return ExitCode::FAILURE;
    }
    let told: Vec<anyhow::Result<Told>> = std::thread::scope(|scope| {
        let begun: Vec<_> =
            lanes.iter().map(|lane| scope.spawn(move || in_a_process(lane.name))).collect();
        begun.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let mut all_well = true;
    // Last of all: what went wrong in the first lane to end is far above otherwise.
    for (lane, told) in lanes.iter().zip(told) {
        let told = told.unwrap_or_else(|error| Told::failed(format!("{error:#}")));
        if told.well {
            continue;
        }
        eprintln!("error: the lane `{}` failed", lane.name);
        for line in told.failures {
            let line: String = line.chars().take(MAX_LINE).collect();
            eprintln!("{:<6} | {line}", lane.name);
        }
        all_well = false;
    }
    code(all_well)
}

/// How a lane ended.
struct Told {
    well: bool,
    /// What was said of the stories that failed.
    failures: Vec<String>,
}

impl Told {
    fn failed(why: String) -> Self {
        Self { well: false, failures: vec![why] }
    }
}

/// The same call with one lane; its lines are shown with its name.
fn in_a_process(lane: &'static str) -> anyhow::Result<Told> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(LANE, lane)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (said, complained) = (child.stdout.take(), child.stderr.take());
    let failures = std::thread::scope(|scope| {
        let said = scope.spawn(|| said.map(|from| show(lane, from)));
        let complained = scope.spawn(|| complained.map(|from| show(lane, from)));
        [said, complained].into_iter().filter_map(|of| of.join().unwrap()).flatten().collect()
    });
    Ok(Told { well: child.wait()?.success(), failures })
}

/// Shows its lines, and returns those that tell of failures: libtest-mimic lists them at the
/// end, and what is wrong with a lab as a whole begins with `error:`.
fn show(lane: &'static str, from: impl Read) -> Vec<String> {
    let mut failures = Vec::new();
    let mut is_list = false;
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        println!("{lane:<6} | {line}");
        is_list = (is_list || line == "failures:") && !line.starts_with("test result");
        if is_list || line.starts_with("error:") {
            failures.push(line);
        }
    }
    failures
}
