//! A fetch that hangs or fails does not hold up the event, and never loses what is stored (T5, T10,
//! X9, E9, B15).

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfigBuilder, Clock, InMemoryStorage, OnRestoreError,
    PePrototype, ProcessError, RestoreFailure, SafeKeeper, StateStorage, StorageErrorKind,
    TestClock,
};

use crate::support::{FAIL_SAFE, FaultyStorage, FetchFault, Gate, every, manual, settings};

/// The PE of S4's tests.
#[derive(Checkpointable, Default)]
struct StatefulTestPe {
    value1: String,
    value2: String,
}

impl StatefulTestPe {
    fn shown(&self) -> String {
        format!("value1={} ; value2={}", self.value1, self.value2)
    }
}

fn stateful(
    keeper: &SafeKeeper,
    config: CheckpointingConfigBuilder,
) -> PePrototype<String, StatefulTestPe> {
    keeper
        .prototype("stateful")
        .config(config.build().unwrap())
        .create(|_| StatefulTestPe::default())
        .build()
        .unwrap()
}

/// A storage with a checkpoint of `value1=message1`.
fn stored(content: InMemoryStorage) -> FaultyStorage {
    let storage = FaultyStorage::over(content);
    let keeper = settings(&storage).build().unwrap();
    let prototype = stateful(&keeper, manual());
    prototype.process("pe", |pe| pe.value1 = "message1".into()).unwrap();
    prototype.checkpoint("pe").unwrap().wait().unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    // What was seen so far does not count.
    FaultyStorage::over(storage.content())
}

/// Sends the second message while the fetch hangs, for two seconds at the most.
fn second_message(
    prototype: &PePrototype<String, StatefulTestPe>,
    storage: &FaultyStorage,
    clock: &TestClock,
) -> Result<String, ProcessError> {
    thread::scope(|scope| {
        let event = scope.spawn(|| {
            prototype.process("pe", |pe| {
                pe.value2 = "message2".into();
                pe.shown()
            })
        });
        storage.until("the fetch has begun", |seen| seen.fetches == 1);
        for _ in 0..8 {
            clock.advance(Duration::from_millis(250));
        }
        event.join().unwrap()
    })
}

