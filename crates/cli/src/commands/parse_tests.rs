//! What the parser takes and refuses, and that the guide's commands are commands.

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory as _};

use super::Arguments;

/// Wrong usage, as the table of exit codes has it.
const USAGE: i32 = 2;

fn parsed(words: &[&str]) -> Result<ArgMatches, clap::Error> {
    Arguments::command().try_get_matches_from([&["drover"], words].concat())
}

/// What is refused, in the words that a user sees.
fn refused(words: &[&str], kind: ErrorKind) -> String {
    let error = parsed(words).expect_err("it is wrong");
    assert_eq!((error.kind(), error.exit_code()), (kind, USAGE), "{words:?}: {error}");
    error.to_string()
}

#[test]
fn a_drain_offers_nothing_that_is_always_refused() {
    for option in ["--mode=cold", "--auto-start"] {
        refused(&["host", "drain", "h1", option], ErrorKind::UnknownArgument);
        assert!(parsed(&["guest", "migrate", "vm1", option]).is_ok(), "{option}");
    }
    assert!(parsed(&["host", "drain", "h1", "--copy-storage", "full", "--tls"]).is_ok());
}

#[test]
fn a_change_says_what_is_to_be_changed() {
    let said = refused(&["operation", "set", "01a1"], ErrorKind::MissingRequiredArgument);
    for option in ["--max-downtime", "--max-bandwidth", "--no-bandwidth-cap", "--post-copy-now"] {
        assert!(said.contains(option), "{option}: {said}");
    }
    assert!(parsed(&["operation", "set", "01a1", "--post-copy-now"]).is_ok());
    assert!(
        parsed(&["operation", "set", "01a1", "--max-downtime=2s", "--no-bandwidth-cap"]).is_ok()
    );
    let said = refused(&["host", "power", "set", "h3"], ErrorKind::MissingRequiredArgument);
    assert!(said.contains("--mac") && said.contains("--keep-awake"), "{said}");
    let said = refused(&["guest", "set", "vm1"], ErrorKind::MissingRequiredArgument);
    assert!(said.contains("--max-downtime") && said.contains("--priority"), "{said}");
}

#[test]
fn a_move_is_of_guests_or_from_a_host() {
    let said = refused(&["guest", "migrate", "--to", "h2"], ErrorKind::MissingRequiredArgument);
    assert!(said.contains("GUEST") && said.contains("--from <HOST>"), "{said}");
    refused(&["guest", "migrate", "vm1", "--from", "h1"], ErrorKind::ArgumentConflict);
    assert!(parsed(&["guest", "migrate", "--from", "h1"]).is_ok());
    assert!(parsed(&["guest", "migrate", "vm1", "vm2", "--to", "h2"]).is_ok());
}

#[test]
fn a_switch_with_an_optional_value_takes_no_word_that_follows() {
    let set = |words: &[&str]| {
        let all = parsed(&[&["host", "power", "set"], words].concat()).expect("it is right");
        let of = ["host", "power", "set"];
        of.iter().fold(all, |of, name| of.subcommand_matches(name).expect("named").clone())
    };
    for (option, id) in [("--keep-awake", "keep_awake"), ("--doubling-pauses", "doubling_pauses")] {
        let off = format!("{option}=false");
        for (words, expected) in [([option, "h3"], true), ([off.as_str(), "h3"], false)] {
            let of = set(&words);
            assert_eq!(of.get_one::<String>("host").map(String::as_str), Some("h3"), "{words:?}");
            assert_eq!(of.get_one::<bool>(id), Some(&expected), "{words:?}");
        }
    }
    let mut all = Arguments::command();
    all.build();
    no_option_swallows(&all);
}

/// Every option that takes a time, with the words before it.
const TIMES: &[(&str, &str)] = &[
    ("guest migrate vm1", "max-downtime"),
    ("guest migrate vm1", "timeout"),
    ("guest set vm1", "max-downtime"),
    ("host drain h1", "max-downtime"),
    ("host drain h1", "timeout"),
    ("operation set 01a1", "max-downtime"),
    ("top", "interval"),
    ("host power set h1", "pause"),
    ("host power set h1", "deadline"),
    ("plan preview --balance 3", "period"),
    ("rule create r cpu.usage_active>60", "period"),
    ("rule create r cpu.usage_active>60", "cooldown"),
    ("rule update r", "period"),
    ("rule update r", "cooldown"),
    ("policy set balance --level 3", "interval"),
    ("policy set balance --level 3 --interval 5m", "hold"),
    ("policy set balance --level 3 --interval 5m", "horizon"),
    ("policy set power --level 3", "min-on"),
    ("policy set power --level 3", "min-off"),
    ("policy set power-cap rack --hosts h1 --watts 9", "window"),
    ("sim run --trace t.csv", "duration"),
    ("sim run --trace t.csv", "interval"),
    ("sim run --trace t.csv", "mtbf"),
    ("sim run --trace t.csv", "repair"),
    ("sim backtest", "since"),
    ("sim backtest", "interval"),
];

/// What is left to the controller is refused there, in the same words.
#[test]
fn every_option_that_takes_a_time_takes_the_same_times() {
    for (before, option) in TIMES {
        for span in ["1m30s", "90s", "2m"] {
            let given = format!("--{option}={span}");
            let words: Vec<&str> = before.split(' ').chain([given.as_str()]).collect();
            let taken = parsed(&words);
            assert!(taken.is_ok(), "{words:?}: {}", taken.unwrap_err());
        }
        let given = format!("--{option}=1 fortnight");
        let words: Vec<&str> = before.split(' ').chain([given.as_str()]).collect();
        if let Err(error) = parsed(&words) {
            assert!(error.to_string().contains("ms, s, m, h, d"), "{words:?}: {error}");
        }
    }
    let mut all = Arguments::command();
    all.build();
    every_time_is_in_the_table(&all, "");
}

