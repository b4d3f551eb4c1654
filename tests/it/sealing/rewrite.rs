//! A change of keys is brought to its end, while events go on (K13).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use checkpoint::{
    Compression, InMemoryStorage, InputPosition, InputPositions, LogStorage, RecordHeader,
    RecordKind, RecordMeta, RecordWriter, RewriteFailure, RewriteReport, SafeKeeperBuilder,
    SourceId, StateStorage, StateVersion, StorageErrorKind,
};

use crate::sealing::{
    Texts, ZSTD, id, key, keys, over, put, record, sealed, store, stored, text, texts,
    with_checksums,
};
use crate::support::{FAIL_SAFE, FaultyStorage, Gate, SaveFault, eventually, manual, settings};

fn storage() -> Arc<dyn StateStorage> {
    Arc::new(InMemoryStorage::new())
}

/// Stores so many states under key 1.
fn many(storage: &Arc<dyn StateStorage>, count: usize) -> Vec<String> {
    many_by(over(storage), count)
}

fn many_by(builder: SafeKeeperBuilder, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("{n}")).collect();
    let keeper = builder.encryption(keys(1)).build().unwrap();
    store(&texts(&keeper, manual()), names.iter().map(|name| (&**name, text(name))));
    keeper.close(FAIL_SAFE).unwrap();
    names
}

fn to_the_end(texts: &Texts) -> RewriteReport {
    texts.rewrite(|_| ControlFlow::Continue(())).unwrap()
}

#[track_caller]
fn check(report: &RewriteReport, as_wanted: u64, rewritten: u64, failed: u64) {
    let found = (report.as_wanted, report.rewritten, report.failed);
    assert_eq!(found, (as_wanted, rewritten, failed), "{report:?}");
    assert_eq!(report.failures.len() as u64, failed);
}

#[track_caller]
fn check_old_key_is_not_needed(storage: &Arc<dyn StateStorage>, names: &[String]) {
    let keeper = over(storage).encryption(keys(2).refusing_unencrypted()).build().unwrap();
    let texts = texts(&keeper, manual());
    for name in names {
        assert_eq!(texts.read(name, String::clone).unwrap(), text(name));
    }
}

#[test]
fn what_is_not_in_memory_is_rewritten_and_stays_out_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let log: Arc<dyn StateStorage> = Arc::new(LogStorage::open(&root).unwrap());
    for storage in [storage(), log] {
        let names = many(&storage, 500);
        let before = record(&*storage, "7");
        let keeper = over(&storage).encryption(keys(2).with_older(key(1))).build().unwrap();
        let of_keeper = texts(&keeper, manual());
        of_keeper.remove("13").unwrap().wait().unwrap();
        let mut steps = Vec::new();
        let report = of_keeper.rewrite(|report| {
            steps.push(report.as_wanted + report.rewritten);
            ControlFlow::Continue(())
        });
        let report = report.unwrap();
        assert!(report.is_complete && of_keeper.is_empty());
        check(&report, 0, 499, 0);
        assert_eq!(steps, [64, 128, 192, 256, 320, 384, 448, 499]);
        let after = record(&*storage, "7");
        let (before, after) =
            (RecordHeader::parse(&before).unwrap(), RecordHeader::parse(&after).unwrap());
        assert_eq!(after.encryption_key_id(), Some(2));
        assert!(after.version > before.version);
        // Its age is that of its last event.
        assert_eq!((after.captured_at, after.idle), (before.captured_at, before.idle));
        assert_eq!(
            (after.event_count, after.fingerprint),
            (before.event_count, before.fingerprint)
        );
        check(&to_the_end(&of_keeper), 499, 0, 0);
        keeper.close(FAIL_SAFE).unwrap();
        drop((keeper, of_keeper));
        let kind = RecordHeader::parse(&record(&*storage, "13")).unwrap().kind;
        assert_eq!(kind, RecordKind::Tombstone);
        let names: Vec<_> = names.into_iter().filter(|name| name != "13").collect();
        check_old_key_is_not_needed(&storage, &names);
    }
}

#[test]
fn what_is_in_memory_is_captured_once_more_changed_or_not() {
    let storage = storage();
    many(&storage, 10);
    let keeper = over(&storage).encryption(keys(2).with_older(key(1))).build().unwrap();
    let texts = texts(&keeper, manual());
    assert_eq!(texts.read("1", String::clone).unwrap(), text("1"));
    texts.process("2", |state| state.push('!')).unwrap();
    texts.process("new", |state| state.push('!')).unwrap();
    let guard = texts.pe("3").unwrap();
    thread::scope(|scope| {
        let rewrite = scope.spawn(|| to_the_end(&texts));
        // One that somebody has is waited for.
        eventually("the others are rewritten", || sealed(&*storage, "9") == (Some(2), false));
        drop(guard);
        check(&rewrite.join().unwrap(), 0, 10, 0);
    });
    for name in ["1", "2", "3", "9"] {
        assert_eq!(sealed(&*storage, name), (Some(2), false), "{name}");
    }
    assert_eq!(texts.len(), 4);
    check(&to_the_end(&texts), 10, 0, 0);
}

