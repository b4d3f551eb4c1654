//! Counts changes that are not stored, by the time they were made.
//!
//! Time is cut into generations. A PE with changes that are not stored is counted in the generation
//! of the oldest of them. So the age of the oldest change, and whether everything before a point in
//! time is stored, are known at any moment, whatever the order in which PEs are stored.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;

/// How long a generation lasts: the exactness of ages.
pub(super) const GENERATION: Duration = Duration::from_millis(10);

/// Numbers are compared by their distance: they may wrap around after 2^32 generations, over a
/// year.
pub(super) fn is_before(generation: u32, other: u32) -> bool {
    generation.wrapping_sub(other) > u32::MAX / 2
}

#[derive(Debug, Default)]
pub(super) struct Exposure {
    /// The number of the first generation in the queue.
    first: u32,
    // Invariant: the first one is not empty, unless it is the last.
    generations: VecDeque<Generation>,
    moved: bool,
}

#[derive(Debug)]
struct Generation {
    started: Timestamp,
    count: usize,
}

impl Exposure {
    /// Counts a PE whose first change is made `now`, and returns the generation.
    pub(super) fn begin(&mut self, now: Timestamp) -> u32 {
        self.moved = true;
        match self.generations.back_mut() {
            Some(last) if now < last.started.after(GENERATION) => last.count += 1,
            _ => self.generations.push_back(Generation { started: now, count: 1 }),
        }
        self.drop_empty();
        self.last()
    }

    /// Ends the count of a PE that was begun in this generation.
    pub(super) fn end(&mut self, generation: u32) {
        self.moved = true;
        let at = usize::try_from(generation.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        if let Some(counted) = self.generations.get_mut(at) {
            debug_assert!(counted.count > 0, "a PE left a generation twice");
            counted.count = counted.count.saturating_sub(1);
        }
        self.drop_empty();
    }

    /// Returns when the oldest generation that has PEs began.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.generations.iter().find(|generation| generation.count > 0).map(|g| g.started)
    }

    /// Returns a number that every change so far is before, and no later one is.
    pub(super) fn cut(&mut self, now: Timestamp) -> u32 {
        if self.generations.back().is_some_and(|last| last.count > 0) {
            self.generations.push_back(Generation { started: now, count: 0 });
        }
        self.last()
    }

    /// Returns the number of the oldest generation that has PEs, or of the one that is to come.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    pub(super) fn has_moved(&self) -> bool {
        self.moved
    }

    /// Returns whether anything was counted since this was last called.
    #[inline]
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Returns the number of the newest generation, or of the one that is to come.
    fn last(&self) -> u32 {
        let behind = self.generations.len().saturating_sub(1);
        self.first.wrapping_add(u32::try_from(behind).unwrap_or(u32::MAX))
    }

    fn drop_empty(&mut self) {
        while self.generations.len() > 1 && self.generations.front().is_some_and(|g| g.count == 0) {
            self.generations.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::new(Duration::from_millis(millis))
    }

    #[test]
    fn the_oldest_change_is_known_whatever_is_stored_first() {
        let mut exposure = Exposure::default();
        assert_eq!(exposure.oldest(), None);
        let a = exposure.begin(at(0));
        let b = exposure.begin(at(5));
        let c = exposure.begin(at(50));
        assert_eq!((a, b), (0, 0));
        assert_eq!(exposure.oldest(), Some(at(0)));
        exposure.end(a);
        assert_eq!(exposure.oldest(), Some(at(0)));
        exposure.end(b);
        assert_eq!(exposure.oldest(), Some(at(50)));
        exposure.end(c);
        assert_eq!(exposure.oldest(), None);
    }

    #[test]
    fn a_cut_parts_what_was_before_from_what_came_after() {
        let mut exposure = Exposure::default();
        let nothing = exposure.cut(at(0));
        assert!(!is_before(exposure.first(), nothing));
        let before = exposure.begin(at(1));
        let cut = exposure.cut(at(1));
        let after = exposure.begin(at(1));
        assert!(is_before(before, cut) && !is_before(after, cut));
        assert!(is_before(exposure.first(), cut));
        exposure.end(before);
        assert!(!is_before(exposure.first(), cut));
        exposure.end(after);
        assert_eq!(exposure.cut(at(2)), after);
    }

    #[test]
    fn a_change_after_so_long_is_of_another_generation() {
        let mut exposure = Exposure::default();
        let generations = [0, 9, 10].map(|millis| exposure.begin(at(millis)));
        assert_eq!(generations, [0, 0, 1]);
    }

    #[test]
    fn whoever_looks_is_told_once_that_something_was_counted() {
        let mut exposure = Exposure::default();
        assert!(!exposure.has_moved() && !exposure.take_moved());
        let generation = exposure.begin(at(0));
        assert!(exposure.has_moved() && exposure.take_moved());
        assert!(!exposure.has_moved() && !exposure.take_moved());
        exposure.end(generation);
        assert!(exposure.has_moved() && exposure.take_moved());
    }

    #[test]
    fn half_of_all_numbers_are_before_another() {
        for number in [0, 7, u32::MAX] {
            let before = |distance| is_before(number, number.wrapping_add(distance));
            assert!(before(1) && before(1 << 31) && !before((1 << 31) + 1) && !before(0));
            assert!(!is_before(number.wrapping_add(5), number));
        }
    }

    #[test]
    fn numbers_may_wrap_around() {
        let mut exposure = Exposure { first: u32::MAX, generations: VecDeque::new(), moved: false };
        let old = exposure.begin(at(0));
        let new = exposure.begin(at(100));
        assert_eq!((old, new), (u32::MAX, 0));
        assert!(is_before(old, new));
        exposure.end(old);
        assert_eq!(exposure.first(), 0);
    }
}
