//! Counters and times at their end (F5): an error or standing still, never starting over.
//!
//! Sequence numbers are tested where they are drawn (`partition`).

use std::num::NonZeroUsize;
use std::task::{Context, Waker};
use std::time::Duration;

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, CheckpointingConfig, CheckpointingMode, DefaultFileSystemStateStorage, Epoch,
    InMemoryStorage, InputPositions, RecordKind, RecordMeta, RecordView, RecordWriter, SafeKeeper,
    SaveOutcome, StateStorage, StateVersion, StorageErrorKind, encode_state,
};

use crate::support::{Counter, FAIL_SAFE, FaultyStorage, SaveFault, counters, manual, settings};

const HIGHEST: StateVersion = StateVersion::new(u64::MAX, u64::MAX);

/// A record of the counter `a` with these numbers.
fn record(version: StateVersion, event_count: u64, idle: Duration) -> Vec<u8> {
    let id = CheckpointId::new("counter", "a").unwrap();
    let meta = RecordMeta {
        kind: RecordKind::State,
        partition: 0,
        version,
        event_count,
        captured_at: std::time::UNIX_EPOCH,
        idle,
        fingerprint: checkpoint::SchemaDescription::of::<Counter>().fingerprint(),
        positions: &InputPositions::none(),
    };
    let mut bytes = Vec::new();
    let writer = RecordWriter::begin(&mut bytes, id.as_ref(), &meta);
    let state = Counter { count: 5, handle: 0 };
    bytes.extend(encode_state(&state, &checkpoint::StateLimits::DEFAULT).unwrap());
    writer.finish(&mut bytes);
    bytes
}

fn stored(record: Vec<u8>) -> InMemoryStorage {
    let storage = InMemoryStorage::new();
    let outcome = conformance::save(&storage, &[record]).pop();
    assert!(matches!(outcome, Some(SaveOutcome::Stored)), "{outcome:?}");
    storage
}

#[test]
fn a_pe_that_has_handled_all_events_there_are_goes_on_and_its_count_stands_still() {
    let storage = stored(record(StateVersion::new(0, 1), u64::MAX, Duration::MAX));
    let keeper = settings(&FaultyStorage::over(storage.clone())).build().unwrap();
    let prototype = counters(&keeper, manual());
    for _ in 0..3 {
        prototype.process("a", |pe| pe.count += 1).unwrap();
    }
    let guard = prototype.pe("a").map(|mut guard| guard.count += 1);
    guard.unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    let id = CheckpointId::new("counter", "a").unwrap();
    let bytes = storage.fetch_now(&id).unwrap().unwrap().unwrap();
    let view = RecordView::parse(&bytes).unwrap();
    assert_eq!(view.header().event_count, u64::MAX);
    assert_eq!(view.payload()[..8], 9_u64.to_le_bytes());
}

#[test]
fn nothing_replaces_the_highest_version_and_the_pe_stays_dirty() {
    let storage = stored(record(HIGHEST, 1, Duration::ZERO));
    let keeper = settings(&FaultyStorage::over(storage.clone())).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count += 1).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap_err();
    let report = keeper.close(FAIL_SAFE).unwrap_err().0;
    assert_eq!(report.failed.len(), 1, "{report}");
    let id = CheckpointId::new("counter", "a").unwrap();
    let bytes = storage.fetch_now(&id).unwrap().unwrap().unwrap();
    assert_eq!(bytes, record(HIGHEST, 1, Duration::ZERO));
}

#[test]
fn a_store_whose_epochs_are_used_up_does_not_open_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    drop(DefaultFileSystemStateStorage::open(&root).unwrap());
    let epoch = |number| {
        let bytes = std::fs::read(root.join("epoch")).unwrap();
        let (view, _copy) = RecordView::parse_prefix(&bytes).unwrap();
        let header = view.header();
        let meta = RecordMeta {
            kind: header.kind,
            partition: header.partition,
            version: StateVersion::new(header.version.epoch.0, number),
            event_count: header.event_count,
            captured_at: header.captured_at,
            idle: header.idle,
            fingerprint: header.fingerprint,
            positions: &header.positions,
        };
        let mut bytes = Vec::new();
        RecordWriter::begin(&mut bytes, header.id, &meta).finish(&mut bytes);
        bytes
    };
    // The last one is given out, and after it there is none.
    std::fs::write(root.join("epoch"), epoch(u64::MAX - 1)).unwrap();
    let storage = DefaultFileSystemStateStorage::open(&root).unwrap();
    assert_eq!(storage.open_epoch(0).unwrap(), Epoch(u64::MAX));
    let err = storage.open_epoch(0).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::Unsupported);
    // The keeper works in the last one, if it is the first to open.
    drop(storage);
    let before = std::fs::read(root.join("epoch")).unwrap();
    let err = DefaultFileSystemStateStorage::open(&root).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::Unsupported);
    assert_eq!(std::fs::read(root.join("epoch")).unwrap(), before);

    std::fs::write(root.join("epoch"), epoch(u64::MAX - 1)).unwrap();
    let storage = DefaultFileSystemStateStorage::open(&root).unwrap();
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let version = prototype.checkpoint("a").unwrap().wait().unwrap().unwrap();
    assert_eq!(version.epoch, Epoch(u64::MAX));
    keeper.close(FAIL_SAFE).unwrap();
}

