//! What may be changed while changes are not stored for too long (P9).

use std::time::Duration;

use super::book::{Book, Change};
use super::content::place_of;

/// How exactly the age of a change is known, and how late it may be looked at.
const SLACK: Duration = Duration::from_millis(50);

impl Book {
    /// An event that may change something was let in: no change of its prototype may have been too
    /// old when the keeper had last done all that was to be done by then.
    pub(super) fn check_exposed(&self, owner: u64) {
        let Some(exposure_max) = self.exposure_max else { return };
        for (other, subject) in &self.subjects {
            if place_of(*other).0 != place_of(owner).0 {
                continue;
            }
            // Of these it is not certain that they have a change.
            if subject.poisoned || subject.out || subject.adrift || subject.certain().is_none() {
                continue;
            }
            // What is refused for good is not waited for.
            let is_trap = |change: &Change| self.is_trap(change.serial);
            if subject.refused.is_some() || subject.unstored.iter().any(is_trap) {
                continue;
            }
            let oldest = subject.unstored.first().filter(|change| change.is_event);
            if oldest.is_some_and(|change| change.at + exposure_max + SLACK < self.ticked_at) {
                self.trace.violate(format!(
                    "P9: an event of {owner} is let in, and {oldest:?} of {other} is not stored"
                ));
            }
        }
    }
}
