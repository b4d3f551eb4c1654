//! How it is found out how far sources need not feed again.
//!
//! A round: see how far each source has come, mark what is changed then, and wait until all of that
//! is stored, for whatever reason it is stored. Then what the sources had come to is safe, and is
//! made durable. One round at a time; nothing of it is on the way of an event.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::framework::{CheckpointSource, FlushMark};
use crate::source::Target;
use crate::wait::Signal;

/// Told when a round that began later has been looked at: whether everything was stored.
pub(super) type RoundDone = Signal<bool>;

/// How long a shard whose lock is held is waited for.
const MARK_WAIT: Duration = Duration::from_millis(2);

/// What is waited for.
pub(super) struct Round {
    pub(super) targets: Vec<Target>,
    pub(super) marks: Vec<(Arc<dyn CheckpointSource>, FlushMark)>,
    /// When what is not stored yet is to be captured, whatever its prototype's mode.
    pub(super) push_at: Timestamp,
    /// Whether that time has come before.
    pub(super) is_pushed: bool,
    /// When it is to be looked at again, if nothing is stored before.
    pub(super) look_at: Timestamp,
}

impl Round {
    /// Whether everything is stored that was changed before.
    pub(super) fn is_stored(&self) -> bool {
        self.marks.iter().all(|(source, mark)| source.is_stored(mark))
    }

    /// Whether it is known what must be stored: a shard whose lock is held is marked later.
    fn is_marked(&self) -> bool {
        self.marks.iter().all(|(_, mark)| mark.is_set())
    }

    /// Says when it is to be looked at again.
    pub(super) fn look_later(&mut self, now: Timestamp) {
        self.look_at = match self.is_marked() {
            true => self.push_at,
            false => self.push_at.min(now.after(MARK_WAIT)),
        };
    }

    /// Has that captured which is not stored.
    pub(super) fn push(&mut self, next: Timestamp) {
        (self.push_at, self.is_pushed) = (next, true);
        for (source, mark) in &self.marks {
            source.request_marked(mark);
        }
    }
}

/// What is to be done for a round.
pub(super) enum RoundStep {
    /// See how far sources have come, and mark what must be stored for that to be safe.
    Begin,
    /// See whether it is stored.
    Check(Round),
    /// It is stored: make it durable how far the sources need not feed again.
    End(Round),
    /// Tell those whose time is up.
    Late(Vec<Arc<RoundDone>>),
}

/// Somebody who waits for a round.
struct Asked {
    done: Arc<RoundDone>,
    deadline: Timestamp,
}

enum State {
    Idle,
    /// A thread has it in hand.
    Away,
    Open(Round),
    Stored(Round),
    /// There will be no more.
    Over,
}

/// When rounds begin and are looked at: what the keeper's core knows of them.
pub(super) struct Rounds {
    interval: Duration,
    /// When the next one begins; nothing before there is a source.
    next: Option<Timestamp>,
    state: State,
    /// Something was stored since the round was looked at.
    look: bool,
    /// Who waits for a round that is still to begin, and for the one that is under way.
    asked: Vec<Asked>,
    answers: Vec<Asked>,
}

