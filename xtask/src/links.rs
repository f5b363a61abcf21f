//! Links between pages: a reader who follows one arrives.
//!
//! Every link to a file of ours must lead to one, with the heading that it names. Below `docs` a
//! page that prose names must be a link; elsewhere, in code too, it must at least be there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// What a page says beyond code: its links and the rest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Prose {
    /// Where its links lead.
    targets: Vec<String>,
    /// Its text without code and without links.
    text: String,
    /// Its headings as anchors.
    anchors: BTreeSet<String>,
}

pub(crate) fn check() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        if has_extension(&path, "md") {
            pages.push(path);
        }
    }
    collect(&root.join("docs"), "md", &mut pages)?;
    let mut wrong = Vec::new();
    for page in &pages {
        let shown = page.strip_prefix(root).unwrap_or(page).display().to_string();
        let prose = prose(&std::fs::read_to_string(page)?);
        for target in &prose.targets {
            if let Some(why) = dead(page, target)? {
                wrong.push(format!("{shown}: {target} {why}"));
            }
        }
        if shown.starts_with("docs/") {
            let plain = paths(&prose.text).map(|path| format!("{shown}: {path} is not a link"));
            wrong.extend(plain);
        }
    }
    collect(&root.join("crates"), "rs", &mut pages)?;
    for file in &pages {
        let text = std::fs::read_to_string(file)?;
        for path in paths(&text).filter(|path| !is_there(root, path)) {
            let shown = file.strip_prefix(root).unwrap_or(file).display();
            wrong.push(format!("{shown}: there is no {path}"));
        }
    }
    if !wrong.is_empty() {
        bail!("links:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

/// Why a link leads nowhere.
fn dead(page: &Path, target: &str) -> anyhow::Result<Option<&'static str>> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(None);
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(p, a)| (p, Some(a)));
    let file = match path {
        "" => page.to_owned(),
        path => page.parent().unwrap_or(page).join(path),
    };
    if !file.exists() {
        return Ok(Some("is not there"));
    }
    let Some(anchor) = anchor.filter(|_| has_extension(&file, "md")) else { return Ok(None) };
    let known = prose(&std::fs::read_to_string(&file)?).anchors;
    Ok((!known.contains(anchor)).then_some("has no such heading"))
}

/// Reads a page: fenced and inline code says nothing of links.
fn prose(page: &str) -> Prose {
    let mut found = Prose::default();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let depth = line.chars().take_while(|letter| *letter == '#').count();
        if let Some(heading) = line[depth..].strip_prefix(' ').filter(|_| depth > 0) {
            found.add_anchor(heading);
        }
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        found.read(&plain);
    }
    found
}

impl Prose {
    /// Takes links out of a line.
    fn read(&mut self, mut line: &str) {
        while let Some(middle) = line.find("](") {
            let begin = line[..middle].rfind('[').unwrap_or(middle);
            self.text.push_str(&line[..begin]);
            let rest = &line[middle + 2..];
            let end = rest.find(')').unwrap_or(rest.len());
            self.targets.push(rest[..end].to_owned());
            line = rest.get(end + 1..).unwrap_or_default();
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// As GitHub names it: lower case, hyphens for spaces, no punctuation, numbered repeats.
    fn add_anchor(&mut self, heading: &str) {
        let kept =
            heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
        let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let repeats = (1..).map(|n| format!("{anchor}-{n}"));
        let mut names = std::iter::once(anchor.clone()).chain(repeats);
        let free = names.find(|name| !self.anchors.contains(name));
        self.anchors.extend(free);
    }
}

/// Pages of ours that a text names by their path from the root.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("docs/").filter_map(|(at, _)| {
        // `readthedocs/`, `../docs/` and addresses are something else.
        let before = text[..at].chars().next_back();
        if before.is_some_and(|letter| letter.is_alphanumeric() || "/.-_".contains(letter)) {
            return None;
        }
        let is_of_path = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
        let rest = &text[at..];
        let end = rest.find(|letter| !is_of_path(letter)).unwrap_or(rest.len());
        Some(rest[..end].trim_end_matches(['.', '/']))
    })
}

/// Whether there is this page or folder; a decision may be named by its number alone.
fn is_there(root: &Path, path: &str) -> bool {
    if root.join(path).exists() {
        return true;
    }
    let Some(number) = path.strip_prefix("docs/decisions/").filter(|n| n.len() == 4) else {
        return false;
    };
    let entries = std::fs::read_dir(root.join("docs/decisions")).into_iter().flatten();
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.any(|name| name.starts_with(number))
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

fn collect(dir: &Path, extension: &str, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, extension, files)?;
        } else if has_extension(&path, extension) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A page: `code` and words\n\
        See [there](other.md#why), [a file](../x) and docs/guide/plain.md.\n\
        `docs/guide/code.md`, [docs/guide/linked.md](linked.md)\n\
        ```text\n# no heading, [no link](nowhere.md), docs/guide/fenced.md\n```\n\
        ## Twice\n## Twice\n";

    #[test]
    fn links_headings_and_plain_paths_are_found_outside_of_code() {
        let found = prose(PAGE);
        assert_eq!(found.targets, ["other.md#why", "../x", "linked.md"]);
        let anchors: Vec<&str> = found.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["a-page-code-and-words", "twice", "twice-1"]);
        assert_eq!(paths(&found.text).collect::<Vec<_>>(), ["docs/guide/plain.md"]);
    }

    #[test]
    fn a_link_leads_to_a_file_and_its_heading() {
        let dir = std::env::temp_dir().join(format!("drover-links-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let page = dir.join("page.md");
        std::fs::write(&page, "# One\n").unwrap();
        for (target, expected) in [
            ("page.md", None),
            ("#one", None),
            ("page.md#one", None),
            ("page.md#two", Some("has no such heading")),
            ("none.md", Some("is not there")),
            ("https://example.org/none.md", None),
        ] {
            assert_eq!(dead(&page, target).unwrap(), expected, "{target}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_decision_may_be_named_by_its_number() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(is_there(root, "docs/decisions/0001") && is_there(root, "docs/decisions"));
        assert!(!is_there(root, "docs/decisions/9999") && !is_there(root, "docs/guide/no.md"));
        assert_eq!(
            paths("https://x.org/docs/a.md, (docs/b.md).").collect::<Vec<_>>(),
            ["docs/b.md"]
        );
    }
}
