//! What has happened, for whoever has to find out why, and as one number to compare two runs.

use std::collections::VecDeque;
use std::fmt::{Display, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::met::Tally;
use super::outcome::{Outcome, Telling};

/// How many lines are told of the end of a history.
const LAST_LINES: usize = 80;

/// Locks what a simulation shares; a planned panic may have poisoned it.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines of a history, and the promises that it has broken.
#[derive(Debug, Clone)]
pub(super) struct Trace(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    count: u64,
    /// Changes with every line.
    hash: u64,
    violation: Option<String>,
    /// How many are kept; if none, they are not even put together.
    lines_max: usize,
}

impl Trace {
    pub(super) fn telling(telling: Telling) -> Self {
        let lines_max = match telling {
            Telling::Nothing => 0,
            Telling::Last => LAST_LINES,
            Telling::All => usize::MAX,
        };
        Self(Arc::new(Mutex::new(Lines { lines_max, ..Lines::default() })))
    }

    pub(super) fn add(&self, line: impl Display) {
        let mut lines = lock(&self.0);
        if lines.lines_max == 0 {
            return;
        }
        let line = line.to_string();
        for byte in line.bytes() {
            lines.hash = (lines.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        lines.count += 1;
        let number = lines.count;
        lines.last.push_back(format!("{number:5} {line}"));
        if lines.last.len() > lines.lines_max {
            lines.last.pop_front();
        }
    }

    /// Notes that a promise is broken; the first one counts.
    pub(super) fn violate(&self, what: impl Display) {
        let what = what.to_string();
        self.add(format_args!("VIOLATION {what}"));
        lock(&self.0).violation.get_or_insert(what);
    }

    pub(super) fn is_broken(&self) -> bool {
        lock(&self.0).violation.is_some()
    }

    /// Returns what came of the history, which has met this.
    pub(super) fn outcome(&self, met: Tally) -> Outcome {
        let lines = lock(&self.0);
        let mut text = String::new();
        for line in &lines.last {
            writeln!(text, "{line}").unwrap();
        }
        Outcome { violation: lines.violation.clone(), hash: lines.hash, text, met }
    }
}
