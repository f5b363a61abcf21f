//! Lanes of stories, each a process of this program, beside each other: most of a story is
//! waiting.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use drover_lab::Releases;
use libtest_mimic::Arguments;

use super::ground::{self, Ground};
use super::patience::Patience;
use super::world::World;

/// Tells a process of this program which lane it is.
const LANE: &str = "DROVER_LAB_LANE";
/// Lanes that are told at a time. A third one does not end sooner: two cores are busy then, and
/// what is to happen within a time does not.
const AT_ONCE: usize = 2;
/// Failures of a lane that are shown again at the end; what comes of a failure follows it.
const SHOWN_AGAIN: usize = 3;
/// Length up to which each is shown then, characters: its beginning and its end.
const SHOWN_OF_EACH: usize = 500;

/// A story by its name, and what it is told on.
pub(crate) type Story<On> = (&'static str, fn(&On) -> anyhow::Result<()>);

/// Stories that are told one after the other.
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    /// What the hosts of its labs run.
    pub(crate) releases: Releases,
    /// On one lab for all; told first.
    pub(crate) shared: &'static [Story<World>],
    /// Each on a lab of its own.
    pub(crate) own: &'static [Story<Ground>],
    /// Of these the ones that another lane tells as well; none for all.
    pub(crate) again: Option<Again>,
}

/// Stories that another lane tells as well.
pub(crate) struct Again {
    /// Their names here begin with this.
    pub(crate) prefix: &'static str,
    /// By the names that they have there.
    pub(crate) stories: &'static [&'static str],
}

impl Lane {
    /// The stories on the lab for all, by the names that they have in this lane.
    pub(crate) fn on_shared(
        &'static self,
    ) -> impl Iterator<Item = (String, &'static fn(&World) -> anyhow::Result<()>)> {
        self.named(self.shared)
    }

    /// The same of those on labs of their own.
    pub(crate) fn on_own(
        &'static self,
    ) -> impl Iterator<Item = (String, &'static fn(&Ground) -> anyhow::Result<()>)> {
        self.named(self.own)
    }

    fn named<On>(
        &'static self,
        stories: &'static [Story<On>],
    ) -> impl Iterator<Item = (String, &'static fn(&On) -> anyhow::Result<()>)> {
        let again = self.again.as_ref();
        let is_told = move |name: &str| again.is_none_or(|of| of.stories.contains(&name));
        let called = move |name: &str| match again {
            Some(of) => format!("{}_{name}", of.prefix),
            None => name.to_owned(),
        };
        let told = stories.iter().filter(move |(name, _)| is_told(name));
        told.map(move |(name, story)| (called(name), story))
    }

    /// A name of which there is no story to be told again.
    pub(crate) fn nobodys(&'static self) -> Option<&'static str> {
        let shared = self.shared.iter().map(|(name, _)| *name);
        let known: Vec<&str> = shared.chain(self.own.iter().map(|(name, _)| *name)).collect();
        let again = self.again.as_ref().map_or(&[][..], |of| of.stories);
        again.iter().copied().find(|name| !known.contains(name))
    }

    pub(crate) fn wants_shared(&'static self, arguments: &Arguments) -> bool {
        self.on_shared().any(|(name, _)| wanted(arguments, &name))
    }

    pub(crate) fn wants_own(&'static self, arguments: &Arguments) -> bool {
        self.on_own().any(|(name, _)| wanted(arguments, &name))
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
    tell: impl Fn(&'static Lane, &Arc<Patience>) -> bool,
) -> ExitCode {
    let tell = |lane: &'static Lane| tell(lane, &Patience::new());
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
    let mut all_well = true;
    // Last of all: what went wrong in the first lane to end is far above otherwise.
    for (lane, told) in by_turns(lanes) {
        if told.well {
            continue;
        }
        eprintln!("error: the lane `{}` failed", lane.name);
        for failure in told.failures.iter().take(SHOWN_AGAIN) {
            eprintln!("{:<6} | {}", lane.name, both_ends(failure));
        }
        all_well = false;
    }
    code(all_well)
}

/// Tells [`AT_ONCE`] lanes at a time; the next begins where one has ended.
fn by_turns(lanes: &[&'static Lane]) -> Vec<(&'static Lane, Told)> {
    let waiting = Mutex::new(lanes.iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let in_turn = || {
        let mut ended = Vec::new();
        while let Some(lane) = next() {
            let told = in_a_process(lane.name);
            ended.push((*lane, told.unwrap_or_else(|error| Told::failed(format!("{error:#}")))));
        }
        ended
    };
    std::thread::scope(|scope| {
        let begun: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(in_turn)).collect();
        begun.into_iter().flat_map(|turns| turns.join().unwrap()).collect()
    })
}

/// A line that may be too long to be read with others.
fn both_ends(line: &str) -> String {
    let length = line.chars().count();
    if length <= SHOWN_OF_EACH {
        return line.to_owned();
    }
    let half = SHOWN_OF_EACH / 2;
    let begin: String = line.chars().take(half).collect();
    let end: String = line.chars().skip(length - half).collect();
    format!("{begin} ... {end}")
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

/// Shows its lines, and returns those that tell of failures.
fn show(lane: &'static str, from: impl Read) -> Vec<String> {
    let mut failures = Vec::new();
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        println!("{lane:<6} | {line}");
        if line.starts_with("error:") {
            failures.push(line);
        }
    }
    failures
}
