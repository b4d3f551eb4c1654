//! The way from a state to the field at which an error happened.

use std::fmt;

/// How many steps an error remembers.
///
/// A nested state is up to 128 types deep; the innermost steps are those that help.
const STEPS_MAX: usize = 32;

/// The fields from a state down to where an error happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldPath {
    // Innermost first: that is the order in which an error on its way up meets them.
    steps: Vec<&'static str>,
    skipped: usize,
}

impl FieldPath {
    /// Adds the step that leads to the steps so far.
    pub(crate) fn push(&mut self, step: &'static str) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push(step);
        } else {
            self.skipped += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.skipped > 0 {
            f.write_str("…")?;
        }
        for (index, step) in self.steps.iter().rev().enumerate() {
            let joined = step.starts_with('[') || (index == 0 && self.skipped == 0);
            write!(f, "{}{step}", if joined { "" } else { "." })?;
        }
        Ok(())
    }
}
