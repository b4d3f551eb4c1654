//! How many PEs are in memory, who leaves, and what happens when nobody can (rule 13).

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use checkpoint::{
    CheckpointingConfigBuilder, Eviction, Key, KeyBytes, NotAKey, OnFull, Pool, ProcessError,
    Recover, StorageErrorKind, TestClock,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, FetchFault, Gate, Results, SaveFault, counted, counters,
    eventually, every, manual, moving_on, settings,
};

const CAPACITY: usize = 4;

fn limited(config: CheckpointingConfigBuilder) -> CheckpointingConfigBuilder {
    config.capacity(CAPACITY.try_into().unwrap())
}

#[test]
fn as_many_are_resident_as_the_capacity_says_and_beyond_it_the_oldest_leaves_stored() {
    for (touched, resident) in
        [(CAPACITY - 1, CAPACITY - 1), (CAPACITY, CAPACITY), (CAPACITY + 1, CAPACITY)]
    {
        let storage = FaultyStorage::new();
        let keeper = settings(&storage).build().unwrap();
        let prototype = counters(&keeper, limited(manual()).shards(1));
        for key in 0..touched {
            prototype.process(&key.to_string(), |pe| pe.count = key as u64 + 1).unwrap();
        }
        assert_eq!(prototype.len(), resident);
        assert_eq!(storage.seen().stored.len(), touched - resident);
        for key in 0..touched {
            let count = prototype.read(&key.to_string(), |pe| pe.count).unwrap();
            assert_eq!(count, key as u64 + 1, "what left is restored");
        }
        keeper.close(FAIL_SAFE).unwrap();
    }
}

#[test]
fn whoever_had_an_event_stays_and_the_longest_idle_leaves() {
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&FaultyStorage::new()).clock(clock.clone()).stepped().build().unwrap();
    let prototype = counters(&keeper, limited(manual().idle_max(FAIL_SAFE)).shards(1));
    let pass = || {
        clock.advance(Duration::from_secs(1));
        let pools = [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing];
        while pools.into_iter().any(|pool| keeper.step(pool)) {}
    };
    let event = |key: &str| {
        let mut event = Box::pin(prototype.process_async(key, |pe| pe.count += 1));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while event.as_mut().poll(&mut context).is_pending() {
            pass();
        }
    };
    for key in ["event", "guard", "session", "idle"] {
        event(key);
        pass();
    }
    prototype.process("event", |pe| pe.count += 1).unwrap();
    prototype.pe("guard").unwrap().count += 1;
    prototype.session().run([("session", 1)], |pe, by| pe.count += by).unwrap();
    pass();
    // It is no event.
    prototype.read("idle", |_| ()).unwrap();
    event("new");
    let mut resident = Vec::new();
    prototype.for_each(|key, _| resident.push(key.clone())).unwrap();
    resident.sort();
    assert_eq!(resident, ["event", "guard", "new", "session"]);
}

#[test]
fn what_does_not_come_takes_no_room() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage)
        .fetching_max_consecutive_failures_before_disabling(u32::MAX.try_into().unwrap());
    let keeper = keeper.build().unwrap();
    let config = limited(manual()).on_full(OnFull::Reject).build().unwrap();
    let prototype = keeper.prototype::<String, Counter>("counter").config(config);
    let prototype = prototype
        .create(|key| {
            assert!(!key.starts_with("panics"), "the factory was told to panic");
            Counter::default()
        })
        .build()
        .unwrap();
    for round in 0..=CAPACITY {
        prototype.process(&format!("panics {round}"), |_| ()).unwrap_err();
        let key = format!("fails {round}");
        storage.on_fetch_of(&key, 1, FetchFault::Failed(StorageErrorKind::Unavailable));
        prototype.process(&key, |_| ()).unwrap_err();
        prototype.remove(&format!("never seen {round}")).unwrap().wait().unwrap();
        prototype.process("removed", |pe| pe.count += 1).unwrap();
        prototype.remove("removed").unwrap().wait().unwrap();
    }
    let mut guards = Vec::new();
    for key in 0..CAPACITY {
        guards.push(prototype.pe(&key.to_string()).unwrap());
    }
    let full = prototype.process("one more", |_| ());
    assert!(matches!(full, Err(ProcessError::Full { .. })), "{full:?}");
    drop(guards);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn many_more_keys_than_fit_lose_nothing_from_many_threads() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, limited(manual()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for n in 0..150 {
                    prototype.process(&(n % 30).to_string(), |pe| pe.count += 1).unwrap();
                }
            });
        }
    });
    assert!(prototype.len() <= CAPACITY);
    for key in 0..30 {
        assert_eq!(prototype.read(&key.to_string(), |pe| pe.count).unwrap(), 15);
    }
    keeper.close(FAIL_SAFE).unwrap();
    storage.check();
}

