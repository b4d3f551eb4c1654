//! `InMemoryStorage`: the fence of an epoch, newest wins.

use std::sync::Arc;

use super::every_order;
use crate::checkpoint_id::CheckpointId;
use crate::record::{Epoch, StateVersion};
use crate::storage::conformance::record;
use crate::storage::{InMemoryStorage, SaveBatch, SaveOutcome, StateStorage, StorageErrorKind};
use crate::sync::{Mutex, thread};

/// Saves one record of a storage that answers at once; returns whether it is stored.
fn save(storage: &InMemoryStorage, record: Vec<u8>) -> Result<(), StorageErrorKind> {
    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    let batch = SaveBatch::of_records(record, move |_, outcome| *told.lock() = Some(outcome));
    storage.save(batch.unwrap());
    let outcome = outcome.lock().take();
    match outcome {
        Some(SaveOutcome::Stored) => Ok(()),
        Some(SaveOutcome::NotStored(err)) => Err(err.kind()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_former_owner_was_told_is_stored_is_there_for_the_next_one() {
    every_order(2, || {
        let storage = InMemoryStorage::new();
        let mine = storage.open_epoch(0).unwrap();
        let id = CheckpointId::new("p", "k").unwrap();
        let late = record(&id, StateVersion::new(mine.0, 1), b"late");
        let former = {
            let (storage, late) = (storage.clone(), late.clone());
            thread::Builder::new().spawn(move || save(&storage, late)).unwrap()
        };
        let current = storage.open_epoch(0).unwrap();
        // From here on the new owner must know all that there ever will be of the former one.
        let found = storage.fetch_now(&id).unwrap().unwrap();
        match former.join().unwrap() {
            Ok(()) => assert_eq!(found, Some(late)),
            Err(kind) => {
                assert_eq!(kind, StorageErrorKind::Fenced { mine: Epoch(1), current });
                assert_eq!(found, None);
            }
        }
    });
}

#[test]
fn of_two_saves_at_once_the_newer_stays() {
    every_order(3, || {
        let storage = InMemoryStorage::new();
        let id = CheckpointId::new("p", "k").unwrap();
        let (older, newer) = (StateVersion::new(1, 1), StateVersion::new(1, 2));
        let saver = {
            let (storage, older) = (storage.clone(), record(&id, older, b"older"));
            thread::Builder::new().spawn(move || save(&storage, older)).unwrap()
        };
        save(&storage, record(&id, newer, b"newer")).unwrap();
        let refused = Err(StorageErrorKind::Stale { current: newer });
        let outcome = saver.join().unwrap();
        assert!(outcome == Ok(()) || outcome == refused, "{outcome:?}");
        let found = storage.fetch_now(&id).unwrap().unwrap();
        assert_eq!(found, Some(record(&id, newer, b"newer")));
    });
}
