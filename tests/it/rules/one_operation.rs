//! At most one storage operation of a PE is unfinished, and the newest state wins (rules 1 and 2).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use checkpoint::{ProcessError, StateVersion, StorageErrorKind};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, Gate, Results, SaveFault, counters, eventually, every,
    manual, settings,
};

/// E7.
#[test]
fn no_pe_ever_has_two_unfinished_saves_whatever_fails_and_however_many_threads_there_are() {
    const KEYS: usize = 8;
    const ROUNDS: usize = 300;
    let storage = FaultyStorage::new();
    let faults = [
        SaveFault::NotStored(StorageErrorKind::Unavailable),
        SaveFault::UnknownLanded,
        SaveFault::UnknownLost,
        SaveFault::Dropped,
        SaveFault::Panic,
    ];
    for _ in 0..20 {
        for fault in &faults {
            storage.on_save(1, fault.clone());
        }
    }
    let results = Results::new();
    let keeper = settings(&storage)
        .storage_max_threads(4.try_into().unwrap())
        .serialization_max_threads(3.try_into().unwrap())
        .storage_callback_factory(results.clone())
        .build()
        .unwrap();
    let prototype = counters(&keeper, every(1));
    thread::scope(|scope| {
        for start in 0..3 {
            let prototype = &prototype;
            scope.spawn(move || {
                for n in 0..ROUNDS {
                    let key = ((start + n) % KEYS).to_string();
                    prototype.process(&key, |pe| pe.count += 1).unwrap();
                    match n % 50 {
                        10 => drop(prototype.evict(&key).unwrap()),
                        20 => drop(prototype.checkpoint(&key).unwrap()),
                        30 => drop(prototype.pe(&key).unwrap()),
                        _ => {}
                    }
                }
            });
        }
    });
    keeper.close(FAIL_SAFE).unwrap();
    storage.check();
    results.check_once_each();
    let mut newest: HashMap<_, StateVersion> = HashMap::new();
    for (id, version) in storage.seen().stored {
        let before = newest.insert(id.clone(), version);
        assert!(before.is_none_or(|before| before <= version), "{id}");
    }
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    let total: u64 =
        (0..KEYS).map(|key| prototype.read(&key.to_string(), |pe| pe.count).unwrap()).sum();
    assert_eq!(total, 3 * ROUNDS as u64);
}

#[test]
fn a_save_that_is_answered_late_from_another_thread_is_waited_for() {
    let storage = FaultyStorage::new();
    storage.on_save_of("a", 1, SaveFault::Late);
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    storage.until("it is with the storage", |seen| seen.saves_of("a") == 1);
    prototype.process("a", |pe| pe.count = 2).unwrap();
    prototype.process("b", |pe| pe.count = 3).unwrap();
    storage.until("the other is stored", |seen| seen.saves_of("b") == 1);
    assert_eq!(storage.seen().saves_of("a"), 1);
    storage.complete_late();
    storage.until("the newer one is stored", |seen| seen.stored.len() == 3);
    keeper.close(FAIL_SAFE).unwrap();
    storage.check();
}

#[test]
fn an_unknown_outcome_is_read_back_and_what_landed_is_not_saved_again() {
    for (fault, saves) in [(SaveFault::UnknownLanded, 1), (SaveFault::UnknownLost, 2)] {
        let storage = FaultyStorage::new();
        storage.on_save(1, fault);
        let results = Results::new();
        let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
        let prototype = counters(&keeper, manual());
        prototype.process("a", |pe| pe.count = 1).unwrap();
        prototype.checkpoint("a").unwrap().wait().unwrap();
        assert_eq!(storage.seen().saves_of("a"), saves);
        assert_eq!(storage.seen().fetches_of("a"), 2, "the restore and the reading back");
        keeper.close(FAIL_SAFE).unwrap();
        assert_eq!(results.counts(), (1, 0));
    }
}

