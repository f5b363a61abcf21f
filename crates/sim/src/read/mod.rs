//! Traces and clusters from texts. Bad input is refused with its place and what to do.

mod cluster_file;
mod csv;
pub mod files;
mod made;
mod planetlab;

use std::fmt;

pub use cluster_file::{ClusterFile, cluster_file};
pub use csv::csv;
pub use made::made_cluster;
pub use planetlab::{Percentages, STEP, percentages};

/// Named limits of what is read.
pub mod limits {
    /// Largest file: 20 million lines of a trace.
    pub const MAX_FILE_BYTES: u64 = 1 << 30;
    /// Longest line of a trace, bytes.
    pub const MAX_LINE: usize = 1_024;
    /// Most lines of one PlanetLab file: a year of 5-minute steps.
    pub const MAX_PLANETLAB_LINES: usize = 105_408;
}

/// Bad input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ReadError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub cure: String,
}

/// A file, and a line of it where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path as it was given.
    pub file: String,
    /// From 1.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}", self.file),
            None => self.file.fmt(f),
        }
    }
}

impl ReadError {
    /// An error about a whole file.
    pub(crate) fn of(file: &str, problem: impl Into<String>, cure: impl Into<String>) -> Self {
        let place = Place { file: file.to_owned(), line: None };
        Self { place, problem: problem.into(), cure: cure.into() }
    }

    /// The same at a line, from 1.
    pub(crate) fn at(mut self, line: usize) -> Self {
        self.place.line = Some(line);
        self
    }
}

/// A piece of input as a message shows it: short and in one line.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 40;
    let clean: String =
        text.chars().take(MOST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(MOST).is_some() { format!("`{clean}…`") } else { format!("`{clean}`") }
}
