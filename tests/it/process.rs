//! Events are processed, checkpointed and restored.

use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, PePrototype,
    ProcessError, SafeKeeper,
};

#[derive(Checkpointable, Default, Debug, PartialEq)]
struct WordCount {
    count: u64,
    #[transient]
    listeners: Vec<u64>,
}

const SECONDS: Duration = Duration::from_secs(10);

fn every(n: u64) -> CheckpointingConfig {
    let n = n.try_into().unwrap();
    CheckpointingConfig::builder(CheckpointingMode::EventCount(n)).build().unwrap()
}

fn words(keeper: &SafeKeeper, config: CheckpointingConfig) -> PePrototype<String, WordCount> {
    keeper
        .prototype("word-count")
        .config(config)
        .create(|_| WordCount { count: 0, listeners: vec![7] })
        .build()
        .unwrap()
}

#[test]
fn a_restart_finds_what_was_there() {
    let storage = InMemoryStorage::new();
    let keeper = SafeKeeper::builder(storage.clone()).build().unwrap();
    let prototype = words(&keeper, every(2));
    for _ in 0..5 {
        prototype.process("alice", |pe| pe.count += 1).unwrap();
    }
    prototype.process(&"bob".to_owned(), |pe| pe.count += 10).unwrap();
    let report = keeper.close(SECONDS).unwrap();
    assert!(report.saved >= 2, "{report}");
    assert!(matches!(prototype.process("alice", |pe| pe.count), Err(ProcessError::Closed { .. })));

    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let prototype = words(&keeper, every(2));
    assert_eq!(prototype.len(), 0);
    assert_eq!(prototype.process("alice", |pe| (pe.count, pe.listeners.len())).unwrap(), (5, 1));
    assert_eq!(prototype.read("bob", |pe| pe.count).unwrap(), 10);
    assert_eq!(prototype.keys().unwrap(), ["alice", "bob"]);
    assert_eq!(prototype.len(), 2);
}

#[test]
fn all_ways_in_work_together() {
    let storage = InMemoryStorage::new();
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let numbers =
        keeper.prototype::<u64, u64>("numbers").config(every(3)).create(|_| 0).build().unwrap();
    const KEYS: u64 = 50;
    const ROUNDS: u64 = 200;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..KEYS * ROUNDS {
                numbers.process(i % KEYS, |n| *n += 1).unwrap();
            }
        });
        scope.spawn(|| {
            let mut session = numbers.session();
            for _ in 0..ROUNDS {
                session.run((0..KEYS).map(|key| (key, 1)), |n, by| *n += by).unwrap();
            }
        });
        scope.spawn(|| {
            for i in 0..KEYS * ROUNDS {
                let mut guard = numbers.pe(i % KEYS).unwrap();
                *guard += 1;
            }
        });
        scope.spawn(|| {
            for i in 0..KEYS * ROUNDS {
                pollster::block_on(numbers.process_async(i % KEYS, |n| *n += 1)).unwrap();
                if i % 7 == 0 {
                    numbers.evict(i % KEYS).unwrap();
                }
            }
        });
    });
    for key in 0..KEYS {
        assert_eq!(numbers.read(key, |n| *n).unwrap(), 4 * ROUNDS, "{key}");
    }
    keeper.close(SECONDS).unwrap();
}

#[test]
fn a_guard_dropped_under_its_own_session_is_not_lost() {
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build().unwrap();
    let numbers = keeper.prototype::<u64, u64>("numbers").create(|_| 0).build().unwrap();
    let mut guard = Some(numbers.pe(1).unwrap());
    **guard.as_mut().unwrap() += 5;
    let mut session = numbers.session();
    session
        .run((0..100).filter(|key| *key != 1).map(|key| (key, ())), |n, ()| {
            *n += 1;
            drop(guard.take());
        })
        .unwrap();
    assert_eq!(numbers.read(1, |n| *n).unwrap(), 5);
}

#[test]
fn reading_and_refused_events_have_async_twins_and_change_nothing() {
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build().unwrap();
    let numbers =
        keeper.prototype::<u64, u64>("numbers").config(every(1)).create(|_| 7).build().unwrap();
    assert_eq!(pollster::block_on(numbers.read_async(1, |n| *n)).unwrap(), 7);
    let refused = numbers.try_process_async(1, |_| Err::<(), _>("no"));
    assert_eq!(pollster::block_on(refused).unwrap(), Err("no"));
    assert_eq!(keeper.stats().requested, 0);
    let counted = numbers.try_process_async(1, |n| {
        *n += 1;
        Ok::<_, ()>(*n)
    });
    assert_eq!(pollster::block_on(counted).unwrap(), Ok(8));
    assert_eq!(keeper.stats().requested, 1);
    keeper.close(SECONDS).unwrap();
}
