//! Moves lose no memory of their guests, however many passes they take; and where they do, it is
//! noticed. See `guest/memory.c` for what the guests look at.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use drover_lab::{GuestMemory, LabSpec, ProbeHandle, Releases};
use serde_json::Value;

use super::ground::Ground;
use super::world::{World, text};

/// How many moves are made, where it is said.
pub(crate) const MOVES: &str = "DROVER_LAB_MOVES";
/// And where it is not.
const OF_EVERY_RUN: u32 = 9;
/// Moves at a time: as many as two hosts make between them.
const AT_ONCE: usize = 2;
/// A QEMU that loses writes loses some in one of so many moves: of three in a row that need more
/// than one pass after the bulk of memory, one does.
const UNTIL_NOTICED: u32 = 20;
/// Passes over memory from which on a QEMU that loses writes may do so.
const PASSES: u64 = 4;
/// Limits that make moves take so many.
const LIMITS: [&str; 4] = ["--max-bandwidth", "64MiB/s", "--max-downtime", "20ms"];
/// A guest that is moved writes memory as a kernel does for so many percent of its vCPU.
const WATCH_PERCENT: u8 = 80;
/// A client of each guest asks and pings it so often.
const CLIENT_LOOKS: Duration = Duration::from_millis(40);
const DIRTY_MIB_PER_S: u32 = 2;
const WORKING_SET_MIB: u32 = 16;
/// So high that what a guest writes is no load: nothing here is decided by it.
const HOST_CORES: f64 = 16.0;

pub(crate) fn moves_lose_no_memory(ground: &Ground) -> anyhow::Result<()> {
    let moves = match std::env::var(MOVES) {
        Ok(said) => said.parse().with_context(|| format!("{MOVES}={said}"))?,
        Err(_) => OF_EVERY_RUN,
    };
    ground.beside_with("lsnd", lab, |world| {
        let told = make_moves(world, moves)?;
        println!("  {told}");
        ensure!(told.wrong.is_empty(), "{told}");
        ensure!(told.moves == moves && told.of_passes * 2 >= moves, "too few passes: {told}");
        Ok(())
    })
}

/// The same moves, by a QEMU that loses writes: the check can fail.
pub(crate) fn memory_that_a_move_loses_is_noticed(ground: &Ground) -> anyhow::Result<()> {
    let unsound =
        |spec| LabSpec { releases: Releases::Bookworm, memory: GuestMemory::Plain, ..lab(spec) };
    // A guest that lost memory may fall silent before it says so.
    for _ in 0..LABS {
        let mut is_named = false;
        ground.beside_with("lloss", unsound, |world| {
            let told = make_moves(world, UNTIL_NOTICED)?;
            println!("  {told}");
            is_named = told.is_named;
            Ok(())
        })?;
        if is_named {
            return Ok(());
        }
    }
    bail!("no guest said that its memory is broken, on {LABS} labs")
}

/// Labs on which guests are moved until one says that its memory is broken.
const LABS: usize = 3;

fn lab(spec: LabSpec) -> LabSpec {
    LabSpec { hosts: 2, guests: 2, host_cores: HOST_CORES, ..spec }
}

/// What came of moves. They end with the first after which something is wrong.
#[derive(Default)]
struct Told {
    moves: u32,
    /// Of four passes and more.
    of_passes: u32,
    wrong: Vec<String>,
    /// A guest or its kernel said itself that its memory is broken: more than silence.
    is_named: bool,
}

impl Told {
    fn with(mut self, other: Self) -> Self {
        self.moves += other.moves;
        self.of_passes += other.of_passes;
        self.wrong.extend(other.wrong);
        self.is_named |= other.is_named;
        self
    }

    /// Lets a guest check its memory. One that does not answer is wrong, too.
    fn look(&mut self, world: &World, guest: &str) {
        let complaint = || world.lab.complaint_on_console(guest);
        let (found, is_named) = match world.lab.check(guest) {
            Ok(found) if found.faults() > 0 => (found.to_string().replace('\n', "; "), true),
            Ok(found) if found.ring.posted > 0 => return,
            Ok(_) => {
                let complaint = complaint();
                let why = complaint.as_deref().unwrap_or("nothing on its console");
                (format!("it booted anew: {why}"), complaint.is_some())
            }
            Err(error) => (format!("{error:#}"), complaint().is_some()),
        };
        self.is_named |= is_named;
        self.wrong.push(format!("{guest}: {found}"));
    }