#[test]
fn t5_with_start_empty_an_event_is_processed_in_time_although_the_fetch_hangs() {
    let storage = stored(InMemoryStorage::new());
    let clock = Arc::new(TestClock::new());
    let gate = Gate::new();
    storage.on_fetch(1, FetchFault::Held(gate.clone()));
    let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
    let start_empty = manual().on_restore_error(OnRestoreError::StartEmpty);
    let prototype = stateful(&keeper, start_empty);
    // The storage answers after the verdict: that must not replace the PE.
    let shown = second_message(&prototype, &storage, &clock).unwrap();
    gate.open();
    assert_eq!(shown, "value1= ; value2=message2");
    assert_eq!(clock.now().since_start(), Duration::from_secs(2));
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn t5_by_default_an_event_fails_in_time_when_the_fetch_hangs_and_the_state_is_untouched() {
    let storage = stored(InMemoryStorage::new());
    let clock = Arc::new(TestClock::new());
    let gate = Gate::new();
    storage.on_fetch(1, FetchFault::Held(gate.clone()));
    let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
    let prototype = stateful(&keeper, every(1));
    let error = second_message(&prototype, &storage, &clock).unwrap_err();
    match &error {
        ProcessError::Restore(error) => {
            assert!(matches!(error.reason(), RestoreFailure::TimedOut { .. }), "{error}");
        }
        other => panic!("{other}"),
    }
    gate.open();
    // The event can be tried again, and finds the state.
    let shown = prototype.process("pe", |pe| pe.shown()).unwrap();
    assert_eq!(shown, "value1=message1 ; value2=");
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn t10_a_fetch_that_hangs_and_then_fails_gives_the_same_as_one_that_hangs() {
    let storage = stored(InMemoryStorage::new());
    let clock = Arc::new(TestClock::new());
    let gate = Gate::new();
    let fails = FetchFault::HeldThenFailed(gate.clone(), StorageErrorKind::Unavailable);
    storage.on_fetch(1, fails);
    let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
    let start_empty = manual().on_restore_error(OnRestoreError::StartEmpty);
    let prototype = stateful(&keeper, start_empty);
    let shown = second_message(&prototype, &storage, &clock).unwrap();
    gate.open();
    assert_eq!(shown, "value1= ; value2=message2");
    assert_eq!(prototype.read("pe", StatefulTestPe::shown).unwrap(), shown);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn t10_a_fetch_that_fails_is_an_error_of_the_event_and_not_an_empty_state() {
    let storage = stored(InMemoryStorage::new());
    storage.on_fetch(1, FetchFault::Failed(StorageErrorKind::Unavailable));
    let keeper = settings(&storage).build().unwrap();
    let prototype = stateful(&keeper, every(1));
    let error = prototype.process("pe", |pe| pe.shown()).unwrap_err();
    assert!(matches!(error, ProcessError::Restore(_)), "{error}");
    assert!(prototype.is_empty());
    assert_eq!(prototype.process("pe", |pe| pe.shown()).unwrap(), "value1=message1 ; value2=");
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn every_way_in_which_a_fetch_can_fail_is_an_error_and_not_an_empty_state() {
    let cut: Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync> =
        Arc::new(|record| record[..record.len() - 1].to_vec());
    for fault in [FetchFault::Dropped, FetchFault::Panic, FetchFault::Changed(cut)] {
        let storage = stored(InMemoryStorage::new());
        storage.on_fetch(1, fault);
        let keeper = settings(&storage).build().unwrap();
        let prototype = stateful(&keeper, every(1));
        let error = prototype.process("pe", |pe| pe.shown()).unwrap_err();
        assert!(matches!(error, ProcessError::Restore(_)), "{error}");
        assert_eq!(prototype.process("pe", |pe| pe.shown()).unwrap(), "value1=message1 ; value2=");
        keeper.close(FAIL_SAFE).unwrap();
    }
}

/// A storage where a counter has 1,000,000, and a keeper whose first fetch hangs until it times
/// out.
fn million(on_restore_error: OnRestoreError) -> (FaultyStorage, Result<u64, ProcessError>) {
    let storage = FaultyStorage::over(InMemoryStorage::new().keeping_versions(3));
    let keeper = settings(&storage).build().unwrap();
    let prototype = crate::support::counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 1_000_000).unwrap();
    keeper.close(FAIL_SAFE).unwrap();

    let storage = FaultyStorage::over(storage.content());
    let clock = Arc::new(TestClock::new());
    let gate = Gate::new();
    storage.on_fetch(1, FetchFault::Held(gate.clone()));
    let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
    let prototype = crate::support::counters(&keeper, every(1).on_restore_error(on_restore_error));
    let result = thread::scope(|scope| {
        let event = scope.spawn(|| {
            prototype.process("a", |pe| {
                pe.count += 1;
                pe.count
            })
        });
        storage.until("the fetch has begun", |seen| seen.fetches > 0);
        clock.advance(Duration::from_secs(1));
        event.join().unwrap()
    });
    gate.open();
    keeper.close(FAIL_SAFE).unwrap();
    (storage, result)
}

#[test]
fn x9_a_restore_that_times_out_leaves_the_stored_state_untouched() {
    let (storage, result) = million(OnRestoreError::Fail);
    assert!(matches!(result, Err(ProcessError::Restore(_))), "{result:?}");
    let keeper = settings(&storage).build().unwrap();
    let prototype = crate::support::counters(&keeper, every(1));
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1_000_000);
}

#[test]
fn x9_after_start_empty_the_old_state_is_there_to_go_back_to() {
    let (storage, result) = million(OnRestoreError::StartEmpty);
    assert_eq!(result.unwrap(), 1);
    let keeper = settings(&storage).build().unwrap();
    let prototype = crate::support::counters(&keeper, every(1));
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1);
    // By its version, where the storage keeps versions.
    let versions = prototype.versions("a").unwrap();
    assert_eq!(versions.len(), 2);
    prototype.restore_version("a", versions[1].version).unwrap().wait().unwrap();
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1_000_000);
    // From the quarantine, with any storage.
    prototype.process("a", |pe| pe.count = 2).unwrap();
    let quarantined = keeper.quarantined("counter").unwrap();
    assert_eq!(quarantined.len(), 1);
    prototype.restore_quarantined("a", quarantined[0].replaced_by).unwrap().wait().unwrap();
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 1_000_000);
    keeper.close(FAIL_SAFE).unwrap();
    assert!(storage.content().may_contain(&quarantined[0].id));
}
