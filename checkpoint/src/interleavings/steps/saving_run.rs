//! `SavingRun`: each capture has one outcome, told once.

use std::sync::Arc;

use super::every_order;
use super::framework::ByHand;
use crate::capture::{CaptureBatch, CaptureLimits};
use crate::storage::{SaveOutcome, SaveReceiver, StorageError, StorageErrorKind};
use crate::sync::{Mutex, thread};
use crate::task::{SaveStateTask, SavingRun};

/// What was told of a run of two captures: the outcomes, by their order, once for each time.
type Told = Arc<Mutex<Vec<Vec<bool>>>>;

fn two_captures() -> (Arc<SavingRun>, Told) {
    let framework = ByHand::storing_nothing_yet();
    let prototype = framework.prototype();
    for key in [1, 2] {
        prototype.process(key, |pe| *pe += 1).unwrap();
    }
    let mut batch = CaptureBatch::new(CaptureLimits::default());
    let _progress = framework.source().capture(0, &mut batch);
    batch.seal();
    framework.end();
    let (bytes, captures, _) = batch.into_parts();
    assert_eq!(captures.len(), 2);
    let told = Told::default();
    let done = told.clone();
    let run = SaveStateTask::new(bytes, captures).prepare(move |mut results| {
        let outcomes = results.take_outcomes();
        let stored = outcomes.map(|outcome| matches!(outcome, SaveOutcome::Stored));
        done.lock().push(stored.collect());
    });
    (run, told)
}

fn unknown() -> SaveOutcome {
    SaveOutcome::Unknown(StorageError::new(StorageErrorKind::Broken, "save"))
}

#[test]
fn outcomes_from_two_threads_are_told_together_and_once() {
    every_order(3, || {
        let (run, told) = two_captures();
        let other = {
            let run = run.clone();
            thread::Builder::new()
                .spawn(move || {
                    run.completed(0, SaveOutcome::Stored);
                    // A second outcome of the same entry changes nothing.
                    run.completed(0, unknown());
                })
                .unwrap()
        };
        run.completed(1, unknown());
        other.join().unwrap();
        assert_eq!(*told.lock(), [[true, false]]);
    });
}

#[test]
fn a_run_is_either_told_or_abandoned() {
    every_order(3, || {
        let (run, told) = two_captures();
        run.completed(0, SaveOutcome::Stored);
        let other = {
            let run = run.clone();
            thread::Builder::new().spawn(move || run.completed(1, SaveOutcome::Stored)).unwrap()
        };
        let abandoned = run.abandon().map(|abandoned| {
            let outcomes = abandoned.savings.iter();
            outcomes.map(|(_, outcome)| outcome.is_some()).collect::<Vec<_>>()
        });
        other.join().unwrap();
        let told = told.lock();
        match abandoned {
            Some(outcomes) => {
                assert!(told.is_empty());
                assert_eq!(outcomes, [true, false]);
            }
            None => assert_eq!(*told, [[true, true]]),
        }
    });
}