#[test]
fn when_nobody_can_leave_a_new_pe_is_refused_and_residents_go_on() {
    let storage = FaultyStorage::new();
    let too_large = StorageErrorKind::TooLarge { max: 1 };
    storage.on_save(usize::MAX, SaveFault::NotStored(too_large));
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, limited(every(1)).on_full(OnFull::Reject));
    for key in 0..CAPACITY {
        prototype.process(&key.to_string(), |pe| pe.count = 1).unwrap();
    }
    eventually("all are stuck", || keeper.stats().stuck == CAPACITY as u64);
    match prototype.process("one more", |_| ()) {
        Err(ProcessError::Full { capacity, .. }) => assert_eq!(capacity, CAPACITY),
        other => panic!("{other:?}"),
    }
    prototype.read("0", |pe| assert_eq!(pe.count, 1)).unwrap();
    storage.heal();
    prototype.process("0", |pe| pe.count = 2).unwrap();
    eventually("there is room", || prototype.process("one more", |_| ()).is_ok());
    drop(prototype);
    keeper.close(Duration::from_millis(50)).unwrap_err();
}

#[test]
fn when_nobody_can_leave_a_new_pe_waits_and_then_gets_an_error() {
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&FaultyStorage::new()).clock(clock.clone()).build().unwrap();
    let config = limited(manual()).wait_max(Duration::from_secs(2));
    let prototype = counters(&keeper, config);
    let keys: Vec<_> = (0..CAPACITY).map(|key| key.to_string()).collect();
    let mut guards: Vec<_> = keys.iter().map(|key| prototype.pe(key).unwrap()).collect();
    thread::scope(|scope| {
        let event = scope.spawn(|| prototype.process("one more", |_| ()));
        moving_on(&clock, Duration::from_secs(1), "its time is up", || event.is_finished());
        assert!(matches!(event.join().unwrap(), Err(ProcessError::Full { .. })));
        let event = pollster::block_on(async {
            let mut event = Box::pin(prototype.process_async("one more", |_| ()));
            assert!(
                std::future::poll_fn(|context| {
                    std::task::Poll::Ready(event.as_mut().poll(context).is_pending())
                })
                .await
            );
            drop(guards.pop());
            prototype.evict(&keys[CAPACITY - 1]).unwrap();
            event.await
        });
        event.unwrap();
    });
    drop(guards);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn an_idle_pe_leaves_stored_after_its_time_and_a_busy_one_stays() {
    let clock = Arc::new(TestClock::new());
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = settings(&storage).clock(clock.clone()).stepped().build().unwrap();
    let ten_seconds = counters(&keeper, manual().idle_max(Duration::from_secs(10)));
    // Longer than the coarse time of an event can tell.
    let years = manual().idle_max(Duration::from_secs(5 * 365 * 24 * 3600));
    let years = counted(&keeper, "years", years);
    let pass = |time| {
        clock.advance(time);
        let pools = [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing];
        while pools.into_iter().any(|pool| keeper.step(pool)) {}
    };
    ten_seconds.process("idle", |pe| pe.count = 5).unwrap();
    years.process("idle", |pe| pe.count = 1).unwrap();
    for seconds in 1..=9 {
        ten_seconds.process("busy", |pe| pe.count += 1).unwrap();
        pass(Duration::from_secs(1));
        assert_eq!(ten_seconds.len(), 2, "after {seconds} s");
    }
    ten_seconds.process("busy", |pe| pe.count += 1).unwrap();
    pass(Duration::from_millis(1200));
    assert_eq!(ten_seconds.len(), 1);
    assert_eq!((storage.seen().saves_of("idle"), storage.seen().saves_of("busy")), (1, 0));
    pass(Duration::from_secs(100 * 24 * 3600));
    assert_eq!((ten_seconds.len(), years.len()), (0, 1));
}