    /// Lets a guest write memory as a kernel does. One that cannot be told to is looked at, and
    /// is wrong.
    fn can_watch(&mut self, world: &World, guest: &str, percent: u8) -> bool {
        let Err(error) = world.lab.watch(guest, percent) else { return true };
        self.look(world, guest);
        self.wrong.push(format!("{guest}: it does not write: {error:#}"));
        false
    }
}

impl fmt::Display for Told {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { moves, of_passes, wrong, .. } = self;
        write!(to, "{moves} moves, {of_passes} of {PASSES} passes and more, wrong: {wrong:?}")
    }
}

/// Moves that are still to be made, by several who move guests.
struct Left(AtomicU32);

impl Left {
    /// Whether one more is to be made, which the caller makes then.
    fn take(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Guests move, two at a time, while clients talk to all of them and all write memory.
fn make_moves(world: &World, moves: u32) -> anyhow::Result<Told> {
    let guests = world.lab.spec().guest_names();
    let mut clients = Vec::new();
    for guest in &guests {
        world.lab.dirty(guest, DIRTY_MIB_PER_S, WORKING_SET_MIB)?;
        clients.push((guest, world.lab.probe_every(guest, None, CLIENT_LOOKS)?));
    }
    let left = Left(AtomicU32::new(moves));
    let told: anyhow::Result<Vec<Told>> = std::thread::scope(|scope| {
        let begin = |of_one: &'_ [String]| {
            let (of_one, left) = (of_one.to_vec(), &left);
            scope.spawn(move || {
                // Whatever ends one ends the others.
                move_in_turn(world, &of_one, left).inspect_err(|_| left.end())
            })
        };
        let begun: Vec<_> = guests.chunks(guests.len().div_ceil(AT_ONCE)).map(begin).collect();
        begun.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut told = told?.into_iter().fold(Told::default(), Told::with);
    if told.wrong.is_empty() {
        guests.iter().for_each(|guest| told.look(world, guest));
    }
    for (guest, client) in clients {
        told.wrong.extend(what_it_lost(guest, client)?);
    }
    Ok(told)
}

/// Moves these guests in turn, one at a time.
fn move_in_turn(world: &World, guests: &[String], left: &Left) -> anyhow::Result<Told> {
    let mut told = Told::default();
    for guest in guests.iter().cycle() {
        if !left.take() {
            break;
        }
        if told.can_watch(world, guest, WATCH_PERCENT) {
            let passes = make_move(world, guest)?;
            told.moves += 1;
            told.of_passes += u32::from(passes >= PASSES);
            told.look(world, guest);
        }
        if !told.wrong.is_empty() || !told.can_watch(world, guest, 0) {
            left.end();
            break;
        }
    }
    Ok(told)
}

/// Moves a guest to the other host; how many passes that took.
fn make_move(world: &World, guest: &str) -> anyhow::Result<u64> {
    let to = world.other(&world.home(guest)?);
    let words = ["guest", "migrate", guest, "--to", &to, "--no-wait"];
    let words: Vec<&str> = words.into_iter().chain(LIMITS).collect();
    let mut begun = Value::Null;
    // It is refused while what was measured before another move is all that is known.
    world.until("a move", || {
        begun = world.json(&words)?;
        Ok(true)
    })?;
    let id = text(&begun, "id");
    let moved = world.finished(id)?;
    ensure!(moved["state"] == "completed", "{moved}");
    let mut passes = None;
    // What the source counted follows the end.
    world.until("what came of the move", || {
        passes = world.json(&["operation", "show", id])?["outcome"]["iterations"].as_u64();
        Ok(passes.is_some())
    })?;
    passes.with_context(|| format!("no passes: {moved}"))
}

fn what_it_lost(guest: &str, client: ProbeHandle) -> anyhow::Result<Option<String>> {
    let seen = client.finish()?;
    let lost = (!seen.is_unbroken()).then(|| format!("a client of {guest}: {:?}", seen.tcp_error));
    Ok(lost)
}
