//! What becomes of a state that was not stored: killed, evicted, closed (T9, X19, X20).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::{CheckpointId, Eviction, SafeKeeper, SaveFailure, StorageErrorKind};

use crate::support::{
    FAIL_SAFE, FaultyStorage, Gate, Results, SaveFault, counters, eventually, every, manual,
    settings,
};

#[test]
fn t9_after_a_kill_the_last_checkpoint_comes_back_and_not_the_last_state() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).close_on_drop(Duration::ZERO).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    prototype.process("a", |pe| pe.count = 2).unwrap();
    storage.kill();
    drop(keeper);

    let storage = FaultyStorage::over(storage.content());
    let keeper = settings(&storage).build().unwrap();
    assert_eq!(counters(&keeper, manual()).read("a", |pe| pe.count).unwrap(), 1);
}

#[test]
fn x19_a_dirty_pe_that_is_evicted_is_stored_and_its_next_event_finds_everything() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 5).unwrap();
    assert_eq!(prototype.evict("a").unwrap(), Eviction::Storing);
    eventually("it has left", || prototype.is_empty());
    assert_eq!(storage.seen().stored.len(), 1);
    assert_eq!(prototype.process("a", |pe| (pe.count, pe.handle)).unwrap(), (5, 7));
}

#[test]
fn x19_an_event_that_comes_while_an_eviction_is_stored_keeps_the_pe() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 5).unwrap();
    assert_eq!(prototype.evict("a").unwrap(), Eviction::Storing);
    gate.reached();
    assert_eq!(
        prototype
            .process("a", |pe| {
                pe.count += 1;
                pe.count
            })
            .unwrap(),
        6
    );
    gate.open();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    assert_eq!(prototype.len(), 1);
    assert_eq!(storage.seen().fetches, 1, "it was never fetched again");
}

#[test]
fn x20_an_orderly_shutdown_stores_what_is_dirty() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    for key in 0..1000 {
        prototype.process(&key.to_string(), |pe| pe.count = key).unwrap();
    }
    let report = keeper.close(FAIL_SAFE).unwrap();
    assert_eq!((report.saved, report.threads_stuck), (1000, 0));
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    for key in 0..1000 {
        assert_eq!(prototype.read(&key.to_string(), |pe| pe.count).unwrap(), key);
    }
}

#[test]
fn x20_a_shutdown_that_cannot_store_names_what_is_lost() {
    let storage = FaultyStorage::new();
    storage.on_save_of(
        "bad",
        usize::MAX,
        SaveFault::NotStored(StorageErrorKind::TooLarge { max: 1 }),
    );
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("good", |pe| pe.count = 1).unwrap();
    prototype.process("bad", |pe| pe.count = 1).unwrap();
    let report = keeper.close(FAIL_SAFE).unwrap_err().0;
    assert_eq!(report.saved, 1);
    let failed: Vec<_> = report.failed.iter().map(|error| error.id().clone()).collect();
    assert_eq!(failed, [CheckpointId::new("counter", "bad").unwrap()]);
    assert!(report.not_attempted.is_empty() && report.unknown.is_empty());
}

#[test]
fn x20_a_keeper_that_is_dropped_stores_what_is_dirty() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 5).unwrap();
    drop(keeper);
    assert!(prototype.process("a", |_| ()).is_err(), "it is closed");
    let keeper = settings(&storage).build().unwrap();
    assert_eq!(counters(&keeper, manual()).read("a", |pe| pe.count).unwrap(), 5);
}

#[test]
fn a_prototype_whose_handles_are_gone_loses_nothing() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 5).unwrap();
    drop(prototype);
    assert_eq!(keeper.close(FAIL_SAFE).unwrap().saved, 1);
}

/// Of a batch of which one is stored and the other is to be tried again, and of which the result of
/// the first ends the keeper: nobody will try again.
#[test]
fn who_waits_for_what_is_tried_again_behind_the_end_is_told() {
    let (storage, gate, results) = (FaultyStorage::new(), Gate::new(), Results::new());
    storage.on_save_of("held", 1, SaveFault::Held(gate.clone()));
    storage.on_save_of("b", usize::MAX, SaveFault::NotStored(StorageErrorKind::Unavailable));
    let keeper = settings(&storage)
        .storage_callback_factory(results.clone())
        .storage_max_threads(1.try_into().unwrap())
        .save_attempts_max(1000.try_into().unwrap())
        .close_on_drop(Duration::ZERO)
        .build()
        .unwrap();
    let prototype = counters(&keeper, manual());
    for key in ["held", "a", "b"] {
        prototype.process(key, |pe| pe.count = 1).unwrap();
    }
    let _held = prototype.checkpoint("held").unwrap();
    gate.reached();
    let tickets = ["a", "b"].map(|key| prototype.checkpoint(key).unwrap());
    let keeper: Mutex<Option<SafeKeeper>> = Mutex::new(Some(keeper));
    let ends = Arc::new(keeper);
    results.then(move |kept| {
        if kept.id.key() == b"a" {
            drop(ends.lock().unwrap().take());
        }
    });
    gate.open();
    eventually("both are answered", || tickets.iter().all(|ticket| ticket.outcome().is_some()));
    let [a, b] = tickets.map(|ticket| ticket.outcome().unwrap());
    assert!(a.is_ok());
    let reason = b.unwrap_err().reason().clone();
    let is_right = matches!(reason, SaveFailure::GaveUp(_) | SaveFailure::NotAttempted);
    assert!(is_right, "{reason}");
}
