//! Times and rates as options take them: what may be written is decided in `drover-model` alone,
//! so that every option and the API take the same.

use std::time::Duration;

use drover_model::{exact_duration, parse_duration, parse_rate};

/// Whole milliseconds, at least one.
pub(super) fn millis(text: &str) -> Result<u64, String> {
    whole(text, Duration::from_millis(1))
}

/// Whole seconds, at least one.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    whole(text, Duration::from_secs(1))
}

fn whole(text: &str, step: Duration) -> Result<u64, String> {
    let span = parse_duration(text).map_err(|error| error.to_string())?;
    let (span, each) = (span.as_nanos(), step.as_nanos());
    if span < each || !span.is_multiple_of(each) {
        let step = exact_duration(step);
        return Err(format!("it must be {step} or a multiple of it"));
    }
    let steps = span / each;
    u64::try_from(steps).map_err(|_| "it is too long".to_owned())
}

/// Whole MiB/s, rounded down, at least one.
pub(super) fn mib_per_s(text: &str) -> Result<u64, String> {
    let rate = parse_rate(text).map_err(|error| error.to_string())?.mib().0;
    if rate > 0 { Ok(rate) } else { Err("it must be at least 1MiB/s".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_steps() {
        assert_eq!(millis("300ms"), Ok(300));
        assert_eq!(millis("1.5s"), Ok(1500));
        assert_eq!(millis("1m"), Ok(60_000));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!((seconds("90s"), seconds("10m"), seconds("2h")), (Ok(90), Ok(600), Ok(7200)));
        for wrong in ["0s", "0.5ms", "300", "1.0005s", "-1s", "1 fortnight", ""] {
            assert!(millis(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0s", "500ms", "1500ms", "10"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_whole_mib() {
        for (text, mib) in [("100MiB/s", 100), ("20MiB", 20), ("1GiB/s", 1024), ("10 MB/s", 9)] {
            assert_eq!(mib_per_s(text), Ok(mib), "{text}");
        }
        for wrong in ["0MiB/s", "1KiB/s", "100", "100Mbit/s", ""] {
            assert!(mib_per_s(wrong).is_err(), "{wrong}");
        }
    }
}
