//! What may be changed while changes are not stored for too long (P9).

use std::time::Duration;

use super::book::{Book, Change, Subject};
use super::content::place_of;

/// How exactly the age of a change is known, and how late it may be looked at.
const SLACK: Duration = Duration::from_millis(50);

impl Book {
    /// An event that may change something was let in: so many of its PE may not be stored.
    pub(super) fn check_exposed_events(&mut self, owner: u64) {
        let Some(events_max) = self.exposed_events_max else { return };
        let Some(subject) = self.subjects.get(&owner) else { return };
        // What a panic left and was kept is counted as one.
        if subject.restated || Self::is_unsure(subject) {
            return;
        }
        let counts = |change: &&Change| change.is_event && !change.written_off;
        let events = subject.unstored.iter().filter(counts).count();
        if events >= usize::try_from(events_max.get()).unwrap() {
            self.trace.violate(format!("P9: an event of {owner} is let in behind {events} others"));
        }
    }

    /// Whether it is not certain that a PE has a change.
    fn is_unsure(subject: &Subject) -> bool {
        subject.poisoned || subject.out || subject.adrift || subject.certain().is_none()
    }

    /// An event that may change something was let in: no change of its prototype may have been too
    /// old when the keeper had last done all that was to be done by then.
    pub(super) fn check_exposed(&self, owner: u64) {
        let Some(exposure_max) = self.exposure_max else { return };
        for (other, subject) in &self.subjects {
            if place_of(*other).0 != place_of(owner).0 {
                continue;
            }
            if Self::is_unsure(subject) {
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