fn every_time_is_in_the_table(command: &Command, path: &str) {
    let names: std::collections::BTreeSet<&str> = TIMES.iter().map(|(_, name)| *name).collect();
    let takes = |of: &&clap::Arg| of.get_action().takes_values();
    for long in command.get_arguments().filter(takes).filter_map(clap::Arg::get_long) {
        let there = TIMES.iter().any(|(before, name)| *name == long && before.starts_with(path));
        assert!(!names.contains(long) || there, "`{path} --{long}` is not in the table");
    }
    for sub in command.get_subcommands() {
        let path = format!("{path} {}", sub.get_name());
        every_time_is_in_the_table(sub, path.trim_start());
    }
}

#[test]
fn every_option_that_takes_a_rate_takes_the_same_rates() {
    for before in ["guest migrate vm1", "host drain h1", "operation set 01a1"] {
        let given = |rate: &str| format!("--max-bandwidth={rate}");
        let words = |given: &str| {
            before.split(' ').map(str::to_owned).chain([given.to_owned()]).collect::<Vec<_>>()
        };
        for rate in ["100MiB/s", "1GiB/s", "100MiB", "1 GB/s"] {
            let words = words(&given(rate));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert!(parsed(&words).is_ok(), "{words:?}");
        }
        for rate in ["100", "100Mbit/s", "0MiB/s"] {
            let words = words(&given(rate));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            refused(&words, ErrorKind::ValueValidation);
        }
    }
}

fn no_option_swallows(command: &Command) {
    for option in command.get_arguments().filter(|of| !of.is_positional()) {
        let optional = option.get_num_args().is_some_and(|of| of.min_values() == 0);
        let swallows = optional && option.get_action().takes_values();
        let name = format!("{} --{}", command.get_name(), option.get_id());
        assert!(!swallows || option.is_require_equals_set(), "{name} takes the next word");
    }
    command.get_subcommands().for_each(no_option_swallows);
}

/// Words as a shell splits them, up to a comment, a pipe or a redirection.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) =
        (Vec::new(), None, None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(end), letter) if letter == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ') => all.extend(word.take()),
            (None, '>' | '|' | '#' | '&' | ';') if word.is_none() => return all,
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    all.extend(word);
    all
}

/// The guide and the readme, by file name.
fn pages() -> Vec<(String, String)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let guide = std::fs::read_dir(format!("{root}/docs/guide")).unwrap();
    let mut paths: Vec<_> = guide.map(|entry| entry.unwrap().path()).collect();
    paths.push(format!("{root}/README.md").into());
    // The reference is the parser's own help.
    paths.retain(|path| !path.ends_with("cli.md"));
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    paths.iter().map(read).collect()
}

#[test]
fn every_command_line_of_the_guide_is_taken() {
    let mut count = 0;
    for (name, page) in pages() {
        let joined = page.replace("\\\n", " ");
        for line in joined.lines() {
            let line = line.trim_start().trim_start_matches("$ ");
            let command = line.strip_prefix("drover ").unwrap_or_default();
            // A drawing, or shortened in the text.
            if !command.starts_with(|first: char| first.is_ascii_lowercase())
                || line.contains(['…', '│'])
            {
                continue;
            }
            let words = words(line);
            let taken = Arguments::command().try_get_matches_from(&words);
            assert!(taken.is_ok(), "{name}: {line}\n{}", taken.unwrap_err());
            count += 1;
        }
    }
    assert!(count > 80, "only {count} command lines were found");
}

#[test]
fn every_option_that_the_guide_s_text_names_with_its_command_is_known() {
    let mut all = Arguments::command();
    all.build();
    let mut count = 0;
    for (name, page) in pages() {
        let fenced = page.split("```").step_by(2);
        for text in fenced.flat_map(|prose| prose.split('`').skip(1).step_by(2)) {
            let Some(rest) = text.strip_prefix("drover ") else { continue };
            known(&all, rest).unwrap_or_else(|wrong| panic!("{name}: `{text}`: {wrong}"));
            count += 1;
        }
    }
    assert!(count > 80, "only {count} commands were found");
}

/// Whether its subcommands and options are there; words that are left out are no matter.
fn known(all: &Command, text: &str) -> Result<(), String> {
    let mut command = all;
    let mut inside = false;
    for word in words(text) {
        // `drain|undrain` and `wake` alike.
        let first = word.split('|').next().unwrap_or_default().trim_start_matches('[');
        if let Some(option) = first.strip_prefix("--").filter(|option| !option.is_empty()) {
            let option = option.split('=').next().unwrap_or_default();
            let mut longs = command.get_arguments().filter_map(|of| of.get_long());
            if !longs.any(|long| long == option) {
                return Err(format!("{} has no --{option}", command.get_name()));
            }
            inside = true;
        } else if let Some(sub) = command.find_subcommand(first).filter(|_| !inside) {
            command = sub;
        } else if command.has_subcommands() && !inside && command.get_positionals().count() == 0 {
            return Err(format!("{} has no command {first}", command.get_name()));
        } else {
            inside = true;
        }
    }
    Ok(())
}
