//! The events of one source that are not through: on their way, or failed.
//!
//! What is through needs no place here: so a source whose events are handled one after the other
//! never looks here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::inputs::PeName;
use crate::process_error::ProcessError;
use crate::wait::Signal;

/// Told when an event has come to its end, for good or not; what waits for PEs waits for it.
pub(crate) type Ended = Signal<Result<(), ProcessError>>;

/// Events that are not through, by position.
#[derive(Default)]
pub(crate) struct InputEvents {
    /// Right behind the event that was taken in last; a source that is opened again may begin with
    /// lower ones.
    fed: u64,
    open: BTreeMap<u64, Open>,
    /// PEs that have lost events, and from which position on these are to be fed again.
    lost: Vec<(PeName, u64)>,
}

struct Open {
    pes: Vec<PeName>,
    /// Right behind the event that was fed before this one: consumers resume behind an event, and
    /// not somewhere between two.
    after_previous: u64,
    has_failed: bool,
    ended: Option<Arc<Ended>>,
}

/// What is wrong with what a caller wants of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is being processed.
    Running,
    /// It neither failed nor was cancelled.
    NotFailed,
}

/// Whether an event may run on a PE.
pub(crate) enum Turn {
    Now,
    /// One before it is on its way to the same PE.
    After(Arc<Ended>),
    /// One before it on the same PE has failed.
    Behind(u64),
    /// The PE has lost events: from this position on they are to be fed again.
    Lost(u64),
}

impl InputEvents {
    /// Takes in an event that is not open yet. All those that were fed before end at
    /// `after_previous`.
    pub(crate) fn begin(&mut self, position: u64, after_previous: u64, pes: Vec<PeName>) {
        self.fed = position + 1;
        self.open.insert(position, Open { pes, after_previous, has_failed: false, ended: None });
    }

    /// Whether an event is on its way, or has failed.
    pub(crate) fn is_open(&self, position: u64) -> bool {
        self.open.contains_key(&position)
    }

    /// Takes in an event again that has failed.
    pub(crate) fn again(&mut self, position: u64, pes: Vec<PeName>) -> Result<(), Fault> {
        match self.open.get_mut(&position) {
            Some(open) if open.has_failed => {
                (open.pes, open.has_failed) = (pes, false);
                Ok(())
            }
            Some(_) => Err(Fault::Running),
            None => Err(Fault::NotFailed),
        }
    }

    /// Says whether an event may run on one of its PEs.
    pub(crate) fn turn(&mut self, position: u64, pe: PeName) -> Turn {
        if let Some((_, from)) =
            self.lost.iter().find(|(lost, from)| *lost == pe && *from <= position)
        {
            return Turn::Lost(*from);
        }
        // The nearest: whoever is before that one has waited for the others.
        let mut before = self.open.range_mut(..position).rev();
        match before.find(|(_, open)| open.pes.contains(&pe)) {
            None => Turn::Now,
            Some((failed, open)) if open.has_failed => Turn::Behind(*failed),
            Some((_, open)) => Turn::After(open.ended.get_or_insert_with(Signal::new).clone()),
        }
    }

    /// An event is through. Returns who is to be told, with no lock held.
    #[must_use]
    pub(crate) fn done(&mut self, position: u64) -> Option<Arc<Ended>> {
        self.open.remove(&position)?.ended
    }

    /// An event has failed, or was cancelled: it may be tried again.
    #[must_use]
    pub(crate) fn failed(&mut self, position: u64) -> Option<Arc<Ended>> {
        let open = self.open.get_mut(&position)?;
        open.has_failed = true;
        open.ended.take()
    }

    /// Gives an event up that has failed.
    pub(crate) fn skip(&mut self, position: u64) -> Result<(), Fault> {
        match self.open.get(&position) {
            Some(open) if open.has_failed => {
                self.open.remove(&position);
                Ok(())
            }
            Some(_) => Err(Fault::Running),
            None => Err(Fault::NotFailed),
        }
    }

    /// A PE has lost events: those from `from` on are to be fed again.
    pub(crate) fn lose(&mut self, pe: PeName, from: u64) {
        match self.lost.iter_mut().find(|(lost, _)| *lost == pe) {
            Some((_, known)) => *known = from.min(*known),
            None => self.lost.push((pe, from)),
        }
    }

    pub(crate) fn has_lost(&self, pe: PeName) -> bool {
        self.lost.iter().any(|(lost, _)| *lost == pe)
    }

    /// Events from `to` on are fed again.
    pub(crate) fn rewind(&mut self, to: u64) -> Result<(), Fault> {
        if self.open.values().any(|open| !open.has_failed) {
            return Err(Fault::Running);
        }
        self.open.retain(|position, _| *position < to);
        self.lost.retain(|(_, from)| *from < to);
        self.fed = to;
        Ok(())
    }

    /// All events below are through, if the last one that was fed went this way.
    pub(crate) fn completed(&self) -> u64 {
        self.open.values().next().map_or(self.fed, |open| open.after_previous)
    }

    /// PEs have lost events from this position on.
    pub(crate) fn lost_from(&self) -> u64 {
        self.lost.iter().map(|(_, from)| *from).min().unwrap_or(u64::MAX)
    }