impl Rounds {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: None,
            state: State::Idle,
            look: false,
            asked: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// There is a source.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.next.get_or_insert(now.after(self.interval));
    }

    /// Has a round begin now, and somebody be told of it by `deadline`; nothing if there never was
    /// a source.
    pub(super) fn ask(&mut self, now: Timestamp, deadline: Timestamp) -> Option<Arc<RoundDone>> {
        self.next?;
        self.next = Some(now);
        let done = Signal::new();
        self.asked.push(Asked { done: done.clone(), deadline });
        Some(done)
    }

    fn waiting(&self) -> impl Iterator<Item = &Asked> {
        self.asked.iter().chain(&self.answers)
    }

    /// Takes out those whose time is up.
    fn take_late(&mut self, now: Timestamp) -> Option<RoundStep> {
        let is_late = |asked: &mut Asked| asked.deadline <= now;
        let asked = self.asked.extract_if(.., is_late);
        let late = told(asked.chain(self.answers.extract_if(.., is_late)));
        (!late.is_empty()).then_some(RoundStep::Late(late))
    }

    /// Something was stored, or will never be.
    pub(super) fn look(&mut self) {
        self.look = true;
    }

    /// Says what whoever keeps the time is to do.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<RoundStep> {
        if let Some(late) = self.take_late(now) {
            return Some(late);
        }
        match std::mem::replace(&mut self.state, State::Away) {
            State::Idle if self.next.is_some_and(|next| next <= now) => {
                self.next = Some(now.after(self.interval));
                self.answers.append(&mut self.asked);
                Some(RoundStep::Begin)
            }
            // Whoever asks is not to wait for what holds this one up: a later one has all of it.
            State::Open(_) if !self.asked.is_empty() => {
                self.next = Some(now.after(self.interval));
                self.answers.append(&mut self.asked);
                Some(RoundStep::Begin)
            }
            State::Open(round) if self.look || round.look_at <= now => {
                self.look = false;
                Some(RoundStep::Check(round))
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let look = match &self.state {
            State::Idle => self.next,
            State::Open(round) => Some(round.look_at),
            State::Away | State::Stored(_) | State::Over => None,
        };
        self.waiting().map(|asked| asked.deadline).chain(look).min()
    }

    pub(super) fn take_stored(&mut self) -> Option<RoundStep> {
        match std::mem::replace(&mut self.state, State::Away) {
            State::Stored(round) => Some(RoundStep::End(round)),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// A round was looked at and is not through. Returns who is to be told: nobody as long as it is
    /// not known what must be stored, which may all be.
    #[must_use]
    pub(super) fn goes_on(&mut self, round: Round) -> (Vec<Arc<RoundDone>>, Option<Round>) {
        let answers = match round.is_marked() {
            true => std::mem::take(&mut self.answers),
            false => Vec::new(),
        };
        (told(answers), self.keep(State::Open, round))
    }

    /// Everything of a round is stored.
    #[must_use]
    pub(super) fn stored(&mut self, round: Round) -> Option<Round> {
        self.keep(State::Stored, round)
    }

    /// Keeps a round, unless all is over: whoever had it in hand is to drop it then, with no lock
    /// held. It holds prototypes, which hold the keeper's inside.
    fn keep(&mut self, as_state: impl FnOnce(Round) -> State, round: Round) -> Option<Round> {
        if matches!(self.state, State::Over) {
            return Some(round);
        }
        self.state = as_state(round);
        None
    }

    /// A round is through, or there was nothing to do. Returns who is to be told.
    #[must_use]
    pub(super) fn ended(&mut self) -> Vec<Arc<RoundDone>> {
        if !matches!(self.state, State::Over) {
            self.state = State::Idle;
        }
        told(std::mem::take(&mut self.answers))
    }

    /// What a round that takes long is waiting for.
    pub(super) fn overdue(&self) -> Vec<(Arc<dyn CheckpointSource>, FlushMark)> {
        match &self.state {
            State::Open(round) if round.is_pushed => round.marks.clone(),
            _ => Vec::new(),
        }
    }

    /// Ends everything. Returns who is to be told.
    pub(super) fn stop(&mut self) -> Vec<Arc<RoundDone>> {
        self.next = None;
        // The prototypes of what was there are registered still: nothing ends with it.
        self.state = State::Over;
        told(self.asked.drain(..).chain(self.answers.drain(..)))
    }
}

fn told(asked: impl IntoIterator<Item = Asked>) -> Vec<Arc<RoundDone>> {
    asked.into_iter().map(|asked| asked.done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::new(Duration::from_millis(millis))
    }

    fn rounds() -> Rounds {
        let mut rounds = Rounds::new(Duration::from_secs(1));
        rounds.start(at(0));
        rounds
    }

    fn ask(rounds: &mut Rounds, now: u64) -> Option<Arc<RoundDone>> {
        rounds.ask(at(now), at(1_000_000))
    }

    fn begins(rounds: &mut Rounds, now: u64) -> bool {
        matches!(rounds.next(at(now)), Some(RoundStep::Begin))
    }

    fn checked(rounds: &mut Rounds, now: u64) -> Option<Round> {
        match rounds.next(at(now)) {
            Some(RoundStep::Check(round)) => Some(round),
            None => None,
            Some(_) => panic!("another action"),
        }
    }

    fn goes_on(rounds: &mut Rounds, round: Round) -> Vec<Arc<RoundDone>> {
        let (told, left) = rounds.goes_on(round);
        assert!(left.is_none(), "it is kept");
        told
    }

    fn round(push_at: u64) -> Round {
        let mut round = Round {
            targets: Vec::new(),
            marks: Vec::new(),
            push_at: at(push_at),
            is_pushed: false,
            look_at: at(0),
        };
        round.look_later(at(0));
        round
    }

    #[test]
    fn a_round_begins_each_interval_once_there_is_a_source() {
        let mut none = Rounds::new(Duration::from_secs(1));
        assert!(none.next(at(9000)).is_none() && none.next_look().is_none());
        assert!(ask(&mut none, 9000).is_none());
        let mut rounds = rounds();
        rounds.start(at(500));
        assert_eq!(rounds.next_look(), Some(at(1000)));
        assert!(!begins(&mut rounds, 999) && begins(&mut rounds, 1000));
        // One at a time.
        assert!(!begins(&mut rounds, 5000) && rounds.next_look().is_none());
        assert!(rounds.ended().is_empty());
        assert_eq!(rounds.next_look(), Some(at(2000)));
        assert!(begins(&mut rounds, 2000));
    }

    #[test]
    fn a_round_is_looked_at_when_something_was_stored_and_when_its_time_has_come() {
        let mut rounds = rounds();
        assert!(begins(&mut rounds, 1000));
        // Stored while somebody has it in hand: looked at again.
        rounds.look();
        assert!(goes_on(&mut rounds, round(2000)).is_empty());
        let again = checked(&mut rounds, 1001).expect("something was stored");
        assert!(goes_on(&mut rounds, again).is_empty());
        assert!(checked(&mut rounds, 1999).is_none());
        assert_eq!(rounds.next_look(), Some(at(2000)));
        let pushed = checked(&mut rounds, 2000).expect("its time has come");
        assert!(rounds.take_stored().is_none());
        assert!(rounds.stored(pushed).is_none());
        assert!(rounds.next(at(9000)).is_none() && rounds.next_look().is_none());
        assert!(rounds.take_stored().is_some() && rounds.take_stored().is_none());
        assert!(rounds.ended().is_empty() && begins(&mut rounds, 9000));
    }

    #[test]
    fn who_asks_is_told_of_a_round_that_begins_later() {
        let mut rounds = rounds();
        assert!(begins(&mut rounds, 1000));
        let asked = ask(&mut rounds, 1001).unwrap();
        // Of the one that is under way nobody is told.
        assert!(goes_on(&mut rounds, round(2000)).is_empty());
        rounds.look();
        // What that one waits for may never be stored: it is left.
        assert!(begins(&mut rounds, 1003));
        let told = goes_on(&mut rounds, round(2000));
        assert!(matches!(&told[..], [one] if Arc::ptr_eq(one, &asked)));
        assert!(goes_on(&mut rounds, round(2000)).is_empty());
    }

    #[test]
    fn who_asks_is_told_when_his_time_is_up() {
        let mut rounds = rounds();
        let [first, second] = [20, 30].map(|deadline| rounds.ask(at(5), at(deadline)).unwrap());
        assert!(begins(&mut rounds, 5));
        let third = rounds.ask(at(6), at(20)).unwrap();
        // Whoever has the round in hand may be held up by the storage.
        assert_eq!(rounds.next_look(), Some(at(20)));
        assert!(rounds.next(at(19)).is_none());
        let Some(RoundStep::Late(late)) = rounds.next(at(20)) else { panic!("nobody is told") };
        let is_told = |late: &[_], one| late.iter().any(|told| Arc::ptr_eq(told, one));
        assert!(late.len() == 2 && is_told(&late, &first) && is_told(&late, &third));
        assert!(rounds.next(at(20)).is_none());
        assert_eq!(rounds.next_look(), Some(at(30)));
        assert!(is_told(&rounds.ended(), &second));
    }

    #[test]
    fn the_end_is_told_to_all() {
        let mut rounds = rounds();
        let _first = ask(&mut rounds, 5).unwrap();
        assert!(begins(&mut rounds, 5));
        let _second = ask(&mut rounds, 6).unwrap();
        assert_eq!(rounds.stop().len(), 2);
        assert!(rounds.next(at(9000)).is_none() && ask(&mut rounds, 9000).is_none());
        assert!(rounds.stop().is_empty());
    }

    /// It would keep the prototypes of a keeper that is gone.
    #[test]
    fn a_round_that_somebody_had_in_hand_at_the_end_is_not_kept() {
        let mut rounds = rounds();
        assert!(begins(&mut rounds, 1000));
        assert!(rounds.stop().is_empty());
        assert!(rounds.goes_on(round(2000)).1.is_some());
        assert!(rounds.stored(round(2000)).is_some() && rounds.take_stored().is_none());
        assert!(rounds.ended().is_empty());
        assert!(rounds.goes_on(round(2000)).1.is_some() && rounds.next_look().is_none());
    }
}
