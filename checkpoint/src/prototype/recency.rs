//! Finds the PEs without an event for the longest time, at no cost per event.
//!
//! A queue holds a mark for each resident PE. The mark at its front is trusted only if the PE had
//! no event since it was made; otherwise a newer mark goes to the back. So each look costs constant
//! time on average, and an event only writes its time into its PE.

use std::collections::VecDeque;

use crate::capture::PeHandle;

#[derive(Debug, Default)]
pub(super) struct Recency {
    marks: VecDeque<Mark>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    pe: PeHandle,
    last_event: u32,
}

/// What became of the PE of a mark.
pub(super) enum Look {
    /// It is gone.
    Gone,
    /// It is still there, and had its last event then.
    LastEvent(u32),
}

impl Recency {
    /// Takes in a PE that has become resident.
    pub(super) fn add(&mut self, pe: PeHandle, last_event: u32) {
        self.marks.push_back(Mark { pe, last_event });
    }

    /// Returns the PE without an event for the longest time if its last one was before `limit`.
    ///
    /// It stays in the queue, at the back, until a look finds that it is gone.
    pub(super) fn oldest_before(
        &mut self,
        limit: Option<u32>,
        look: impl Fn(PeHandle) -> Look,
    ) -> Option<PeHandle> {
        // One look more than there are marks: if all had an event since theirs were made, the first
        // round finds only that.
        for _ in 0..=self.marks.len() {
            let mark = self.marks.pop_front()?;
            match look(mark.pe) {
                Look::Gone => {}
                Look::LastEvent(last_event) if last_event == mark.last_event => {
                    if limit.is_some_and(|limit| !is_earlier(last_event, limit)) {
                        self.marks.push_front(mark);
                        return None;
                    }
                    self.marks.push_back(mark);
                    return Some(mark.pe);
                }
                Look::LastEvent(last_event) => self.marks.push_back(Mark { last_event, ..mark }),
            }
        }
        None
    }

    /// Forgets marks of PEs that are gone, once they are the most.
    pub(super) fn tidy(&mut self, resident: usize, look: impl Fn(PeHandle) -> Look) {
        if self.marks.len() > resident.saturating_mul(2).saturating_add(64) {
            self.marks.retain(|mark| !matches!(look(mark.pe), Look::Gone));
        }
    }
}

/// Compares coarse times by their distance: they may wrap around.
pub(super) fn is_earlier(time: u32, other: u32) -> bool {
    time.wrapping_sub(other) > u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn pe(ticket: u64) -> PeHandle {
        PeHandle { hash: ticket, ticket }
    }

    fn look(times: &HashMap<u64, u32>) -> impl Fn(PeHandle) -> Look {
        |pe| times.get(&pe.ticket).map_or(Look::Gone, |time| Look::LastEvent(*time))
    }

    #[test]
    fn the_longest_without_an_event_is_found() {
        let mut recency = Recency::default();
        let mut times = HashMap::from([(1, 10), (2, 11), (3, 12)]);
        for (ticket, time) in [(1, 10), (2, 11), (3, 12)] {
            recency.add(pe(ticket), time);
        }
        times.insert(1, 20); // 1 had another event
        assert_eq!(recency.oldest_before(None, look(&times)), Some(pe(2)));
        times.remove(&2);
        assert_eq!(recency.oldest_before(None, look(&times)), Some(pe(3)));
        times.remove(&3);
        assert_eq!(recency.oldest_before(Some(20), look(&times)), None);
        assert_eq!(recency.oldest_before(Some(21), look(&times)), Some(pe(1)));
    }

    #[test]
    fn one_is_found_although_all_had_an_event_since() {
        let mut recency = Recency::default();
        for ticket in 1..=4 {
            recency.add(pe(ticket), 10);
        }
        let times = HashMap::from([(1, 20), (2, 30), (3, 30), (4, 30)]);
        assert_eq!(recency.oldest_before(None, look(&times)), Some(pe(1)));
    }

    #[test]
    fn half_of_all_times_are_earlier_than_another() {
        for time in [0, 7, u32::MAX] {
            let earlier = |distance| is_earlier(time, time.wrapping_add(distance));
            assert!(earlier(1) && earlier(1 << 31) && !earlier((1 << 31) + 1) && !earlier(0));
            assert!(!is_earlier(time.wrapping_add(5), time));
        }
    }

    #[test]
    fn marks_of_what_is_gone_are_forgotten() {
        let mut recency = Recency::default();
        for ticket in 0..1000 {
            recency.add(pe(ticket), 0);
        }
        let times = HashMap::from([(999, 0)]);
        recency.tidy(1, look(&times));
        assert_eq!(recency.marks.len(), 1);
    }
}
