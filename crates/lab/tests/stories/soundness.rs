//! Moves lose no memory of their guests, however many passes they take; and where they do, it is
//! noticed. See `guest/memory.c` for what the guests look at.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use drover_lab::{GuestMemory, LabSpec, ProbeHandle, Releases};

use super::ground::Ground;
use super::world::World;

/// How many moves are made, where it is said.
pub(crate) const MOVES: &str = "DROVER_LAB_MOVES";
/// And where it is not.
const OF_EVERY_RUN: u32 = 9;
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
const CLIENT_LOOKS: Duration = Duration::from_millis(10);
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
    ground.beside_with("lloss", unsound, |world| {
        let told = make_moves(world, UNTIL_NOTICED)?;
        println!("  {told}");
        ensure!(!told.wrong.is_empty(), "nothing was noticed: {told}");
        Ok(())
    })
}

fn lab(spec: LabSpec) -> LabSpec {
    LabSpec { hosts: 2, guests: 3, host_cores: HOST_CORES, ..spec }
}

/// What came of moves. They end with the first after which something is wrong.
struct Told {
    moves: u32,
    /// Of four passes and more.
    of_passes: u32,
    wrong: Vec<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { moves, of_passes, wrong } = self;
        write!(to, "{moves} moves, {of_passes} of {PASSES} passes and more, wrong: {wrong:?}")
    }
}

/// Guests move in turn while clients talk to all of them and all write memory.
fn make_moves(world: &World, moves: u32) -> anyhow::Result<Told> {
    let guests = world.lab.spec().guest_names();
    let mut clients = Vec::new();
    for guest in &guests {
        world.lab.dirty(guest, DIRTY_MIB_PER_S, WORKING_SET_MIB)?;
        clients.push((guest, world.lab.probe_every(guest, None, CLIENT_LOOKS)?));
    }
    let mut told = Told { moves: 0, of_passes: 0, wrong: Vec::new() };
    for guest in guests.iter().cycle().take(usize::try_from(moves)?) {
        let passes = make_move(world, guest)?;
        told.moves += 1;
        told.of_passes += u32::from(passes >= PASSES);
        told.wrong.extend(what_is_wrong(world, guest));
        if !told.wrong.is_empty() {
            break;
        }
        world.lab.watch(guest, 0)?;
    }
    if told.wrong.is_empty() {
        told.wrong.extend(guests.iter().filter_map(|guest| what_is_wrong(world, guest)));
    }
    for (guest, client) in clients {
        told.wrong.extend(what_it_lost(guest, client)?);
    }
    Ok(told)
}

/// Moves a guest to the other host; how many passes that took.
fn make_move(world: &World, guest: &str) -> anyhow::Result<u64> {
    world.measured(guest)?;
    let to = world.other(&world.home(guest)?);
    world.lab.watch(guest, WATCH_PERCENT)?;
    let words = ["guest", "migrate", guest, "--to", &to];
    let words: Vec<&str> = words.into_iter().chain(LIMITS).collect();
    let moved = world.json(&words)?;
    ensure!(moved["state"] == "completed", "{moved}");
    moved["outcome"]["iterations"].as_u64().with_context(|| format!("no passes: {moved}"))
}

/// A guest that does not answer is wrong, too.
fn what_is_wrong(world: &World, guest: &str) -> Option<String> {
    let found = match world.lab.check(guest) {
        Ok(found) if found.ring.posted == 0 => "it has no ring to check".to_owned(),
        Ok(found) if found.faults() == 0 => return None,
        Ok(found) => found.to_string().replace('\n', "; "),
        Err(error) => format!("{error:#}"),
    };
    Some(format!("{guest}: {found}"))
}

fn what_it_lost(guest: &str, client: ProbeHandle) -> anyhow::Result<Option<String>> {
    let seen = client.finish()?;
    let lost = (!seen.is_unbroken()).then(|| format!("a client of {guest}: {:?}", seen.tcp_error));
    Ok(lost)
}
