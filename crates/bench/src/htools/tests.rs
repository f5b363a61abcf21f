use proptest::prelude::*;

use std::time::Duration;

use drover_planner::search::{Instance, State};

use super::score::score;
use super::{Wish, example, format, improve, problem, rebalance};
use crate::clock_patience::tests::Ticking;
use crate::clock_patience::{Clock, EndedBy};

/// A machine on which nothing takes time.
#[derive(Debug, Clone, Copy)]
struct Quiet;

const QUIET: Quiet = Quiet;

impl Clock for Quiet {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

const fn wish(max_moves: Option<usize>) -> Wish {
    Wish { max_moves, seconds: None, seed: 1 }
}

/// Four nodes, one offline; two exclusion tags, of which `app` is not in force; one
/// instance on local disks. `{status}` is that of `d`.
fn hand_made(status: &str) -> String {
    format!(
        "g1|uuid-g1|preferred||\n\n\
         n1|65536|1024|40960|1000000|900000|16|M|uuid-g1|1||N|0|1|1.0\n\
         n2|65536|1024|60416|1000000|1000000|16|N|uuid-g1|1||N|0|1|1.0\n\
         n3|65536|1024|56320|1000000|990000|16|Y|uuid-g1|1||N|0|1|1.0\n\
         n4|32768|1024|29696|1000000|990000|8|N|uuid-g1|2||N|0|1|1.0\n\n\
         a|8192|0|2|running|Y|n1||ext|db:x,app:y|1|-\n\
         b|8192|0|4|running|Y|n1||ext|db:x|1|-\n\
         c|7168|0|2|running|Y|n1||ext|db:x,app:y|1|-\n\
         d|4096|0|2|{status}|Y|n2||ext||1|-\n\
         e|8192|0|4|running|Y|n3||rbd|app:y|1|-\n\
         f|2048|10000|1|running|Y|n4||plain||3|-\n\n\
         htools:iextags:db\n\n\
         |1024,1,0,1,1,1|128,1,0,0,0,0;1048576,256,8388608,16,8,64|ext,rbd,plain|4.0|32.0\n"
    )
}

fn read(text: &str) -> format::File {
    format::read(text).unwrap()
}

/// What `hbal -t FILE -l 0 --ignore-dynu -v` of Ganeti 3.0.2 prints.
#[test]
fn the_score_is_the_one_that_hbal_prints() {
    for (text, printed) in [
        (hand_made("running"), "24.36752264"),
        (hand_made("ADMIN_down"), "24.36083103"),
        (
            hand_made("running").replace("iextags:db", "iextags:db\nhtools:iextags:app"),
            "26.36752264",
        ),
        (
            hand_made("running").replace(
                "60416|1000000|1000000|16|N|uuid-g1|1||N|0|1|1.0",
                "60416|1000000|1000000|16|N|uuid-g1|1||N|0|3|2.0",
            ),
            "24.37716135",
        ),
        (hand_made("running").replace("|0|1|1.0", ""), "24.36752264"),
    ] {
        assert_eq!(format!("{:.8}", score(&read(&text))), printed);
    }
}

#[test]
fn an_offline_node_is_emptied_and_tags_are_kept_apart() {
    let file = read(&hand_made("ADMIN_down"));
    let (at, report) = rebalance(&file, wish(None), QUIET).unwrap();
    let moved = read(&file.moved(&at).to_string());
    assert!(moved.instances.iter().all(|machine| !moved.nodes[machine.primary].offline));
    let of = |name: &str| moved.instances.iter().find(|machine| machine.name == name).unwrap();
    let (a, b, c) = (of("a").primary, of("b").primary, of("c").primary);
    assert!(a != b && b != c && a != c);
    // What is down or on local disks stays.
    assert_eq!((of("d").primary, of("f").primary), (1, 3));
    assert!(score(&moved) < 1.0 && report.dropped == 0);
}

#[test]
fn what_was_moved_reads_back_the_same() {
    let file = read(&example::example(10, 80, 3));
    let (at, report) = rebalance(&file, wish(Some(7)), QUIET).unwrap();
    let moved = file.moved(&at);
    let again = read(&moved.to_string());
    assert_eq!(again, moved);
    assert!(report.moves <= 7 && score(&again) < score(&file));
    let free = |file: &format::File| file.nodes.iter().map(|node| node.free_memory).sum::<f64>();
    assert!((free(&again) - free(&file)).abs() < 1e-6);
}

#[test]
fn a_file_that_nobody_changed_is_written_as_it_was() {
    let text = example::example(5, 40, 1);
    assert_eq!(read(&text).to_string(), text);
}

#[test]
fn an_error_names_the_line() {
    let text = hand_made("running").replace("|n3||rbd", "|n9||rbd");
    let error = format!("{:#}", format::read(&text).unwrap_err());
    assert!(error.contains("line 12") && error.contains("there is no node `n9`"), "{error}");
}

#[test]
fn a_busy_machine_makes_the_same_plan() {
    let file = read(&example::example(12, 100, 5));
    for max_moves in [None, Some(25)] {
        let (quiet, report) = rebalance(&file, wish(max_moves), QUIET).unwrap();
        assert_eq!(report.ended_by, EndedBy::Work);
        // Between two looks at this clock other work has had the machine for 20 ms.
        let (busy, report) = rebalance(&file, wish(max_moves), Ticking::by(20)).unwrap();
        assert_eq!((busy, report.ended_by), (quiet, EndedBy::Work));
    }
}

#[test]
fn what_the_clock_stopped_says_so_and_is_no_worse_than_descent() {
    let file = read(&example::example(12, 100, 5));
    let (at, report) = rebalance(&file, wish(Some(25)), Ticking::by(3_600_000)).unwrap();
    assert_eq!((report.ended_by, report.moves), (EndedBy::Clock, 25));
    let instance = problem::instance(&file, 0.0, 0.0);
    let reached = State::of(&instance, at).cost();
    assert!(reached <= by_greed(&instance, 25).cost() + 1e-9);
}

/// The best single move again and again, with so many guests away from home at most: the
/// simplest plan there is.
fn by_greed(instance: &Instance, moves: usize) -> State<'_> {
    let mut state = State::at_home(instance);
    loop {
        let may_leave = |guest: usize| state.is_displaced(guest) || state.displaced().len() < moves;
        let best = (0..instance.guests())
            .filter(|guest| !instance.fixed[*guest] && may_leave(*guest))
            .flat_map(|guest| (0..instance.hosts()).map(move |host| (guest, host)))
            .filter_map(|(guest, host)| Some((state.shift_delta(guest, host)?, guest, host)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((delta, guest, host)) if delta < -1e-12 => state.shift(guest, host, delta),
            _ => return state,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn invariant_moves_are_used_up_and_never_worse_than_greed(
        hosts in 3usize..12,
        of_each in 3usize..9,
        seed in any::<u64>(),
        most in 1usize..40,
        ms in prop::sample::select(vec![0u64, 20, 3_600_000]),
    ) {
        let file = read(&example::example(hosts, hosts * of_each, seed));
        let instance = problem::instance(&file, 0.0, 0.0);
        let (state, _) = improve(&instance, wish(Some(most)), Ticking::by(ms)).unwrap();
        let greedy = by_greed(&instance, most);
        prop_assert!(state.cost() <= greedy.cost() + 1e-9, "{} {}", state.cost(), greedy.cost());
        prop_assert!(state.displaced().len() <= most);
        if state.displaced().len() < most {
            for guest in (0..instance.guests()).filter(|guest| !instance.fixed[*guest]) {
                for host in 0..instance.hosts() {
                    let delta = state.shift_delta(guest, host).unwrap_or(0.0);
                    prop_assert!(delta > -1e-9, "guest {} gains {} on {}", guest, delta, host);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn invariant_any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = format::read(&String::from_utf8_lossy(&bytes));
    }

    /// What still reads is scored, and stays readable after a search.
    #[test]
    fn invariant_a_spoilt_file_is_read_or_refused(
        spoilt in prop::collection::vec((0usize..2000, prop::sample::select(&b"|\n09-.,:xYN "[..])), 1..6),
    ) {
        let mut bytes = hand_made("running").into_bytes();
        for (at, byte) in spoilt {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let text = String::from_utf8(bytes).unwrap();
        if let Ok(file) = format::read(&text) {
            let (at, _) = rebalance(&file, wish(Some(3)), QUIET).unwrap();
            let _ = score(&file.moved(&at));
        }
    }
}