    /// Whether nothing is open: events may pass by.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.lost.is_empty()
    }

    /// How many events are on their way, and how many have failed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let failed = self.open.values().filter(|open| open.has_failed).count();
        (self.open.len() - failed, failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prototype_index::PrototypeIndex;

    fn pe(hash: u64) -> PeName {
        (PrototypeIndex(0), hash)
    }

    fn is_now(events: &mut InputEvents, position: u64, hash: u64) -> bool {
        matches!(events.turn(position, pe(hash)), Turn::Now)
    }

    #[test]
    fn all_is_through_below_the_first_that_is_not() {
        let mut events = InputEvents::default();
        for (position, after_previous) in [(5, 0), (7, 6), (8, 8)] {
            events.begin(position, after_previous, vec![pe(position)]);
        }
        assert_eq!((events.completed(), events.is_empty()), (0, false));
        assert!(events.done(7).is_none());
        assert_eq!(events.completed(), 0);
        assert!(events.done(5).is_none());
        assert_eq!(events.completed(), 8);
        assert!(events.failed(8).is_none());
        assert_eq!((events.completed(), events.counts()), (8, (0, 1)));
        events.again(8, vec![pe(8)]).unwrap();
        assert!(events.done(8).is_none());
        assert_eq!((events.completed(), events.is_empty()), (9, true));
    }

    #[test]
    fn what_is_through_ends_right_behind_an_event() {
        let mut events = InputEvents::default();
        events.begin(40, 31, vec![pe(1)]);
        events.begin(50, 41, vec![pe(2)]);
        assert_eq!(events.completed(), 31);
        assert!(events.failed(40).is_none());
        events.again(40, vec![pe(1)]).unwrap();
        assert_eq!(events.completed(), 31);
        assert!(events.done(40).is_none());
        assert_eq!(events.completed(), 41);
        assert!(events.done(50).is_none());
        // Everything is fed again.
        events.begin(10, 10, vec![pe(1)]);
        assert_eq!(events.completed(), 10);
    }

    #[test]
    fn events_of_one_pe_take_turns() {
        let mut events = InputEvents::default();
        for (position, hash) in [(1, 1), (2, 2), (3, 1)] {
            events.begin(position, position, vec![pe(hash)]);
        }
        assert!(is_now(&mut events, 1, 1) && is_now(&mut events, 2, 2));
        let Turn::After(ended) = events.turn(3, pe(1)) else { panic!("it may not run") };
        assert!(ended.result().is_none());
        events.failed(1).unwrap().finish(Ok(()));
        assert!(ended.result().is_some());
        assert!(matches!(events.turn(3, pe(1)), Turn::Behind(1)));
        assert_eq!(events.skip(2), Err(Fault::Running));
        assert_eq!(events.skip(9), Err(Fault::NotFailed));
        assert_eq!(events.skip(1), Ok(()));
        assert!(is_now(&mut events, 3, 1));
    }

    /// Its end says that those before have come to theirs, too.
    #[test]
    fn an_event_waits_for_the_nearest_before_it() {
        let mut events = InputEvents::default();
        for position in [1, 2] {
            events.begin(position, position, vec![pe(1)]);
        }
        let Turn::After(nearest) = events.turn(3, pe(1)) else { panic!("it may not run") };
        assert!(events.done(1).is_none());
        let told = events.done(2);
        assert!(told.is_some_and(|told| Arc::ptr_eq(&told, &nearest)));
    }

    #[test]
    fn only_what_has_failed_is_taken_again() {
        let mut events = InputEvents::default();
        events.begin(1, 1, vec![pe(1)]);
        assert_eq!(events.again(1, vec![]), Err(Fault::Running));
        assert_eq!(events.again(0, vec![]), Err(Fault::NotFailed));
        assert!(events.failed(1).is_none());
        assert_eq!(events.again(1, vec![pe(2)]), Ok(()));
        events.begin(2, 2, vec![pe(2)]);
        assert!(matches!(events.turn(2, pe(2)), Turn::After(_)));
    }

    #[test]
    fn what_a_pe_lost_is_to_be_fed_again() {
        let mut events = InputEvents::default();
        events.begin(9, 9, vec![pe(1)]);
        assert!(events.done(9).is_none());
        assert_eq!(events.completed(), 10);
        events.lose(pe(3), 6);
        events.lose(pe(3), 4);
        events.lose(pe(3), 5);
        assert_eq!((events.completed(), events.lost_from(), events.is_empty()), (10, 4, false));
        assert!(matches!(events.turn(10, pe(3)), Turn::Lost(4)));
        assert!(is_now(&mut events, 3, 3) && is_now(&mut events, 10, 1));
        assert_eq!(events.rewind(5), Ok(()));
        assert!(matches!(events.turn(10, pe(3)), Turn::Lost(4)));
        assert_eq!(events.rewind(4), Ok(()));
        assert!(is_now(&mut events, 4, 3));
        assert_eq!(
            (events.completed(), events.lost_from(), events.is_empty()),
            (4, u64::MAX, true)
        );
    }

    #[test]
    fn nothing_is_rewound_while_events_are_on_their_way() {
        let mut events = InputEvents::default();
        events.begin(3, 3, vec![pe(1)]);
        assert_eq!(events.rewind(0), Err(Fault::Running));
        assert!(events.failed(3).is_none());
        assert_eq!((events.rewind(0), events.completed(), events.is_empty()), (Ok(()), 0, true));
    }
}