#[test]
fn metadata_whose_versions_are_used_up_is_an_error_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = DefaultFileSystemStateStorage::open(&root).unwrap();
    storage.put_metadata("m", None, b"first").unwrap();
    let path = root.join("meta/06d");
    let bytes = std::fs::read(&path).unwrap();
    let (view, _copy) = RecordView::parse_prefix(&bytes).unwrap();
    let header = view.header();
    let meta = RecordMeta {
        kind: header.kind,
        partition: header.partition,
        version: StateVersion::new(header.version.epoch.0, u64::MAX),
        event_count: header.event_count,
        captured_at: header.captured_at,
        idle: header.idle,
        fingerprint: header.fingerprint,
        positions: &header.positions,
    };
    let mut last = Vec::new();
    let writer = RecordWriter::begin(&mut last, header.id, &meta);
    last.extend_from_slice(view.payload());
    writer.finish(&mut last);
    std::fs::write(&path, &last).unwrap();
    let found = storage.metadata("m").unwrap().unwrap();
    let err = storage.put_metadata("m", Some(found.version), b"second").unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::Unsupported);
    assert_eq!(storage.metadata("m").unwrap().unwrap().bytes, b"first");
}

/// Whoever does not want a limit gives the highest number there is.
#[test]
fn the_longest_times_mean_for_ever() {
    const FOR_EVER: Duration = Duration::MAX;
    let storage = FaultyStorage::new();
    storage.on_save(2, SaveFault::NotStored(StorageErrorKind::Unavailable));
    let open = || {
        settings(&storage)
            .fetching_max_wait(FOR_EVER)
            .fetching_disabled_duration(FOR_EVER)
            .max_serialization_lock_time(FOR_EVER)
            .save_backoff_max(FOR_EVER)
            .overflow_wait_max(FOR_EVER)
            .close_on_drop(FOR_EVER)
            .build()
            .unwrap()
    };
    let event_count = 1.try_into().unwrap();
    for mode in [
        CheckpointingMode::Time(FOR_EVER),
        CheckpointingMode::EventCountOrTime { event_count, interval: FOR_EVER },
    ] {
        let keeper = open();
        let config = CheckpointingConfig::builder(mode).idle_max(FOR_EVER).expire_after(FOR_EVER);
        let config = config.clock_step_max(FOR_EVER).wait_max(FOR_EVER).capacity(NonZeroUsize::MIN);
        let builder = keeper.prototype("numbers").config(config.build().unwrap());
        let builder = builder.create(|_: &u64| 0_u64).on_time(FOR_EVER, |_, n| *n += 1000);
        let numbers = builder.build().unwrap();
        numbers.process(1, |n| *n += 1).unwrap();
        let ticket = numbers.checkpoint(1).unwrap();
        assert!(ticket.wait_timeout(FOR_EVER).unwrap().is_ok());
        numbers.process(2, |n| *n += 1).unwrap();
        let guard = numbers.pe(2).unwrap();
        let mut event = Box::pin(numbers.process_async(2, |n| *n += 1));
        let mut context = Context::from_waker(Waker::noop());
        assert!(event.as_mut().poll(&mut context).is_pending());
        assert!(numbers.checked_out(FOR_EVER).is_empty());
        drop(guard);
        pollster::block_on(event).unwrap();
        numbers.flush(FOR_EVER).unwrap();
        keeper.flush(FOR_EVER).unwrap();
        pollster::block_on(keeper.flush_async(FOR_EVER)).unwrap();
        keeper.close(FOR_EVER).unwrap();
    }
    let keeper = open();
    let numbers = keeper.prototype("numbers").create(|_: &u64| 0_u64).build().unwrap();
    assert_eq!([1, 2].map(|key| numbers.read(key, |n| *n).unwrap()), [2, 4]);
}