/// Nothing is lost that happens meanwhile, and no PE has two operations at once.
#[test]
fn events_go_on_while_everything_is_rewritten() {
    let faulty = FaultyStorage::new();
    let names: Vec<String> = (0..300).map(|n| format!("{n}")).collect();
    let keeper = settings(&faulty).encryption(keys(1)).build().unwrap();
    store(&texts(&keeper, manual()), names.iter().map(|name| (&**name, String::new())));
    keeper.close(FAIL_SAFE).unwrap();
    let storage = || settings(&faulty).encryption(keys(2).with_older(key(1)));
    let keeper = storage().build().unwrap();
    // Some leave memory again and again.
    let config = crate::support::every(3).capacity(50.try_into().unwrap());
    let texts = texts(&keeper, config);
    let done = AtomicBool::new(false);
    let counts: Vec<u64> = thread::scope(|scope| {
        let events = || {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) || rounds == 0 {
                for name in &names {
                    texts.process(name, |state| state.push('!')).unwrap();
                }
                rounds += 1;
            }
            rounds
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(events)).collect();
        let reports: Vec<_> = (0..3).map(|_| to_the_end(&texts)).collect();
        // Before anything is asserted: the others end by it.
        done.store(true, Ordering::Relaxed);
        for report in reports {
            assert_eq!((report.failed, report.is_complete), (0, true), "{report:?}");
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let expected = usize::try_from(counts.iter().sum::<u64>()).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    faulty.check();
    let keeper = settings(&faulty).encryption(keys(2)).build().unwrap();
    let texts = crate::sealing::texts(&keeper, manual());
    for name in &names {
        assert_eq!(texts.read(name, String::len).unwrap(), expected, "{name}");
    }
}

#[test]
fn an_event_of_a_pe_that_is_just_rewritten_waits_for_that() {
    let faulty = FaultyStorage::new();
    stored(settings(&faulty).encryption(keys(1)), "alice", &text("alice"));
    let builder = settings(&faulty).encryption(keys(2).with_older(key(1)));
    let keeper = builder.build().unwrap();
    let texts = texts(&keeper, manual());
    let gate = Gate::new();
    faulty.on_save(1, SaveFault::Held(gate.clone()));
    thread::scope(|scope| {
        let rewrite = scope.spawn(|| to_the_end(&texts));
        gate.reached();
        let mut event = std::pin::pin!(texts.process_async("alice", |state| state.push('!')));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(event.as_mut().poll(&mut context).is_pending());
        gate.open();
        check(&rewrite.join().unwrap(), 0, 1, 0);
        pollster::block_on(event).unwrap();
    });
    assert_eq!(texts.read("alice", String::clone).unwrap(), text("alice") + "!");
    keeper.close(FAIL_SAFE).unwrap();
    faulty.check();
}

#[test]
fn a_rewrite_that_was_broken_off_goes_on_where_it_was() {
    let storage = storage();
    let names = many(&storage, 200);
    let keeper = over(&storage).encryption(keys(2).with_older(key(1))).build().unwrap();
    let of_keeper = texts(&keeper, manual());
    let first = of_keeper.rewrite(|_| ControlFlow::Break(())).unwrap();
    assert!(!first.is_complete);
    check(&first, 0, 64, 0);
    drop((keeper, of_keeper));
    let keeper = over(&storage).encryption(keys(2).with_older(key(1))).build().unwrap();
    let second = to_the_end(&texts(&keeper, manual()));
    assert!(second.is_complete);
    check(&second, 64, 136, 0);
    drop(keeper);
    check_old_key_is_not_needed(&storage, &names);
}

/// What cannot be rewritten is named, and holds up nothing else.
#[test]
fn what_cannot_be_rewritten_is_reported_by_id() {
    let faulty = FaultyStorage::new();
    let content: Arc<dyn StateStorage> = Arc::new(faulty.content());
    many_by(settings(&faulty), 20);
    let mut changed = record(&*content, "5");
    changed[32] = 250; // A newer version, so that it takes the place of the other.
    put(&*content, with_checksums(changed));
    stored(settings(&faulty).encryption(keys(3)), "lost", "its key is lost");
    let keeper = settings(&faulty).encryption(keys(2).with_older(key(1))).build().unwrap();
    let texts = texts(&keeper, manual());
    faulty.on_save_of("6", 1, SaveFault::NotStored(StorageErrorKind::Full));
    faulty.on_save_of("7", 1, SaveFault::UnknownLanded);
    faulty.on_save_of("8", 1, SaveFault::UnknownLost);
    faulty.on_save_of("9", 1, SaveFault::Dropped);
    let report = to_the_end(&texts);
    check(&report, 0, 15, 6);
    let failed: Vec<_> = report.failures.iter().map(|failure| failure.id().clone()).collect();
    for name in ["lost", "5", "6", "7", "8", "9"] {
        assert!(failed.contains(&id(name)), "{name}: {failed:?}");
    }
    let reason = |name: &str| {
        let failure = report.failures.iter().find(|failure| failure.id() == &id(name)).unwrap();
        assert!(failure.to_string().contains(&format!("texts/{name}")), "{failure}");
        let cause = std::error::Error::source(failure.reason()).unwrap().to_string();
        (failure.reason().clone(), cause)
    };
    let (lost, why) = reason("lost");
    assert!(matches!(lost, RewriteFailure::Unreadable(_)) && why.contains("key 3"), "{why}");
    assert!(reason("5").1.contains("key 1 does not open it"), "{:?}", reason("5"));
    assert!(matches!(reason("6").0, RewriteFailure::Storage(_)));
    // They are as they were, or rewritten, and the next call does what can be done.
    for name in ["6", "7", "8", "9"] {
        assert_eq!(texts.read(name, String::clone).unwrap(), text(name));
        assert_eq!(texts.evict(name).unwrap(), checkpoint::Eviction::Evicted);
    }
    check(&to_the_end(&texts), 16, 3, 2);
    faulty.check();
    // A storage that panics answers by that.
    drop((keeper, texts));
    let keeper = settings(&faulty).encryption(keys(4).with_older(key(2))).build().unwrap();
    let texts = crate::sealing::texts(&keeper, manual());
    faulty.on_save(1, SaveFault::Panic);
    let report = to_the_end(&texts);
    assert!(report.is_complete && report.failed > 2, "{report:?}");
    check(&to_the_end(&texts), report.rewritten, report.failed - 2, 2);
}

/// What compression does not make smaller is not stored anew again and again.
#[test]
fn the_compression_is_brought_up_to_date_too() {
    use checkpoint::RandomSource;
    let storage = storage();
    let random = checkpoint::SeededRandom::new(1);
    let noise = (0..500).map(|_| char::from(b' ' + random.next_u64().to_le_bytes()[0] % 94));
    stored(over(&storage), "noise", &noise.collect::<String>());
    stored(over(&storage), "alice", &text("alice").repeat(20));
    let rewrite = |compression| {
        let keeper = over(&storage).compression(compression).build().unwrap();
        let report = to_the_end(&texts(&keeper, manual()));
        keeper.close(FAIL_SAFE).unwrap();
        report
    };
    let noise = record(&*storage, "noise");
    check(&rewrite(Compression::Lz4), 1, 1, 0);
    assert_eq!(record(&*storage, "noise"), noise);
    let lz4 = record(&*storage, "alice");
    check(&rewrite(Compression::Lz4), 2, 0, 0);
    assert_eq!(record(&*storage, "alice"), lz4);
    assert!(rewrite(ZSTD).rewritten >= 1);
    assert!(record(&*storage, "alice").len() < lz4.len());
    assert!(rewrite(Compression::None).rewritten >= 1);
    assert_eq!(sealed(&*storage, "alice"), (None, false));
    let keeper = over(&storage).build().unwrap();
    let texts = texts(&keeper, manual());
    assert_eq!(texts.read("alice", String::clone).unwrap(), text("alice").repeat(20));
}

#[test]
fn nothing_is_rewritten_where_it_cannot_be_waited_for() {
    let storage = storage();
    many(&storage, 1);
    let keeper = over(&storage).encryption(keys(1)).build().unwrap();
    let texts = texts(&keeper, manual());
    let inside = texts.process("0", |_| texts.rewrite(|_| ControlFlow::Continue(())).unwrap_err());
    assert_eq!(inside.unwrap().kind(), StorageErrorKind::Unsupported);
    keeper.close(FAIL_SAFE).unwrap();
    let closed = texts.rewrite(|_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(closed.kind(), StorageErrorKind::Closed);
}

/// Sealing it makes its header longer than a header may be.
#[test]
fn a_record_that_cannot_be_sealed_is_named_and_the_others_are_rewritten() {
    let storage = storage();
    let names = many(&storage, 3);
    let position = |source| InputPosition { source: SourceId(source), position: 1 };
    let positions: InputPositions = (0..65_535).map(position).collect();
    let meta = RecordMeta {
        kind: RecordKind::State,
        partition: 0,
        version: StateVersion::new(1, 1_000),
        event_count: 0,
        captured_at: std::time::SystemTime::UNIX_EPOCH,
        idle: std::time::Duration::ZERO,
        fingerprint: 0,
        positions: &positions,
    };
    let mut bytes = Vec::new();
    let writer = RecordWriter::begin(&mut bytes, id("hostile").as_ref(), &meta);
    writer.finish(&mut bytes);
    put(&*storage, bytes);
    let keeper = over(&storage).encryption(keys(2).with_older(key(1))).build().unwrap();
    let report = to_the_end(&texts(&keeper, manual()));
    check(&report, 0, 3, 1);
    assert_eq!(report.failures[0].id(), &id("hostile"));
    check_old_key_is_not_needed(&storage, &names);
}