#[test]
fn what_starts_anew_is_newer_than_what_it_replaces() {
    let storage = FaultyStorage::new();
    let mut versions = Vec::new();
    for _ in 0..2 {
        let keeper = settings(&storage).build().unwrap();
        let prototype = counters(&keeper, manual());
        let mut store = || {
            prototype.process("a", |pe| pe.count += 1).unwrap();
            versions.push(prototype.checkpoint("a").unwrap().wait().unwrap().unwrap());
        };
        store();
        store();
        let removed = prototype.remove("a").unwrap().wait().unwrap().unwrap();
        prototype.process("a", |pe| pe.count += 1).unwrap();
        versions.push(removed);
        versions.push(prototype.checkpoint("a").unwrap().wait().unwrap().unwrap());
        versions.push(prototype.reset("a").unwrap().wait().unwrap().unwrap());
        keeper.close(FAIL_SAFE).unwrap();
    }
    assert!(versions.is_sorted(), "{versions:?}");
    let drawn = versions.len();
    versions.dedup();
    assert_eq!(versions.len(), drawn);
}

/// E8.
#[test]
fn a_removal_waits_for_the_save_that_is_in_flight_and_wins() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let keeper = settings(&storage).storage_max_threads(2.try_into().unwrap()).build().unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    gate.reached();
    let ticket = prototype.remove("a").unwrap();
    assert!(prototype.is_empty(), "it is gone from memory at once");
    assert!(ticket.outcome().is_none());
    gate.open();
    ticket.wait().unwrap();
    assert!(prototype.ids().unwrap().is_empty());
    keeper.close(FAIL_SAFE).unwrap();
    storage.check();
    let keeper = settings(&storage).build().unwrap();
    assert_eq!(counters(&keeper, manual()).read("a", |pe| pe.count).unwrap(), 0);
}

#[test]
fn a_removal_is_stored_although_its_shard_was_visited_while_the_pe_was_made_anew() {
    let storage = FaultyStorage::new();
    let (busy, made) = (Gate::new(), Gate::new());
    let keeper =
        settings(&storage).storage_max_outstanding_requests(1.try_into().unwrap()).build().unwrap();
    let waits = made.clone();
    let makes = AtomicUsize::new(0);
    let prototype = keeper
        .prototype::<String, Counter>("counter")
        .config(manual().shards(1).build().unwrap())
        .create(move |key| {
            if key == "a" && makes.fetch_add(1, Ordering::Relaxed) == 1 {
                waits.pass();
                panic!("the factory was told to panic");
            }
            Counter::default()
        })
        .build()
        .unwrap();
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    storage.on_save_of("busy", 1, SaveFault::Held(busy.clone()));
    prototype.process("busy", |pe| pe.count = 1).unwrap();
    let first = prototype.checkpoint("busy").unwrap();
    busy.reached();
    let removed = prototype.remove("a").unwrap();
    thread::scope(|scope| {
        let event = scope.spawn(|| prototype.process("a", |pe| pe.count));
        made.reached();
        busy.open();
        first.wait().unwrap();
        eventually("the shard was visited", || prototype.status().due == 0);
        made.open();
        event.join().unwrap().unwrap_err();
    });
    removed.wait_timeout(FAIL_SAFE).expect("there is an answer").unwrap();
    assert_eq!(prototype.ids().unwrap().len(), 1);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn a_removal_is_not_forgotten_by_a_roll_back_that_fails() {
    let storage = FaultyStorage::new();
    let busy = Gate::new();
    let keeper =
        settings(&storage).storage_max_outstanding_requests(1.try_into().unwrap()).build().unwrap();
    let wait_max = Duration::from_millis(50);
    let prototype = counters(&keeper, manual().wait_max(wait_max));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    storage.on_save_of("busy", 1, SaveFault::Held(busy.clone()));
    prototype.process("busy", |pe| pe.count = 1).unwrap();
    drop(prototype.checkpoint("busy").unwrap());
    busy.reached();
    let removed = prototype.remove("a").unwrap();
    // It waits for the removal to be stored, which the storage is too busy for.
    match prototype.restore_version("a", StateVersion::new(9, 9)) {
        Err(ProcessError::Busy { id, since }) => {
            assert_eq!((id.key(), since), (&b"a"[..], wait_max));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        prototype.read("a", |pe| pe.count).unwrap(),
        0,
        "what was removed does not come back"
    );
    busy.open();
    removed.wait_timeout(FAIL_SAFE).expect("there is an answer").unwrap();
    keeper.close(FAIL_SAFE).unwrap();
}
