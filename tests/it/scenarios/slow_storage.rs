//! A slow storage delays nobody and loses nothing (X4, X7, X8).

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use checkpoint::{CheckpointId, RecordView, StateStorage};

use crate::support::{
    FAIL_SAFE, FaultyStorage, Gate, Results, SaveFault, counters, every, settings,
};

const KEYS: u64 = 100;

/// B14: not even for as long as a slow disk takes.
#[test]
fn x4_events_go_on_while_a_save_hangs_and_the_queues_are_full_and_nothing_is_lost() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let results = Results::new();
    let one = || 1.try_into().unwrap();
    let keeper = settings(&storage)
        .storage_max_outstanding_requests(one())
        .serialization_max_outstanding_requests(one())
        .storage_callback_factory(results.clone())
        .build()
        .unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("0", |pe| pe.count += 1).unwrap();
    gate.reached();
    // The save hangs until all these events are through: that they end shows that none waits for
    // it.
    for _ in 0..3 {
        for key in 0..KEYS {
            prototype.process(&key.to_string(), |pe| pe.count += 1).unwrap();
        }
    }
    assert_eq!(storage.seen().stored.len(), 0);
    gate.open();
    keeper.close(FAIL_SAFE).unwrap();
    results.check_once_each();
    storage.check();
    assert_eq!(results.counts().1, 0);

    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    for key in 0..KEYS {
        let expected = if key == 0 { 4 } else { 3 };
        assert_eq!(prototype.read(&key.to_string(), |pe| pe.count).unwrap(), expected);
    }
}

#[test]
fn x7_a_pe_with_long_work_does_not_hold_up_the_checkpoints_of_others() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1).shards(1));
    prototype.process("long", |pe| pe.count = 1).unwrap();
    let mut guard = prototype.pe("long").unwrap();
    guard.count = 2;
    let ticket = prototype.checkpoint("long").unwrap();
    // Same shard, and the long one is due already.
    prototype.process("short", |pe| pe.count = 3).unwrap();
    prototype.checkpoint("short").unwrap().wait().unwrap();
    assert!(ticket.outcome().is_none(), "it cannot be captured while it is lent out");
    drop(guard);
    ticket.wait().unwrap();
    keeper.close(FAIL_SAFE).unwrap();

    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    assert_eq!(prototype.read("long", |pe| pe.count).unwrap(), 2);
    assert_eq!(prototype.read("short", |pe| pe.count).unwrap(), 3);
}

#[test]
fn x7_a_long_closure_delays_its_shard_and_loses_nothing() {
    let storage = FaultyStorage::new();
    let keeper =
        settings(&storage).max_serialization_lock_time(Duration::from_millis(1)).build().unwrap();
    let prototype = counters(&keeper, every(1).shards(1));
    let (began, has_begun) = mpsc::channel();
    let gate = Gate::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            prototype.process("long", |pe| {
                began.send(()).unwrap();
                gate.pass();
                pe.count = 2;
            })
        });
        has_begun.recv().unwrap();
        let other = scope.spawn(|| prototype.process("short", |pe| pe.count = 3));
        gate.open();
        other.join().unwrap().unwrap();
    });
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().stored.len(), 2);
}

/// E7, B14.
#[test]
fn x8_the_newest_of_three_quick_saves_wins_although_the_first_is_slow() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let keeper = settings(&storage).storage_max_threads(4.try_into().unwrap()).build().unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    gate.reached();
    prototype.process("a", |pe| pe.count = 2).unwrap();
    prototype.process("a", |pe| pe.count = 3).unwrap();
    // The other threads are free: another PE is stored meanwhile, and this one is not begun again.
    prototype.process("b", |pe| pe.count = 4).unwrap();
    storage.until("the other is stored", |seen| seen.stored.len() == 1);
    assert_eq!(storage.seen().saves_of("a"), 1);
    gate.open();
    keeper.close(FAIL_SAFE).unwrap();
    storage.check();
    let id = CheckpointId::new("counter", "a").unwrap();
    let record = storage.content().fetch_now(&id).unwrap().unwrap().unwrap();
    assert_eq!(RecordView::parse(&record).unwrap().payload(), 3_u64.to_le_bytes());
    let versions: Vec<_> =
        storage.seen().stored.into_iter().filter(|(of, _)| *of == id).map(|(_, v)| v).collect();
    assert!(versions.is_sorted(), "{versions:?}");
    assert_eq!(versions.len(), 2, "the second and the third state are one capture");
}
