//! Events, guards, fetches, captures and the end, of a real prototype with one shard.

use std::time::Duration;

use super::every_order;
use super::framework::ByHand;
use crate::capture::{CaptureBatch, CaptureLimits, SettlementOutcome};
use crate::framework::CheckpointSource;
use crate::process_error::ProcessError;
use crate::prototype::PePrototype;
use crate::sync::thread::{Builder, JoinHandle};

type Counts = PePrototype<u64, u64>;

/// Runs an event of a key on a thread of its own; returns the new count.
fn event(prototype: &Counts, key: u64) -> JoinHandle<Result<u64, ProcessError>> {
    let prototype = prototype.clone();
    let event = move || {
        prototype.process(key, |pe| {
            *pe += 1;
            *pe
        })
    };
    Builder::new().spawn(event).unwrap()
}

/// Captures what is due and says that it is stored; returns the states.
fn save(source: &dyn CheckpointSource) -> Vec<u64> {
    let mut batch = CaptureBatch::new(CaptureLimits::default());
    let _progress = source.capture(0, &mut batch);
    batch.seal();
    let bytes = batch.bytes();
    let state = |record: &[u8]| {
        let record = crate::record::RecordView::parse(record).unwrap();
        u64::from_le_bytes(record.payload().try_into().unwrap())
    };
    let states = batch.captures().iter().map(|capture| state(capture.record(bytes))).collect();
    let settle = |capture: &crate::capture::Capture| capture.settle(SettlementOutcome::Stored);
    let settlements = batch.captures().iter().map(settle).collect();
    source.settle(0, settlements);
    states
}

#[test]
fn a_pe_that_is_given_back_reaches_who_waits_for_it() {
    // Nobody looks after shards here: whoever posts and whoever unlocks must see each other.
    every_order(3, || {
        let framework = ByHand::storing_nothing();
        let prototype = framework.prototype();
        let mut guard = prototype.pe(1).unwrap();
        *guard = 10;
        let waiter = event(&prototype, 1);
        drop(guard);
        assert_eq!(waiter.join().unwrap().unwrap(), 11);
        framework.end();
    });
}

#[test]
fn a_pe_that_is_given_back_under_anothers_lock_reaches_who_waits_for_it() {
    every_order(2, || {
        let framework = ByHand::storing_nothing();
        let prototype = framework.prototype();
        prototype.process(2, |_| ()).unwrap();
        let guard = prototype.pe(1).unwrap();
        let waiter = event(&prototype, 1);
        let other = event(&prototype, 2);
        drop(guard);
        assert_eq!(other.join().unwrap().unwrap(), 1);
        assert_eq!(waiter.join().unwrap().unwrap(), 1);
        framework.end();
    });
}

#[test]
fn of_two_pes_that_are_given_back_at_once_none_is_lost() {
    every_order(3, || {
        let framework = ByHand::storing_nothing();
        let prototype = framework.prototype();
        let (one, two) = (prototype.pe(1).unwrap(), prototype.pe(2).unwrap());
        let other = Builder::new().spawn(move || drop(two)).unwrap();
        drop(one);
        other.join().unwrap();
        for key in [1, 2] {
            assert_eq!(prototype.process(key, |pe| *pe).unwrap(), 0);
        }
        framework.end();
    });
}

#[test]
fn a_shard_that_is_looked_after_gets_what_was_posted() {
    every_order(2, || {
        let framework = ByHand::new();
        let prototype = framework.prototype();
        let first = event(&prototype, 1);
        framework.next_fetch().decide(Ok(None));
        assert_eq!(first.join().unwrap().unwrap(), 1);
        let guard = prototype.pe(1).unwrap();
        let waiter = event(&prototype, 1);
        let attendant = {
            let framework = framework.clone();
            Builder::new().spawn(move || framework.attend()).unwrap()
        };
        drop(guard);
        assert_eq!(waiter.join().unwrap().unwrap(), 2);
        framework.end();
        attendant.join().unwrap();
    });
}

#[test]
fn all_who_wait_for_a_fetch_go_on_with_its_answer() {
    every_order(2, || {
        let framework = ByHand::new();
        let prototype = framework.prototype();
        let waiters = [event(&prototype, 1), event(&prototype, 1)];
        let fetch = framework.next_fetch();
        fetch.decide(Ok(None));
        // The main thread looks after the shard from here on.
        framework.look_after_all();
        let mut counts = waiters.map(|waiter| waiter.join().unwrap().unwrap());
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
        framework.end();
    });
}

#[test]
fn an_event_during_a_save_is_saved_or_still_to_be_saved() {
    every_order(3, || {
        let framework = ByHand::storing_nothing_yet();
        let prototype = framework.prototype();
        prototype.process(1, |pe| *pe = 1).unwrap();
        let source = framework.source();
        let other = event(&prototype, 1);
        let states = save(&*source);
        assert_eq!(other.join().unwrap().unwrap(), 2);
        // Takes in what the save has posted.
        assert!(source.attend(0));
        match (&states[..], source.unsaved(Duration::ZERO).pes.len()) {
            ([1], 1) | ([2], 0) => {}
            other => panic!("{other:?}"),
        }
        if states == [1] {
            assert_eq!(save(&*source), [2], "a change was forgotten");
            assert_eq!(source.unsaved(Duration::ZERO).pes.len(), 0);
        }
        framework.end();
    });
}

#[test]
fn an_event_is_refused_or_seen_by_who_closes() {
    every_order(3, || {
        let framework = ByHand::storing_nothing_yet();
        let prototype = framework.prototype();
        prototype.process(1, |_| ()).unwrap();
        let source = framework.source();
        assert_eq!(save(&*source), [0]);
        let other = event(&prototype, 1);
        source.close();
        let mark = source.request_all();
        let outcome = other.join().unwrap();
        // What was asked of a shard that was held is done by its holder, or now.
        framework.look_after_all();
        let settled = source.is_settled(&mark);
        let unsaved = source.unsaved(Duration::ZERO).pes.len();
        match outcome {
            Ok(1) => assert_eq!((unsaved, settled), (1, false), "a change was overlooked"),
            Err(ProcessError::Closed { .. }) => assert_eq!((unsaved, settled), (0, true)),
            other => panic!("{other:?}"),
        }
        framework.end();
    });
}

#[test]
fn a_guard_that_comes_back_during_the_end_is_seen() {
    every_order(2, || {
        let framework = ByHand::storing_nothing_yet();
        let prototype = framework.prototype();
        let mut guard = prototype.pe(1).unwrap();
        let back = Builder::new().spawn(move || *guard += 1).unwrap();
        let source = framework.source();
        source.close();
        // What the keeper does: it waits until no guard is out, then makes everything due.
        while source.status().checked_out > 0 {
            framework.look_after_all();
            crate::sync::thread::yield_now();
        }
        let mark = source.request_all();
        framework.look_after_all();
        assert!(!source.is_settled(&mark), "the change of a guard was overlooked");
        assert_eq!(save(&*source), [1]);
        assert!(source.attend(0));
        // What was asked of a shard is done when its holder is through with it, after its lock.
        back.join().unwrap();
        assert!(source.is_settled(&mark));
        framework.end();
    });
}
