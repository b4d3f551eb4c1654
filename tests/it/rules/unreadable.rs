//! What cannot be restored is never lost, never decoded again and again, and there are ways out
//! (rule 7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use checkpoint::{
    Checkpointable, InMemoryStorage, OnRestoreError, PePrototype, ProcessError, RegisterError,
    RestoreFailure, SafeKeeper, StorageErrorKind,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, FetchFault, counters, every, manual, settings,
};

/// Counts how often it is decoded; cannot be if its number is 13 and the code has changed its mind.
#[derive(Serialize, Default, Debug)]
struct Picky(u64);

static DECODED: AtomicUsize = AtomicUsize::new(0);
static IS_SUPERSTITIOUS: AtomicBool = AtomicBool::new(false);

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        match u64::deserialize(deserializer)? {
            13 if IS_SUPERSTITIOUS.load(Ordering::Relaxed) => {
                Err(serde::de::Error::custom("no such number"))
            }
            number => Ok(Self(number)),
        }
    }
}

#[derive(Checkpointable, Default, Debug)]
struct WithPicky {
    #[checkpoint(serde, version = 1)]
    picky: Picky,
}

fn reason<T: std::fmt::Debug>(result: Result<T, ProcessError>) -> RestoreFailure {
    match result {
        Err(ProcessError::Restore(error)) => error.reason().clone(),
        other => panic!("{other:?}"),
    }
}

fn flipped(record: Vec<u8>) -> Vec<u8> {
    let mut record = record;
    *record.last_mut().unwrap() ^= 1;
    record
}

/// A storage that has a counter of 5 under `a`, stored after one of 4, and whose next fetches are
/// damaged.
fn damaged(fetches: usize, content: InMemoryStorage) -> FaultyStorage {
    let storage = FaultyStorage::over(content);
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    for count in [4, 5] {
        prototype.process("a", |pe| pe.count = count).unwrap();
        prototype.checkpoint("a").unwrap().wait().unwrap();
    }
    keeper.close(FAIL_SAFE).unwrap();
    let storage = FaultyStorage::over(storage.content());
    storage.on_fetch_of("a", fetches, FetchFault::Changed(Arc::new(flipped)));
    storage
}

fn open(
    storage: &FaultyStorage,
    policy: OnRestoreError,
) -> (SafeKeeper, PePrototype<String, Counter>) {
    let keeper = settings(storage).build().unwrap();
    let prototype = counters(&keeper, every(1).on_restore_error(policy));
    (keeper, prototype)
}

#[test]
fn previous_is_refused_over_a_storage_without_versions_and_the_name_stays_free() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let previous = manual().on_restore_error(OnRestoreError::Previous).build().unwrap();
    let refused = keeper
        .prototype::<String, Counter>("counter")
        .config(previous)
        .create(|_| Counter::default())
        .build();
    assert!(matches!(refused, Err(RegisterError::Unsupported { .. })), "{refused:?}");
    counters(&keeper, manual());
}

#[test]
fn with_previous_the_newest_older_version_is_restored_and_the_damaged_one_is_put_aside() {
    let storage = damaged(1, InMemoryStorage::new().keeping_versions(3));
    let (keeper, prototype) = open(&storage, OnRestoreError::Previous);
    assert_eq!(
        prototype
            .process("a", |pe| {
                pe.count += 10;
                pe.count
            })
            .unwrap(),
        14
    );
    keeper.flush(FAIL_SAFE).unwrap();
    let quarantined = keeper.quarantined("counter").unwrap();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].id.key(), b"a");
    // The damage was in the reading: what was put aside can be restored.
    let version = quarantined[0].replaced_by;
    prototype.restore_quarantined("a", version).unwrap().wait().unwrap();
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 5);
    prototype.process("a", |pe| pe.count = 6).unwrap();
    let restored = pollster::block_on(prototype.restore_quarantined_async("a", version)).unwrap();
    pollster::block_on(restored).unwrap();
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 5);
    keeper.discard_quarantined(&quarantined[0]).unwrap();
    assert!(keeper.quarantined("counter").unwrap().is_empty());
    prototype.restore_quarantined("a", version).unwrap_err();
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn by_default_a_damaged_record_is_an_error_that_names_the_pe_and_changes_nothing() {
    let storage = damaged(1, InMemoryStorage::new());
    let (keeper, prototype) = open(&storage, OnRestoreError::Fail);
    let error = prototype.process("a", |_| ()).unwrap_err();
    assert!(error.to_string().contains("counter/a"), "{error}");
    assert!(matches!(reason(Err::<(), _>(error)), RestoreFailure::Record(_)));
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 5);
    assert_eq!(keeper.close(FAIL_SAFE).unwrap().saved, 0);
    assert!(storage.seen().stored.is_empty());
}

