//! What has happened, for whoever has to find out why, and as one number to compare two runs.

use std::collections::VecDeque;
use std::fmt::{Display, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Changes with every line.
    hash: u64,
    violation: Option<String>,
    kept_max: usize,
}

impl Trace {
    pub(super) fn add(&self, line: impl Display) {
        let mut lines = lock(&self.0);
        if lines.kept_max == 0 {
            return;
        }
        let line = line.to_string();
        for byte in line.bytes() {
            lines.hash = (lines.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        lines.count += 1;
        let number = lines.count;
        lines.last.push_back(format!("{number:5} {line}"));
        if lines.last.len() > lines.kept_max {
            lines.last.pop_front();
        }
    }

    /// Notes that a promise is broken; the first one counts.
    pub(super) fn violate(&self, what: impl Display) {
        let what = what.to_string();
        self.add(format_args!("VIOLATION {what}"));
        lock(&self.0).violation.get_or_insert(what);
    }

    pub(super) fn violation(&self) -> Option<String> {
        lock(&self.0).violation.clone()
    }

    /// Keeps that many of the last lines; none of them is even put together if that is 0.
    pub(super) fn keep(&self, lines_max: usize) {
        lock(&self.0).kept_max = lines_max;
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
