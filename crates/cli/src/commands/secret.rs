//! Passwords come from a file, the environment, a prompt or standard input: never from an
//! argument, which every user of the machine can read.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;

use drover_api::v1::Password;
use drover_api::{Problem, ProblemKind};

/// Longest file or line; no password is longer.
const MAX_BYTES: u64 = 4096;

/// The file that stands for standard input.
const STDIN: &str = "-";

/// Reads a password: from `file` where one is named (`-` is standard input), else from the
/// variable, else by a prompt without echo, else the first line of standard input.
pub(super) fn read(file: Option<&Path>, variable: &str, what: &str) -> Result<Password, Problem> {
    if let Some(path) = file {
        return if path.as_os_str() == STDIN { first_line() } else { of_file(path) };
    }
    if let Some(value) = std::env::var_os(variable) {
        let text = value.into_string().map_err(|_| bad(format!("{variable} is not UTF-8")))?;
        return Ok(Password(text));
    }
    if std::io::stdin().is_terminal() {
        let asked = rpassword::prompt_password(format!("{what}: "));
        return asked.map(Password).map_err(|error| bad(format!("no password: {error}")));
    }
    first_line()
}

fn of_file(path: &Path) -> Result<Password, Problem> {
    let file = std::fs::File::open(path);
    let mut text = String::new();
    file.and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(|error| bad(format!("{}: {error}", path.display())))?;
    Ok(Password(without_end(&text).to_owned()))
}

fn first_line() -> Result<Password, Problem> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(MAX_BYTES);
    input.read_line(&mut text).map_err(|error| bad(format!("standard input: {error}")))?;
    if text.is_empty() {
        return Err(bad("there is no password on standard input".to_owned()));
    }
    Ok(Password(without_end(&text).to_owned()))
}

/// Without the line's end, which editors and `echo` add.
fn without_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn bad(detail: String) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
        .hint("name a file that holds nothing but the password, or `-` for standard input")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_no_part_of_a_password() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        for (content, password) in
            [("calvin\n", "calvin"), ("calvin\r\n", "calvin"), (" cal vin", " cal vin")]
        {
            std::fs::write(&path, content).unwrap();
            let read = read(Some(&path), "NO_SUCH_VARIABLE", "password").unwrap();
            assert_eq!(read, Password(password.to_owned()));
            assert_eq!(format!("{read:?}"), "Password(…)");
        }
        let missing = super::read(Some(&dir.path().join("none")), "NO_SUCH_VARIABLE", "password");
        assert_eq!(missing.unwrap_err().kind, ProblemKind::BadRequest);
    }
}
