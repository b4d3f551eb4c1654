//! States are stored: on request, after failures, after panics, whatever the load (T1, X3, X5, X6).

use std::sync::Arc;
use std::time::Duration;

use checkpoint::{
    CheckpointId, Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, Pool,
    RecordView, SafeKeeper, SaveFailure, StateLimits, StateStorage, StorageErrorKind,
    StorageResultCode, TestClock, decode_state, encode_state,
};

use crate::support::{
    Action, Counter, FAIL_SAFE, FaultyStorage, Results, SaveFault, counted, counters, every,
    manual, moving_on, scripted, settings,
};

#[test]
fn t1_a_manual_checkpoint_succeeds_and_stores_the_encoding_of_the_state() {
    let storage = FaultyStorage::new();
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 41).unwrap();
    let version = prototype.checkpoint("a").unwrap().wait().unwrap().expect("something is stored");
    results.until("the callback is told", |results| results.len() == 1);
    let result = results.all().remove(0);
    assert_eq!((result.code, result.version), (StorageResultCode::Success, Some(version)));
    assert_eq!((result.id.prototype(), result.id.key()), ("counter", &b"a"[..]));

    let record = storage.content().fetch_now(&result.id).unwrap().unwrap().unwrap();
    let view = RecordView::parse(&record).unwrap();
    let reference = Counter { count: 41, handle: 0 };
    let limits = StateLimits::default();
    assert_eq!(view.payload(), encode_state(&reference, &limits).unwrap());
    assert_eq!(view.header().version, version);
}

#[test]
fn x3_all_of_20_000_dirty_pes_are_stored_in_time_mode_with_default_settings() {
    const PES: u64 = 20_000;
    let storage = InMemoryStorage::new();
    let clock = Arc::new(TestClock::new());
    let results = Results::new();
    let keeper = SafeKeeper::builder(storage)
        .clock(clock.clone())
        .storage_callback_factory(results.clone())
        .build()
        .unwrap();
    let interval = Duration::from_secs(1);
    let config = CheckpointingConfig::builder(CheckpointingMode::Time(interval)).build().unwrap();
    let numbers =
        keeper.prototype::<u64, u64>("numbers").config(config).create(|_| 0).build().unwrap();
    for round in 1..=2 {
        numbers.session().run((0..PES).map(|key| (key, ())), |n, ()| *n += 1).unwrap();
        moving_on(&clock, Duration::from_millis(100), "all are stored", || {
            keeper.stats().stored == round * PES
        });
    }
    assert_eq!(results.counts(), (2 * usize::try_from(PES).unwrap(), 0));
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn in_time_mode_a_change_is_stored_in_time_also_after_a_time_without_any() {
    let clock = Arc::new(TestClock::new());
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = settings(&storage).clock(clock.clone()).stepped().build().unwrap();
    let mode = CheckpointingMode::Time(Duration::from_secs(10));
    let prototype = counters(&keeper, CheckpointingConfig::builder(mode));
    let pass = |seconds| {
        clock.advance(Duration::from_secs(seconds));
        let pools = [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing];
        while pools.into_iter().any(|pool| keeper.step(pool)) {}
    };
    for round in 1..=3 {
        prototype.process("a", |pe| pe.count += 1).unwrap();
        pass(9);
        assert_eq!(storage.seen().saves_of("a"), round - 1);
        pass(1);
        assert_eq!(storage.seen().saves_of("a"), round);
        pass(100);
    }
}

#[test]
fn x5_a_save_that_fails_ten_times_is_stored_without_another_event() {
    let storage = FaultyStorage::new();
    storage.on_save(10, SaveFault::NotStored(StorageErrorKind::Unavailable));
    let keeper = settings(&storage).save_attempts_max(20.try_into().unwrap()).build().unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 5).unwrap();
    storage.until("it is stored", |seen| seen.stored.len() == 1);
    assert_eq!(storage.seen().saves, 11);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn x5_a_capture_that_was_given_up_is_made_again_without_another_event() {
    let storage = FaultyStorage::new();
    storage.on_save(10, SaveFault::NotStored(StorageErrorKind::Unavailable));
    let results = Results::new();
    let keeper = settings(&storage)
        .save_attempts_max(3.try_into().unwrap())
        .storage_callback_factory(results.clone())
        .build()
        .unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 5).unwrap();
    results.until("it is stored", |r| r.iter().any(|r| r.code == StorageResultCode::Success));
    // Three captures were given up after three attempts each; the fourth got through at its second.
    assert_eq!(results.counts(), (1, 3));
    for given_up in &results.all()[..3] {
        let reason = given_up.error.as_ref().unwrap().reason();
        assert!(matches!(reason, SaveFailure::GaveUp(_)), "{reason:?}");
        assert_eq!(given_up.attempts, 3);
    }
    results.check_once_each();
    keeper.close(FAIL_SAFE).unwrap();
}

