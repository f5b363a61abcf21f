//! `time_s,guest,cpu_cores[,memory_mib]`: one sample a line.

use std::time::Duration;

use drover_model::Mib;

use super::{ReadError, limits, shown};
use crate::cluster::{is_name, limits::MAX_MEMORY_MIB};
use crate::trace::{Step, Trace};

const HEADERS: [&str; 2] = ["time_s,guest,cpu_cores", "time_s,guest,cpu_cores,memory_mib"];
const FORM: &str = "write a first line `time_s,guest,cpu_cores` or \
                    `time_s,guest,cpu_cores,memory_mib`, then one sample a line, such as `300,vm1,1.5`";

/// Reads a trace. Samples of different guests may come in any order, those of one guest in
/// the order of time. Empty lines are passed over.
pub fn csv(file: &str, text: &str) -> Result<Trace, ReadError> {
    let mut lines = (1..).zip(text.trim_start_matches('\u{feff}').lines());
    let wrong = |problem: String| ReadError::of(file, problem, FORM);
    let Some((_, header)) = lines.next() else {
        return Err(wrong("the file is empty".to_owned()));
    };
    let header: String = header.chars().filter(|c| !c.is_whitespace()).collect();
    if !HEADERS.contains(&header.as_str()) {
        return Err(wrong(format!("the first line is {}", shown(&header))).at(1));
    }
    let columns = header.split(',').count();
    let mut trace = Trace::new();
    for (number, line) in lines {
        if line.trim().is_empty() {
            continue;
        }
        let (guest, step) = sample(line, columns).map_err(|problem| wrong(problem).at(number))?;
        trace.push(guest, step).map_err(|error| {
            let text = format!("guest {}: {error}", shown(guest));
            ReadError::of(file, text, "sort the samples by time_s; merge or drop repeats")
                .at(number)
        })?;
    }
    if trace.is_empty() {
        return Err(wrong("there is no sample below the first line".to_owned()));
    }
    Ok(trace)
}

fn sample(line: &str, columns: usize) -> Result<(&str, Step), String> {
    if line.len() > limits::MAX_LINE {
        return Err(format!("the line has {} bytes, at most {}", line.len(), limits::MAX_LINE));
    }
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    if fields.len() != columns {
        return Err(format!("the line has {} fields instead of {columns}", fields.len()));
    }
    if !is_name(fields[1]) {
        return Err("the guest's name is empty or cannot be a name".to_owned());
    }
    let at = number(fields[0], "time_s")?;
    let at = Duration::try_from_secs_f64(at)
        .map_err(|_| format!("time_s is {}, which is out of range", shown(fields[0])))?;
    let memory = match fields.get(3) {
        Some(text) => Some(Mib(memory(text)?).bytes()),
        None => None,
    };
    Ok((fields[1], Step { at, cores: number(fields[2], "cpu_cores")?, memory }))
}

fn memory(text: &str) -> Result<u64, String> {
    let mib = number(text, "memory_mib")?;
    if mib > MAX_MEMORY_MIB as f64 {
        return Err(format!("memory_mib is {}, more than 64 TiB", shown(text)));
    }
    Ok(mib.round() as u64)
}

fn number(text: &str, what: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|number| number.is_finite() && *number >= 0.0)
        .ok_or_else(|| format!("{what} is {}, not a number from 0", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, line: Option<usize>, part: &str) {
        let error = csv("t.csv", text).unwrap_err();
        assert_eq!(error.place.line, line, "{error}");
        assert!(error.to_string().contains(part), "{part}? {error}");
        assert!(!error.cure.is_empty());
    }

    #[test]
    fn samples_are_read_with_and_without_memory() {
        let text = "\u{feff}time_s,guest,cpu_cores,memory_mib\r\n0,a,1.5,512\r\n\r\n0,b,0,1\r\n7.5,a,2,600\r\n";
        let trace = csv("t.csv", text).unwrap();
        assert_eq!(trace.guests().collect::<Vec<_>>(), ["a", "b"]);
        let step = trace.steps("a")[1];
        assert_eq!((step.at, step.cores), (Duration::from_millis(7500), 2.0));
        assert_eq!(step.memory, Some(Mib(600).bytes()));
        let plain = csv("t.csv", "time_s, guest, cpu_cores\n0,a,1\n").unwrap();
        assert_eq!(plain.steps("a")[0].memory, None);
    }

    #[test]
    fn each_bad_line_is_named_with_what_is_wrong() {
        let with = |line: &str| format!("time_s,guest,cpu_cores\n0,a,1\n{line}\n");
        check("", None, "empty");
        check("time,guest,cpu\n", Some(1), "first line");
        check("time_s,guest,cpu_cores\n", None, "no sample");
        check(&with("5,a"), Some(3), "2 fields instead of 3");
        check(&with("5,a,1,9"), Some(3), "4 fields instead of 3");
        check(&with("soon,a,1"), Some(3), "time_s is `soon`");
        check(&with("-5,a,1"), Some(3), "time_s is `-5`");
        check(&with("5,,1"), Some(3), "name");
        check(&with("5,a,lots"), Some(3), "cpu_cores is `lots`");
        check(&with("5,a,NaN"), Some(3), "cpu_cores is `NaN`");
        check(&with("5,a,1e9"), Some(3), "between 0 and 4096");
        check(&with("1e300,a,1"), Some(3), "out of range");
        check(&with("1e9,a,1"), Some(3), "year");
        check(&with("0,a,1"), Some(3), "does not grow");
        check(&with(&"x".repeat(2000)), Some(3), "2000 bytes");
        check("time_s,guest,cpu_cores,memory_mib\n0,a,1,1e12\n", Some(2), "64 TiB");
    }
}
