//! What is on the way of each event and of each save allocates nothing.
//!
//! One test, so that nothing else allocates meanwhile. The part of the saves runs in release builds
//! only: `cargo test --release -p checkpoint-tests --test allocations`, as `tests/run` does.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::alloc::System;
use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, PePrototype, Pool,
    SafeKeeper, StateStorage,
};
use checkpoint_tests::AppendSink;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KEYS: u64 = 10_000;

#[derive(Checkpointable)]
struct State {
    events: u64,
    bytes: Vec<u8>,
}

fn keeper(storage: impl StateStorage + 'static) -> SafeKeeper {
    SafeKeeper::builder(storage).stepped().build().unwrap()
}

/// A prototype with all PEs in memory, each after its first event.
fn states(keeper: &SafeKeeper, mode: CheckpointingMode) -> PePrototype<u64, State> {
    let config = CheckpointingConfig::builder(mode).build().unwrap();
    let new = |_: &u64| State { events: 0, bytes: vec![0; 100] };
    let states = keeper.prototype("states").config(config).create(new).build().unwrap();
    for key in 0..KEYS {
        states.process(key, |pe| pe.events += 1).unwrap();
    }
    states
}

/// Allocations and reallocations of `work`.
fn allocations(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    change.allocations + change.reallocations
}

#[track_caller]
fn check_events(way: &str, allowed: usize, work: impl FnMut(u64)) {
    let allocations = allocations(|| (0..KEYS).for_each(work));
    assert!(allocations <= allowed, "{way}: {allocations} allocations in {KEYS} events");
}

fn step_all(keeper: &SafeKeeper) {
    let pools = [Pool::Timing, Pool::Serialization, Pool::Storage];
    while pools.iter().any(|pool| keeper.step(*pool)) {}
}

#[test]
fn events_and_saves_allocate_nothing() {
    let idle = keeper(InMemoryStorage::new());
    let pes = states(&idle, CheckpointingMode::None);
    check_events("process", 0, |key| pes.process(key, |pe| pe.events += 1).unwrap());
    check_events("try_process", 0, |key| {
        pes.try_process(key, |pe| -> Result<(), ()> {
            pe.events += 1;
            Ok(())
        })
        .unwrap()
        .unwrap();
    });
    check_events("read", 0, |key| assert!(pes.read(key, |pe| pe.events).unwrap() > 0));
    check_events("pe", 0, |key| pes.pe(key).unwrap().events += 1);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    check_events("process_async", 0, |key| {
        let event = std::pin::pin!(pes.process_async(key, |pe| pe.events += 1));
        assert!(event.poll(&mut context).is_ready());
    });
    check_events("read_async", 0, |key| {
        assert!(std::pin::pin!(pes.read_async(key, |pe| pe.events)).poll(&mut context).is_ready());
    });
    check_events("pe_async", 0, |key| {
        assert!(std::pin::pin!(pes.pe_async(key)).poll(&mut context).is_ready());
    });
    // A run has room for the shards that it holds and for the events that it draws.
    let in_run = allocations(|| {
        let events = (0..KEYS).map(|key| (key, 1));
        pes.session().run(events, |pe, more: u64| pe.events += more).unwrap();
    });
    assert!(in_run <= 4, "session: {in_run} allocations in a run of {KEYS} events");

    if cfg!(debug_assertions) {
        // There each capture is decoded again and compared, which does allocate.
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let sink = AppendSink::create(&directory.path().join("sink")).unwrap();
    let busy = keeper(sink);
    let pes = states(&busy, CheckpointingMode::EventCount(1.try_into().unwrap()));
    let round = || {
        for key in 0..KEYS {
            pes.process(key, |pe| pe.events += 1).unwrap();
        }
        step_all(&busy);
    };
    // What grows to its size in the first rounds is used again in later ones.
    round();
    round();
    let stored = busy.stats().stored;
    let allocated = allocations(round);
    let saves = busy.stats().stored - stored;
    assert_eq!(saves, KEYS);
    assert!(
        allocated as u64 * 10 < saves,
        "{allocated} allocations for {saves} saves: that is more than one for each batch and shard"
    );
    busy.close(Duration::from_secs(10)).unwrap();
}