/// I1: nothing of it reaches the storage, and no lock is left poisoned.
#[test]
fn x6_a_state_whose_encoding_panics_is_reported_once_and_the_pool_lives() {
    let storage = FaultyStorage::new();
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = scripted(&keeper, every(1));
    let panics: Action = Arc::new(|| panic!("the state was told to panic"));
    prototype.process("a", |pe| pe.on_encode = Some(panics)).unwrap();
    results.until("the failure is reported", |results| results.len() == 1);
    let failure = results.all().remove(0);
    assert!(matches!(failure.error.unwrap().reason(), SaveFailure::EncodePanicked));
    // Another one is stored all the same; the first is dirty, and tried again once it has changed.
    prototype.process("b", |pe| pe.value = 2).unwrap();
    storage.until("the other is stored", |seen| seen.saves_of("b") == 1);
    assert_eq!((results.counts().1, keeper.stats().stuck), (1, 1));
    assert_eq!(storage.seen().saves_of("a"), 0);
    prototype.process("a", |pe| pe.on_encode = None).unwrap();
    storage.until("it is stored", |seen| seen.saves_of("a") == 1);
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(results.counts(), (2, 1));
}

/// H4: it is refused before the storage sees anything of it.
#[test]
fn x6_a_state_over_the_size_limit_is_reported_once_and_stored_when_it_is_smaller() {
    let storage = FaultyStorage::new();
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = keeper
        .prototype::<String, Vec<u8>>("bytes")
        .config(every(1).state_bytes_max(100).build().unwrap())
        .create(|_| Vec::new())
        .build()
        .unwrap();
    // Eight bytes are the length: 92 fit, 93 do not.
    prototype.process("a", |pe| pe.resize(93, 1)).unwrap();
    results.until("the failure is reported", |results| results.len() == 1);
    let failure = results.all().remove(0);
    assert!(matches!(failure.error.unwrap().reason(), SaveFailure::Encode(_)));
    assert_eq!(storage.seen().saves, 0);
    prototype.process("a", |pe| pe.truncate(92)).unwrap();
    storage.until("it is stored", |seen| seen.stored.len() == 1);
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(results.counts(), (1, 1));
}

#[test]
fn x6_a_storage_that_panics_costs_an_attempt_and_no_state() {
    let storage = FaultyStorage::new();
    storage.on_save(2, SaveFault::Panic);
    let results = Results::new();
    let keeper = settings(&storage).storage_callback_factory(results.clone()).build().unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.process("b", |pe| pe.count = 2).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(results.counts(), (2, 0));
    results.check_once_each();
    storage.check();
    let id = CheckpointId::new("counter", "b").unwrap();
    let record = storage.content().fetch_now(&id).unwrap().unwrap().unwrap();
    let payload = RecordView::parse(&record).unwrap().payload().to_vec();
    let staged = decode_state::<Counter>(&payload, &StateLimits::default()).unwrap();
    let mut restored = Counter { count: 0, handle: 9 };
    restored.apply(staged);
    assert_eq!(restored, Counter { count: 2, handle: 9 });
}

#[test]
fn x6_a_storage_that_always_panics_is_reported_as_one_failure_for_each_capture() {
    let storage = FaultyStorage::new();
    storage.on_save(2, SaveFault::Panic);
    let results = Results::new();
    let keeper = settings(&storage)
        .save_attempts_max(2.try_into().unwrap())
        .storage_callback_factory(results.clone())
        .build()
        .unwrap();
    let prototype = counters(&keeper, every(1));
    prototype.process("a", |pe| pe.count = 1).unwrap();
    results.until("one failure, then it is stored", |results| results.len() == 2);
    assert_eq!(results.counts(), (1, 1));
    results.check_once_each();
    keeper.close(FAIL_SAFE).unwrap();
}

/// H2: a shard that could fill every batch has its turns, and no more.
#[test]
fn a_shard_that_always_has_more_does_not_keep_another_from_being_stored() {
    const BATCH: usize = 4;
    let storage = FaultyStorage::new().knowing_absence();
    let keeper = settings(&storage)
        .storage_max_outstanding_requests(BATCH.try_into().unwrap())
        .stepped()
        .build()
        .unwrap();
    let hot = counted(&keeper, "hot", every(1).shards(1));
    let cold = counted(&keeper, "cold", every(1).shards(1));
    let change_hot = || {
        for key in 0..2 * BATCH {
            hot.process(&key.to_string(), |pe| pe.count += 1).unwrap();
        }
    };
    change_hot();
    cold.process("a", |pe| pe.count += 1).unwrap();
    // One batch of the hot one's at most goes before.
    for batches in 1..=2 {
        while storage.seen().save_calls < batches {
            assert!(keeper.step(Pool::Serialization) | keeper.step(Pool::Storage));
            change_hot();
        }
    }
    assert_eq!(storage.seen().saves_of("a"), 1);
    assert_eq!(storage.seen().saves, 2 * BATCH);
}
