//! PlanetLab folders, as CloudSim publishes them: one file for each guest, one integer a
//! line, CPU use in percent of the guest's vCPUs, 300 s apart.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::Name;

use super::{ReadError, limits, shown};
use crate::cluster::limits::MAX_GUESTS;
use crate::trace::{Step, Trace};

/// Between two lines.
pub const STEP: Duration = Duration::from_secs(300);

const FORM: &str = "each file of a PlanetLab folder is one guest: one whole number from 0 to 100 \
                    a line, its CPU use in percent, one line for every 300 s";

/// CPU use by guest, percent of its vCPUs, one value for every [`STEP`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Percentages(BTreeMap<Name, Vec<u8>>);

/// Reads files: their names and texts. `folder` is what errors call their place.
pub fn percentages<'a>(
    folder: &str,
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Percentages, ReadError> {
    let mut all = BTreeMap::new();
    for (name, text) in files {
        let path = format!("{folder}/{name}");
        all.insert(name.to_owned(), one(&path, text)?);
        if all.len() > MAX_GUESTS {
            let text = format!("there are more than {MAX_GUESTS} files");
            return Err(ReadError::of(folder, text, "take a part of the folder"));
        }
    }
    if all.is_empty() {
        let cure = "name the folder of one day, such as planetlab/20110303";
        return Err(ReadError::of(folder, "there is no file in it", cure));
    }
    Ok(Percentages(all))
}

fn one(path: &str, text: &str) -> Result<Vec<u8>, ReadError> {
    let wrong = |problem: String| ReadError::of(path, problem, FORM);
    let mut values = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let value: u8 = line
            .parse()
            .ok()
            .filter(|percent| *percent <= 100)
            .ok_or_else(|| wrong(format!("{} is no percentage", shown(line))).at(number))?;
        values.push(value);
        if values.len() > limits::MAX_PLANETLAB_LINES {
            return Err(wrong("there are more lines than a year has steps".to_owned()).at(number));
        }
    }
    if values.is_empty() {
        return Err(wrong("the file is empty".to_owned()));
    }
    Ok(values)
}

impl Percentages {
    /// The guests: the files' names, sorted.
    pub fn guests(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// The trace of guests with so many vCPUs; a guest that is not named has one.
    pub fn trace(&self, vcpus: &BTreeMap<Name, u32>) -> Result<Trace, crate::StepError> {
        let mut trace = Trace::new();
        for (name, values) in &self.0 {
            let vcpus = f64::from(vcpus.get(name).copied().unwrap_or(1));
            for (step, percent) in (0u32..).zip(values) {
                let cores = f64::from(*percent) * vcpus / 100.0;
                trace.push(name, Step { at: STEP * step, cores, memory: None })?;
            }
        }
        Ok(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_guest_and_a_line_is_five_minutes() {
        let read = percentages("d", [("b", "10\n20\n"), ("a", "100\r\n0\r\n")]).unwrap();
        assert_eq!(read.guests().collect::<Vec<_>>(), ["a", "b"]);
        let trace = read.trace(&BTreeMap::from([("a".to_owned(), 4)])).unwrap();
        assert_eq!(trace.steps("a")[0].cores, 4.0);
        assert_eq!((trace.steps("b")[1].at, trace.steps("b")[1].cores), (STEP, 0.2));
        assert_eq!(trace.span(), STEP * 2);
    }

    #[test]
    fn each_bad_line_is_named_with_what_is_wrong() {
        for (text, line, part) in [
            ("", None, "empty"),
            ("\n\n", None, "empty"),
            ("5\n101\n", Some(2), "`101` is no percentage"),
            ("5\n-1\n", Some(2), "`-1`"),
            ("5.5\n", Some(1), "`5.5`"),
            ("5\n\nfull\n", Some(3), "`full`"),
        ] {
            let error = percentages("d", [("vm", text)]).unwrap_err();
            assert_eq!((error.place.file.as_str(), error.place.line), ("d/vm", line));
            assert!(error.to_string().contains(part), "{part}? {error}");
        }
        assert!(percentages("d", []).unwrap_err().to_string().contains("no file"));
    }
}
