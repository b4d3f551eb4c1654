//! What has happened, for whoever has to find out why, and as one number to compare two runs.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many lines are shown of a history that failed.
const LINES_SHOWN: usize = 80;

/// Locks what a simulation shares; a planned panic may have poisoned it.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines of a history, and the promises that it has broken.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    count: u64,
    hash: u64,
    violation: Option<String>,
    shown_max: usize,
}

impl Trace {
    pub(super) fn add(&self, line: impl Into<String>) {
        let line = line.into();
        let mut lines = lock(&self.0);
        for byte in line.bytes() {
            lines.hash = (lines.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        lines.count += 1;
        let number = lines.count;
        lines.last.push_back(format!("{number:5} {line}"));
        if lines.last.len() > LINES_SHOWN.max(lines.shown_max) {
            lines.last.pop_front();
        }
    }

    /// Notes that a promise is broken; the first one counts.
    pub(super) fn violate(&self, what: impl Into<String>) {
        let what = what.into();
        self.add(format!("VIOLATION {what}"));
        lock(&self.0).violation.get_or_insert(what);
    }

    pub(super) fn violation(&self) -> Option<String> {
        lock(&self.0).violation.clone()
    }

    /// Keeps every line, for a history that is looked at alone.
    pub(super) fn keep_all(&self) {
        lock(&self.0).shown_max = usize::MAX;
    }

    /// A number that two equal histories share.
    pub(super) fn hash(&self) -> u64 {
        lock(&self.0).hash
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in &lock(&self.0).last {
            writeln!(text, "{line}").unwrap();
        }
        text
    }
}
