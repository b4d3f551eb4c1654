//! Who waits for whom while many PEs are brought: nobody for ever, and few at all.

use std::future::Future;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Wake, Waker};
use std::thread;

use checkpoint::{InMemoryStorage, Partitioner, PePrototype, ProcessError, SafeKeeper};

use crate::bulk_restore::{fill, fill_over, log};
use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, FetchFault, Gate, counters, eventually, manual,
};

/// Even numbers in one partition, odd ones in another.
#[derive(Debug)]
struct Parity;

impl Partitioner for Parity {
    fn name(&self) -> &'static str {
        "parity"
    }

    fn partition(&self, key: &[u8], partitions: NonZeroU32) -> u32 {
        u32::from(*key.last().unwrap()) % partitions
    }
}

#[test]
fn a_shard_that_is_held_for_long_holds_up_no_pe_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let keeper = || {
        let storage = log(directory.path()).open().unwrap();
        let builder = SafeKeeper::builder(storage).partitioner(Parity);
        builder.partitions(2.try_into().unwrap()).build().unwrap()
    };
    let first = keeper();
    fill_over(&first, (0..100).step_by(2).chain((1..100).step_by(2)));
    first.close(FAIL_SAFE).unwrap();
    drop(first);
    let keeper = keeper();
    let counters = counters(&keeper, manual().shards(1));
    let gate = Gate::new();
    thread::scope(|scope| {
        let event = scope.spawn(|| counters.process("k0", |_| gate.pass()).unwrap());
        gate.reached();
        let restored = scope.spawn(|| counters.restore_all(|_| {}).unwrap());
        // The odd ones are listed first, and then it waits for the shard of the even ones.
        eventually("the odd ones have come", || keeper.stats().fetches == 51);
        for key in (1..100).step_by(2) {
            let count = counters.read(&format!("k{key}"), |counter| counter.count).unwrap();
            assert_eq!(count, key + 1);
        }
        gate.open();
        event.join().unwrap();
        assert_eq!(restored.join().unwrap().restored, 99);
    });
}

#[test]
fn a_factory_that_wants_another_pe_of_the_same_turn_is_told_at_once() {
    let storage = InMemoryStorage::new();
    fill(storage.clone(), 0..50);
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let handle = Arc::new(OnceLock::<PePrototype<String, Counter>>::new());
    let (asked, told) = (Arc::new(AtomicU64::new(0)), Arc::clone(&handle));
    let count = Arc::clone(&asked);
    let factory = move |key: &String| {
        let number: u64 = key[1..].parse().unwrap();
        let neighbour = format!("k{}", (number + 1) % 50);
        if let Some(counters) = told.get() {
            match counters.read(&neighbour, |counter| counter.count) {
                Ok(count) => assert_eq!(count, (number + 1) % 50 + 1),
                Err(ProcessError::Reentrant { .. }) => {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Err(other) => panic!("{other}"),
            }
        }
        Counter { count: 0, handle: 7 }
    };
    let config = manual().build().unwrap();
    let counters = keeper.prototype("counter").config(config).create(factory).build().unwrap();
    assert!(handle.set(counters.clone()).is_ok());
    let report = counters.restore_all(|_| {}).unwrap();
    assert_eq!((report.restored, report.failed), (50, 0), "{:?}", report.errors);
    assert!(asked.load(Ordering::Relaxed) > 0);
}

#[test]
fn what_is_found_at_once_does_not_wait_for_what_has_to_be_waited_for() {
    let storage = InMemoryStorage::new();
    fill(storage.clone(), 0..50);
    let faulty = FaultyStorage::over(storage);
    // One is found, and of the others only two can be waited for at the same time.
    faulty.on_fetch_many_panic();
    let gate = Gate::new();
    faulty.on_fetch(49, FetchFault::Held(gate.clone()));
    let builder = SafeKeeper::builder(faulty).fetching_queue_size(1.try_into().unwrap());
    let keeper = builder.build().unwrap();
    let counters = counters(&keeper, manual());
    thread::scope(|scope| {
        let restored = scope.spawn(|| counters.restore_all(|_| {}).unwrap());
        gate.reached();
        eventually("one has come", || keeper.stats().resident == 1);
        gate.open();
        assert_eq!(restored.join().unwrap().restored, 50);
    });
}

fn is_there_or_refused(found: &Result<u64, ProcessError>) -> bool {
    matches!(found, Ok(1) | Err(ProcessError::Reentrant { .. }))
}

/// A task that is run by whoever wakes it, and wants all PEs.
struct WantsAll {
    counters: PePrototype<String, Counter>,
    // Of a panic nobody would hear.
    found: Mutex<Vec<Result<u64, ProcessError>>>,
}

impl Wake for WantsAll {
    fn wake(self: Arc<Self>) {
        for key in 0..50 {
            // One that has waited in vain is enough.
            if self.found.lock().unwrap().iter().all(is_there_or_refused) {
                let found = self.counters.read(&format!("k{key}"), |counter| counter.count - key);
                self.found.lock().unwrap().push(found);
            }
        }
    }
}

#[test]
fn a_task_that_is_run_by_its_waker_does_not_wait_for_others_of_the_same_turn() {
    let storage = InMemoryStorage::new();
    fill(storage.clone(), 0..50);
    let faulty = FaultyStorage::over(storage);
    let gate = Gate::new();
    faulty.on_fetch_many_hold(gate.clone());
    let keeper = SafeKeeper::builder(faulty).build().unwrap();
    let counters = counters(&keeper, manual());
    let task = Arc::new(WantsAll { counters: counters.clone(), found: Mutex::default() });
    let waker = Waker::from(Arc::clone(&task));
    thread::scope(|scope| {
        let restored = scope.spawn(|| counters.restore_all(|_| {}).unwrap());
        gate.reached();
        let mut events: Vec<_> = (0..50)
            .map(|key| Box::pin(counters.process_async(&*format!("k{key}"), |_| ())))
            .collect();
        for event in &mut events {
            assert!(event.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        gate.open();
        assert_eq!(restored.join().unwrap().restored, 50);
        for event in events {
            pollster::block_on(event).unwrap();
        }
    });
    assert_eq!(keeper.stats().resident, 50);
    let found = task.found.lock().unwrap();
    assert!(found.iter().any(Result::is_err));
    assert!(found.iter().all(is_there_or_refused), "{found:?}");
}