#[test]
fn a_quarantine_that_is_full_keeps_what_is_stored_and_says_so() {
    let storage = damaged(1, InMemoryStorage::new());
    let keeper = settings(&storage).save_attempts_max(1.try_into().unwrap()).build().unwrap();
    let config = manual().on_restore_error(OnRestoreError::StartEmpty).quarantined_max(0);
    let prototype = counters(&keeper, config);
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap_err();
    keeper.close(std::time::Duration::from_millis(20)).unwrap_err();
    assert!(storage.seen().stored.is_empty());
    let (_keeper, prototype) = open(&storage, OnRestoreError::Fail);
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 5);
}

#[test]
fn as_many_are_put_aside_as_may_be_and_one_that_is_discarded_makes_room() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1));
    for key in ["a", "b", "c"] {
        prototype.process(key, |pe| pe.count = 5).unwrap();
    }
    keeper.close(FAIL_SAFE).unwrap();
    for key in ["a", "b", "c"] {
        storage.on_fetch_of(key, 1, FetchFault::Changed(Arc::new(flipped)));
    }
    let keeper = settings(&storage).save_attempts_max(1.try_into().unwrap()).build().unwrap();
    let config = manual().on_restore_error(OnRestoreError::StartEmpty).quarantined_max(2);
    let prototype = counters(&keeper, config);
    let store = |key| {
        prototype.process(key, |pe| pe.count = 1).unwrap();
        prototype.checkpoint(key).unwrap().wait()
    };
    // Each is damaged once: what was put aside is what is stored.
    store("a").unwrap();
    store("b").unwrap();
    let error = store("c").unwrap_err();
    assert!(error.to_string().contains("counter/c"), "{error}");
    let aside = keeper.quarantined("counter").unwrap();
    assert_eq!(aside.len(), 2);
    keeper.discard_quarantined(&aside[0]).unwrap();
    store("c").unwrap();
    assert_eq!(keeper.quarantined("counter").unwrap().len(), 2);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn reset_is_the_way_out_of_a_pe_that_cannot_be_restored() {
    let storage = damaged(usize::MAX, InMemoryStorage::new());
    let (keeper, prototype) = open(&storage, OnRestoreError::Fail);
    reason(prototype.process("a", |_| ()));
    prototype.reset("a").unwrap().wait().unwrap();
    assert_eq!(
        prototype
            .process("a", |pe| {
                pe.count += 1;
                pe.count
            })
            .unwrap(),
        1
    );
    assert_eq!(keeper.quarantined("counter").unwrap().len(), 1);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn restore_version_makes_an_older_version_the_newest_and_drops_what_was_not_stored() {
    let storage = damaged(0, InMemoryStorage::new().keeping_versions(3));
    let (keeper, prototype) = open(&storage, OnRestoreError::Fail);
    let versions = prototype.versions("a").unwrap();
    prototype.process("a", |pe| pe.count = 100).unwrap();
    let newest = prototype.restore_version("a", versions[1].version).unwrap().wait().unwrap();
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 4);
    assert!(newest.unwrap() > versions[0].version);
    // One that is not there: an error, and the PE comes back from its newest version.
    let unknown = checkpoint::StateVersion::new(77, 7);
    assert!(matches!(reason(prototype.restore_version("a", unknown)), RestoreFailure::Storage(_)));
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 4);
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn a_state_that_cannot_be_decoded_is_decoded_once_and_a_failed_fetch_is_tried_again() {
    let storage = FaultyStorage::new();
    let open = || {
        let keeper = settings(&storage).build().unwrap();
        let prototype = keeper
            .prototype::<String, WithPicky>("picky")
            .config(every(1).build().unwrap())
            .create(|_| WithPicky::default())
            .build()
            .unwrap();
        (keeper, prototype)
    };
    let (keeper, prototype) = open();
    prototype.process("bad", |pe| pe.picky = Picky(13)).unwrap();
    prototype.process("good", |pe| pe.picky = Picky(12)).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    let (_keeper, prototype) = open();
    IS_SUPERSTITIOUS.store(true, Ordering::Relaxed);
    let before = DECODED.load(Ordering::Relaxed);
    for _ in 0..5 {
        let reason = reason(prototype.read("bad", |pe| pe.picky.0));
        assert!(matches!(reason, RestoreFailure::Decode { .. }), "{reason}");
    }
    assert_eq!(DECODED.load(Ordering::Relaxed) - before, 1);
    storage.on_fetch(2, FetchFault::Failed(StorageErrorKind::Unavailable));
    for _ in 0..2 {
        reason(prototype.read("good", |pe| pe.picky.0));
    }
    assert_eq!(prototype.read("good", |pe| pe.picky.0).unwrap(), 12);
}