#[test]
fn idle_pes_that_cannot_leave_do_not_stop_the_time() {
    let clock = Arc::new(TestClock::new());
    let keeper = settings(&FaultyStorage::new()).clock(clock.clone()).build().unwrap();
    let prototype = counters(&keeper, manual().idle_max(Duration::from_secs(1)));
    let guard = prototype.pe("lent out").unwrap();
    prototype.process("leaves", |_| ()).unwrap();
    moving_on(&clock, Duration::from_secs(1), "the other one has left", || prototype.len() == 1);
    moving_on(&clock, Duration::from_secs(1), "the flush is over", || {
        keeper.flush(Duration::ZERO).is_err()
    });
    drop(guard);
    moving_on(&clock, Duration::from_secs(1), "it has left too", || prototype.is_empty());
}

#[test]
fn evict_says_what_becomes_of_the_pe() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = counters(&keeper, manual());
    assert_eq!(prototype.evict("never seen").unwrap(), Eviction::NotResident);
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    assert_eq!(prototype.evict("a").unwrap(), Eviction::Evicted);
    assert!(prototype.is_empty());
    let guard = prototype.pe("a").unwrap();
    assert_eq!(prototype.evict("a").unwrap(), Eviction::Refused);
    drop(guard);
    assert_eq!(prototype.evict("a").unwrap(), Eviction::Evicted);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        prototype.process("a", |_| panic!("the event was told to panic"))
    }));
    assert!(panicked.is_err());
    assert_eq!(prototype.evict("a").unwrap(), Eviction::Refused);
    prototype.recover("a", Recover::Reload).unwrap();
    assert_eq!(prototype.evict("a").unwrap(), Eviction::Evicted);
}

#[test]
fn a_removed_pe_is_gone_from_the_storage_and_starts_anew() {
    let storage = FaultyStorage::new();
    let open = || {
        let keeper = settings(&storage).build().unwrap();
        let prototype = counters(&keeper, every(1));
        (keeper, prototype)
    };
    let (keeper, prototype) = open();
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.process("b", |pe| pe.count = 1).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    let (keeper, prototype) = open();
    // One that is resident, one that is not, and one that never was.
    prototype.read("a", |_| ()).unwrap();
    for key in ["a", "b", "never seen"] {
        prototype.remove(key).unwrap().wait().unwrap().unwrap();
    }
    assert!(prototype.ids().unwrap().is_empty());
    assert!(prototype.is_empty());
    assert_eq!(
        prototype
            .process("a", |pe| {
                pe.count += 1;
                pe.count
            })
            .unwrap(),
        1
    );
    keeper.close(FAIL_SAFE).unwrap();
    let (_keeper, prototype) = open();
    assert_eq!(prototype.read("b", |pe| pe.count).unwrap(), 0, "the removal outlives the restart");
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1);
}

/// Gives its bytes when the gate is open.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Slow(String);

static BYTES_OF_B: std::sync::OnceLock<Gate> = std::sync::OnceLock::new();

impl KeyBytes for Slow {
    fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        if self.0 == "b" {
            BYTES_OF_B.get_or_init(Gate::new).pass();
        }
        f(self.0.as_bytes())
    }
}

impl Key for Slow {
    fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
        String::from_key_bytes(bytes).map(Self)
    }

    fn key_type() -> String {
        "slow".to_owned()
    }
}

#[test]
fn a_pe_that_leaves_while_its_shard_is_held_by_one_that_wants_its_place_makes_room_at_once() {
    // The clock stands still: the end of the wait never comes.
    let storage = FaultyStorage::new();
    let save = Gate::new();
    let results = Results::new();
    let keeper = settings(&storage)
        .clock(Arc::new(TestClock::new()))
        .storage_callback_factory(results.clone())
        .build()
        .unwrap();
    let prototype = keeper
        .prototype::<Slow, Counter>("counter")
        .config(manual().shards(1).capacity(1.try_into().unwrap()).build().unwrap())
        .create(|_| Counter::default())
        .build()
        .unwrap();
    prototype.process(&Slow("a".into()), |pe| pe.count = 1).unwrap();
    storage.on_save(1, SaveFault::Held(save.clone()));
    assert_eq!(prototype.evict(&Slow("a".into())).unwrap(), Eviction::Storing);
    save.reached();
    let bytes = BYTES_OF_B.get_or_init(Gate::new);
    let (done, result) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| done.send(prototype.process(&Slow("b".into()), |pe| pe.count)).unwrap());
        bytes.reached();
        save.open();
        // It leaves when the shard is given back, which is after it was found to be full.
        results.until("it is stored", |results| results.len() == 1);
        bytes.open();
        let event = result.recv_timeout(FAIL_SAFE);
        drop(keeper.close(Duration::ZERO)); // So that the test ends if it waits for ever.
        assert_eq!(event.expect("there was room").unwrap(), 0);
    });
}
