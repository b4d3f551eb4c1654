//! Holds the sources to the rules of the house that neither rustfmt nor clippy knows.
//!
//! Each rule reports every place that breaks it, so that one run shows all there is to do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const CODE_LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 100;

/// Files that may be longer, each with what makes it one idea all the same.
const LONG_FILES: &[(&str, &str)] = &[];

const FOLDERS: &[&str] = &["checkpoint", "checkpoint-derive", "examples", "target", "tests"];

/// A source file, with its path from the top of the workspace in `/` notation.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The inputs and the outputs of the macro's tests: they hold mistakes on purpose.
    fn is_data(&self) -> bool {
        self.path.starts_with("tests/ui/") || self.path.contains("/golden/")
    }

    /// The lines with their numbers, from one.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// The top of the workspace.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in FOLDERS.iter().filter(|folder| **folder != "target") {
        let mut pending = vec![top().join(folder)];
        while let Some(path) = pending.pop() {
            match collect(&path, &mut pending) {
                Ok(Some(source)) if !source.is_data() => sources.push(source),
                Ok(_) => {}
                Err(err) => panic!("cannot read {}: {err}", path.display()),
            }
        }
    }
    assert!(sources.len() > 10, "the tidy test no longer finds the sources");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Reads a Rust file, or adds a folder's entries to `pending`.
fn collect(path: &Path, pending: &mut Vec<PathBuf>) -> io::Result<Option<Source>> {
    if path.is_dir() {
        // A nested workspace of a test leaves its build here.
        if !path.ends_with("target") {
            for entry in fs::read_dir(path)? {
                pending.push(entry?.path());
            }
        }
        return Ok(None);
    }
    if path.extension().is_none_or(|extension| extension != "rs") {
        return Ok(None);
    }
    let name = path.strip_prefix(top()).unwrap_or(path).to_string_lossy().replace('\\', "/");
    Ok(Some(Source { path: name, text: fs::read_to_string(path)? }))
}

/// Fails with every place for which `rule` has something to say.
#[track_caller]
fn check(rule: impl Fn(&Source, &mut Vec<String>)) {
    let mut problems = Vec::new();
    for source in rust_sources() {
        rule(&source, &mut problems);
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// As [`check`], for a rule that looks at one line at a time and is given the lines before it.
#[track_caller]
fn check_lines(rule: impl Fn(&str, &[&str]) -> Option<&'static str>) {
    check(|source, problems| {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.lines() {
            let before = lines.get(..number - 1).unwrap_or_default();
            if let Some(problem) = rule(line, before) {
                problems.push(format!("{}:{number}: {problem}", source.path));
            }
        }
    });
}

/// The lines that hold code: neither blank, nor a comment, nor in the unit tests at the end.
fn code_lines(text: &str) -> usize {
    text.lines()
        .map(str::trim)
        .take_while(|line| *line != "#[cfg(test)]")
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

#[test]
fn every_file_says_what_it_holds() {
    check(|source, problems| {
        if !source.text.starts_with("//! ") {
            problems.push(format!("{}: does not open with `//!`", source.path));
        }
    });
}

#[test]
fn a_file_holds_one_idea() {
    check(|source, problems| {
        let code_lines = code_lines(&source.text);
        let is_listed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        if code_lines > CODE_LINES_MAX && !is_listed {
            problems.push(format!(
                "{}: {code_lines} lines of code, more than {CODE_LINES_MAX}: split it, or list it \
                 with a reason in LONG_FILES",
                source.path
            ));
        }
        if code_lines <= CODE_LINES_MAX && is_listed {
            problems.push(format!("{}: is short again: drop it from LONG_FILES", source.path));
        }
    });
}

#[test]
fn lines_fit_the_screen() {
    check(|source, problems| {
        for (number, line) in source.lines() {
            let columns = line.chars().count();
            // The row of a table in the documentation cannot be wrapped.
            let is_row = ["//! | ", "/// | "].iter().any(|row| line.trim_start().starts_with(row));
            if columns > COLUMNS_MAX && !is_row {
                problems.push(format!("{}:{number}: {columns} columns", source.path));
            }
        }
    });
}

#[test]
fn a_file_is_named_after_its_concept() {
    check(|source, problems| {
        let name = source.path.rsplit('/').next().unwrap_or_default();
        if ["utils.rs", "util.rs", "helpers.rs", "common.rs", "types.rs", "misc.rs"].contains(&name)
        {
            problems.push(format!("{}: name it after what it holds", source.path));
        }
    });
}

#[test]
fn nothing_is_left_to_do_without_an_owner() {
    // Put together here, or this file would break its own rule.
    let (to_do, fix_me) = (concat!("TO", "DO"), concat!("FIX", "ME"));
    check_lines(|line, _| {
        if line.contains(to_do) {
            return Some("finish it, or turn it into an issue");
        }
        let after = line.split(fix_me).nth(1)?;
        let is_owned = after.starts_with('(') && after.contains("): ");
        (!is_owned).then_some("name who fixes it: `(name): what`")
    });
}

#[test]
fn every_test_runs() {
    let ignore = concat!("#[ign", "ore");
    check_lines(|line, _| line.contains(ignore).then_some("a test that does not run is no test"));
}

#[test]
fn tests_do_not_sleep_to_wait() {
    let sleep = concat!("thread::", "sleep");
    check_lines(|line, before| {
        let is_call = line.contains(sleep) && !line.trim_start().starts_with("//");
        let near = before.iter().rev().take(3);
        let has_reason = near.chain([&line]).any(|line| {
            line.contains("reason = ")
                || line.split_once("//").is_some_and(|(_, why)| !why.is_empty())
        });
        (is_call && !has_reason).then_some("wait for the event, or say why sleeping is right")
    });
}

#[test]
fn a_test_is_named_after_its_promise() {
    let prefix = concat!("fn te", "st_");
    check_lines(|line, before| {
        let is_test = before.last().is_some_and(|line| line.trim() == "#[test]");
        (is_test && line.contains(prefix))
            .then_some("the name states the promise, without a prefix")
    });
}

#[test]
fn lints_are_switched_off_with_a_reason_only() {
    let allow = concat!("#[al", "low(");
    check(|source, problems| {
        // What the derive generates must not depend on whether a lint fires in the user's crate.
        if source.path.starts_with("checkpoint-derive/src/") {
            return;
        }
        for (number, line) in source.lines().filter(|(_, line)| line.contains(allow)) {
            let (path, line) = (&source.path, line.trim());
            problems.push(format!("{path}:{number}: `{line}`: use `expect` with a reason"));
        }
    });
}

#[test]
fn there_is_no_new_top_level_folder() -> io::Result<()> {
    for entry in fs::read_dir(top())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_known = name.starts_with('.') || FOLDERS.contains(&name.as_str());
        assert!(is_known || !entry.file_type()?.is_dir(), "a new top-level folder: {name}");
    }
    Ok(())
}