#[test]
fn a_state_of_another_schema_is_an_error_that_shows_the_difference() {
    let storage = damaged(0, InMemoryStorage::new());
    let keeper = settings(&storage).build().unwrap();
    let prototype =
        keeper.prototype::<String, (u64, u64)>("counter").create(|_| (0, 0)).build().unwrap();
    match reason(prototype.read("a", |_| ())) {
        RestoreFailure::Schema { differences, .. } => assert!(!differences.is_empty()),
        other => panic!("{other}"),
    }
}

/// Counters that must be below 5, and how often that was asked.
fn checked(
    storage: &FaultyStorage,
    policy: OnRestoreError,
) -> (SafeKeeper, PePrototype<String, Counter>, Arc<AtomicUsize>) {
    let keeper = settings(storage).build().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let asks = asked.clone();
    let prototype = keeper
        .prototype("counter")
        .config(every(1).on_restore_error(policy).build().unwrap())
        .create(|_| Counter::default())
        .validate(move |key: &String, pe: &Counter| {
            asks.fetch_add(1, Ordering::Relaxed);
            if pe.count < 5 { Ok(()) } else { Err(format!("{key} is {}", pe.count)) }
        })
        .build()
        .unwrap();
    (keeper, prototype, asked)
}

/// C11: as a state that cannot be decoded.
#[test]
fn a_state_that_the_application_refuses_is_an_error_that_says_why_and_is_asked_about_once() {
    let storage = damaged(0, InMemoryStorage::new());
    let (keeper, prototype, asked) = checked(&storage, OnRestoreError::Fail);
    for _ in 0..3 {
        let failure = reason(prototype.process("a", |_| ()));
        let RestoreFailure::Invalid { error, .. } = failure else { panic!("{failure}") };
        assert_eq!(error.to_string(), "a is 5");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // A PE that is made is not restored: nobody is asked.
    prototype.process("b", |pe| pe.count = 7).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(storage.seen().stored.len(), 1, "only the one that was made");
    let (_keeper, prototype) = open(&storage, OnRestoreError::Fail);
    assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 5);
}

#[test]
fn a_state_that_the_application_refuses_is_put_aside_before_it_is_replaced() {
    for (policy, expected) in [(OnRestoreError::StartEmpty, 0), (OnRestoreError::Previous, 4)] {
        let storage = damaged(0, InMemoryStorage::new().keeping_versions(3));
        let (keeper, prototype, _) = checked(&storage, policy);
        let count = prototype.process("a", |pe| std::mem::replace(&mut pe.count, 1)).unwrap();
        assert_eq!(count, expected, "{policy:?}");
        keeper.flush(FAIL_SAFE).unwrap();
        let quarantined = keeper.quarantined("counter").unwrap();
        assert_eq!(quarantined.len(), 1, "{policy:?}");
        keeper.close(FAIL_SAFE).unwrap();
        // A program without that rule gets it back.
        let (_keeper, prototype) = open(&storage, policy);
        let version = quarantined[0].replaced_by;
        prototype.restore_quarantined("a", version).unwrap().wait().unwrap();
        assert_eq!(prototype.read("a", |pe| pe.count).unwrap(), 5, "{policy:?}");
    }
}

#[test]
fn a_check_that_panics_is_an_error_of_the_event_and_changes_nothing() {
    let storage = damaged(0, InMemoryStorage::new());
    let keeper = settings(&storage).build().unwrap();
    let prototype = keeper
        .prototype::<String, Counter>("counter")
        .create(|_| Counter::default())
        .validate(|_, _| -> Result<(), String> { panic!("the check was told to panic") })
        .build()
        .unwrap();
    assert!(matches!(reason(prototype.process("a", |_| ())), RestoreFailure::Panicked));
    assert_eq!(keeper.close(FAIL_SAFE).unwrap().saved, 0);
}
