//! What was done to a storage, in order, for the report of a check that fails.

use std::fmt::Display;
use std::sync::Arc;

use crate::sync::Mutex;

/// How many of the last steps are kept.
const STEPS_MAX: usize = 400;

/// Collects steps; a clone adds to the same ones.
#[derive(Clone, Default)]
pub(super) struct Trail {
    steps: Arc<Mutex<Steps>>,
}

#[derive(Default)]
struct Steps {
    dropped: usize,
    kept: Vec<String>,
}

/// A step that has begun; its end is told by [`Trail::ended`].
pub(super) struct Step(usize);

impl Trail {
    /// Notes that something is being done. If it never ends, the report shows it as the last step.
    pub(super) fn begins(&self, what: String) -> Step {
        let mut steps = self.steps.lock();
        if steps.kept.len() == STEPS_MAX {
            steps.kept.drain(..STEPS_MAX / 2);
            steps.dropped += STEPS_MAX / 2;
        }
        steps.kept.push(what);
        Step(steps.dropped + steps.kept.len() - 1)
    }

    /// Notes what came of a step.
    pub(super) fn ended(&self, step: &Step, outcome: impl Display) {
        let mut steps = self.steps.lock();
        let dropped = steps.dropped;
        let kept = step.0.checked_sub(dropped).and_then(|at| steps.kept.get_mut(at));
        // None: so long ago that nobody will read it.
        if let Some(line) = kept {
            line.push_str(&format!(" -> {outcome}"));
        }
    }

    /// Returns the last steps, at most so many.
    pub(super) fn last(&self, count: usize) -> Vec<String> {
        let steps = self.steps.lock();
        let left_out = steps.kept.len().saturating_sub(count);
        let mut last = Vec::new();
        if left_out + steps.dropped > 0 {
            last.push(format!("({} steps before)", left_out + steps.dropped));
        }
        last.extend(steps.kept.iter().skip(left_out).cloned());
        last
    }

    pub(super) fn clear(&self) {
        *self.steps.lock() = Steps::default();
    }
}
