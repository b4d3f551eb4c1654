//! Holds a trace of system calls against what must come before an acknowledgement: A2, A3, B3.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint_tests::Backend;

use crate::processes::strace::Call;

/// What would be lost if the power failed now, by path.
#[derive(Clone, Default)]
struct NotDurable {
    // Files with content that was not synced.
    contents: BTreeSet<String>,
    // Files and directories whose parent was not synced since they got their names.
    names: BTreeSet<String>,
    // Where files were put, by their names.
    placed: BTreeMap<String, String>,
    // The segment that was written last, since somebody began to save.
    segment: Option<String>,
}

impl NotDurable {
    fn apply(&mut self, call: &Call) {
        let (paths, texts) = (call.paths(), call.texts());
        match (call.name.as_str(), paths.as_slice(), texts.as_slice()) {
            ("write" | "pwrite64" | "ftruncate", [path, ..], _) => {
                self.contents.insert((*path).to_owned());
                if path.contains("/segments/") {
                    self.segment = Some((*path).to_owned());
                }
            }
            // A segment has its name from the start.
            ("openat", [at, ..], [name]) if call.arguments.contains("O_CREAT|O_EXCL") => {
                let path = join(at, name);
                if path.contains("/segments/") {
                    self.names.insert(path);
                }
            }
            ("fsync" | "fdatasync", [path], _) => {
                self.contents.remove(*path);
                self.names.retain(|name| parent(name) != *path);
            }
            ("syncfs", ..) => {
                self.contents.clear();
                self.names.clear();
            }
            ("mkdirat", [at], [name]) => {
                self.names.insert(join(at, name));
            }
            ("renameat" | "renameat2", [from, to], [from_name, to_name]) => {
                let (from, to) = (join(from, from_name), join(to, to_name));
                self.contents.remove(&to);
                if self.contents.remove(&from) {
                    self.contents.insert(to.clone());
                }
                self.placed.insert((*to_name).to_owned(), to.clone());
                self.names.insert(to);
            }
            _ => {}
        }
    }

    /// Returns what an acknowledgement of this file should have waited for, and has not.
    fn missing(&self, backend: Backend, key: &str) -> Option<String> {
        // The epoch is part of the version: it must not be drawn again.
        let mut needed: Vec<_> =
            ["epoch", "store"].into_iter().filter_map(|own| self.placed.get(own)).collect();
        if backend == Backend::Log && key != "metadata" {
            // Where in it the record lies is not known: what is written must be durable, all of it.
            needed.extend(self.placed.get("manifest"));
            let Some(segment) = &self.segment else { return Some(format!("{key} at all")) };
            needed.push(segment);
        } else {
            let file = file_of(key);
            let Some(target) = self.placed.get(&file) else { return Some(format!("{key} at all")) };
            needed.push(target);
        }
        needed.into_iter().find_map(|path| {
            let is_above = |name: &&String| path.strip_prefix(*name).is_some_and(is_rest);
            self.contents.get(path).or_else(|| self.names.iter().find(is_above)).cloned()
        })
    }
}

/// Whether this is what follows a directory in a path, or nothing.
fn is_rest(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

fn join(directory: &str, name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("{directory}/{name}") }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The name of the file of a short key, or of the metadata.
fn file_of(key: &str) -> String {
    let key = if key == "metadata" { "m" } else { key };
    key.bytes().fold("0".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Checks that what was printed as stored would have survived a loss of power at that moment, and
/// that no sync was tried again after it failed. Returns how many acknowledgements there were.
pub(crate) fn check(backend: Backend, calls: &[Call]) -> Result<usize, String> {
    let mut not_durable = NotDurable::default();
    let (mut acknowledged, mut was_tried) = (0, false);
    for (at, call) in calls.iter().enumerate() {
        if call.name == "write" && call.arguments.starts_with("1<") {
            let text = call.texts().first().copied().unwrap_or_default();
            if text.starts_with("tried ") && !was_tried {
                not_durable.segment = None;
            }
            was_tried = text.starts_with("tried ");
            let Some(line) = text.strip_prefix("stored ") else { continue };
            acknowledged += 1;
            let key = line.split(' ').next().unwrap_or_default();
            if let Some(path) = not_durable.missing(backend, key) {
                return Err(format!("{text}: told before {path} was durable"));
            }
        } else if call.succeeded() {
            not_durable.apply(call);
        } else if call.name.contains("sync") && call.has_failed() {
            check_final(call, calls.get(at + 1..).unwrap_or_default())?;
        }
    }
    Ok(acknowledged)
}

/// A failed sync is not repeated: the system has given the data up, and may say yes then.
fn check_final(failed: &Call, later: &[Call]) -> Result<(), String> {
    for call in later {
        if call.descriptor() != failed.descriptor() {
            continue;
        }
        if call.name == "close" {
            return Ok(());
        }
        if call.name.contains("sync") {
            return Err(format!("{}({}) again after an error", call.name, call.arguments));
        }
    }
    Ok(())
}
