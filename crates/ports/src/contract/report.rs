//! What the suites have in common: a promise is a check with a name.

use std::fmt::Write as _;

use crate::{HistoryError, StoreError};

/// A promise that was not kept, and how that showed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unkept(pub(crate) String);

impl From<StoreError> for Unkept {
    fn from(error: StoreError) -> Self {
        Self(format!("failed unexpectedly: {error}"))
    }
}

impl From<HistoryError> for Unkept {
    fn from(error: HistoryError) -> Self {
        Self(format!("failed unexpectedly: {error}"))
    }
}

/// How a check ends.
pub type Kept = Result<(), Unkept>;

/// Ends the check unless the condition holds.
macro_rules! promise {
    ($holds:expr, $($shown:tt)+) => {
        if !$holds {
            return Err($crate::contract::Unkept(format!($($shown)+)));
        }
    };
}

/// Ends the check unless both are equal.
macro_rules! promise_eq {
    ($found:expr, $wanted:expr, $what:expr) => {
        let (found, wanted) = (&$found, &$wanted);
        if found != wanted {
            return Err($crate::contract::Unkept(format!(
                "{}: found {found:?}, wanted {wanted:?}",
                $what
            )));
        }
    };
}

/// Runs each check on an implementation of its own and panics with the names of all that
/// failed.
macro_rules! run_all {
    ($port:literal, $make:expr; $($($path:ident)::+),+ $(,)?) => {{
        let mut report = $crate::contract::report::Report::default();
        $(
            let subject = $make().await;
            report.add(stringify!($($path)::+), $($path)::+(subject).await);
        )+
        report.finish($port);
    }};
}

pub(super) use {promise, promise_eq, run_all};

/// What a suite found.
#[derive(Debug, Default)]
pub(super) struct Report {
    kept: usize,
    unkept: String,
}

impl Report {
    pub(super) fn add(&mut self, name: &str, kept: Kept) {
        let name = name.replace(' ', "");
        match kept {
            Ok(()) => self.kept += 1,
            Err(Unkept(how)) => {
                // Writing to a String does not fail.
                let _ = write!(self.unkept, "\n  {name}: {how}");
            }
        }
    }

    pub(super) fn finish(self, port: &str) {
        let kept = self.kept;
        assert!(self.unkept.is_empty(), "{port}: {kept} promises kept, not these:{}", self.unkept);
    }
}
