//! Many PEs are brought into memory at once: all of them, the hottest, as many as fit.

mod waiting;

use std::fs;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use checkpoint::{
    DefaultFileSystemStateStorage, InMemoryStorage, Key, KeyBytes, LogStorage, LogStorageBuilder,
    NotAKey, PePrototype, ProcessError, SafeKeeper, StateStorage, StorageErrorKind,
};

use crate::support::{Counter, FAIL_SAFE, FaultyStorage, Gate, counters, every, manual};

fn log(root: &Path) -> LogStorageBuilder {
    LogStorage::builder(root).segment_bytes(20_000).background_compaction(false)
}

/// Stores counters of these keys, one after the other.
fn fill(storage: impl StateStorage + 'static, keys: impl Iterator<Item = u64>) {
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    fill_over(&keeper, keys);
    keeper.close(FAIL_SAFE).unwrap();
}

fn fill_over(keeper: &SafeKeeper, keys: impl Iterator<Item = u64>) {
    let counters = counters(keeper, manual());
    for key in keys {
        counters.process(&format!("k{key}"), |counter| counter.count = key + 1).unwrap();
        counters.checkpoint(&format!("k{key}")).unwrap().wait().unwrap();
    }
}

/// The keys in memory, in order.
fn resident(counters: &PePrototype<String, Counter>) -> Vec<u64> {
    let mut keys = Vec::new();
    counters
        .for_each(|key, counter| {
            let key: u64 = key[1..].parse().unwrap();
            assert_eq!((counter.count, counter.handle), (key + 1, 7));
            keys.push(key);
        })
        .unwrap();
    keys.sort_unstable();
    keys
}

#[track_caller]
fn check_all(storage: impl StateStorage + 'static, stored: u64) {
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let counters = counters(&keeper, manual());
    counters.read("k7", |_| ()).unwrap();
    let mut told = Vec::new();
    let report = counters.restore_all(|so_far| told.push(so_far.restored)).unwrap();
    assert_eq!((report.restored, report.resident, report.failed), (stored - 1, 1, 0));
    assert!(!report.is_full && report.errors.is_empty());
    assert!(told.is_sorted() && told.last() == Some(&(stored - 1)), "{told:?}");
    // Not only at the end, however many threads there are.
    assert!(told.len() >= if stored > 4096 { 2 } else { 1 }, "{told:?}");
    assert_eq!(resident(&counters), (0..stored).collect::<Vec<_>>());
    // No event has to wait for a fetch any more, and nothing has changed.
    let fetches = keeper.stats().fetches;
    assert_eq!(counters.process("k5", |counter| counter.count).unwrap(), 6);
    assert_eq!((fetches, keeper.stats().fetches), (stored, stored));
    assert_eq!(counters.restore_all(|_| {}).unwrap().resident, stored);
    assert_eq!(keeper.close(FAIL_SAFE).unwrap().saved, 1);
}

#[test]
fn all_that_is_stored_is_restored_from_each_storage() {
    let directory = tempfile::tempdir().unwrap();
    let memory = InMemoryStorage::new();
    fill(memory.clone(), 0..5000);
    check_all(memory, 5000);
    let root = directory.path().join("log");
    fill(log(&root).open().unwrap(), 0..5000);
    check_all(log(&root).open().unwrap(), 5000);
    // One that never answers at once.
    let root = directory.path().join("files");
    fill(DefaultFileSystemStateStorage::open(&root).unwrap(), 0..600);
    check_all(DefaultFileSystemStateStorage::open(&root).unwrap(), 600);
}

#[test]
fn the_hottest_are_those_that_were_saved_last() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    // The first ones again, at the end: they are hot.
    fill(log(root).open().unwrap(), (0..600).chain(0..50));
    let check = |storage: LogStorage| {
        let keeper = SafeKeeper::builder(storage).build().unwrap();
        let counters = counters(&keeper, manual());
        let report = counters.restore_hottest(60, |_| {}).unwrap();
        assert_eq!(report.restored, 60);
        let expected: Vec<u64> = (0..50).chain(590..600).collect();
        assert_eq!(resident(&counters), expected);
        assert_eq!(counters.restore_hottest(0, |_| {}).unwrap().restored, 0);
        keeper.close(FAIL_SAFE).unwrap();
    };
    check(log(root).open().unwrap());
    // Compaction keeps the order, and so do hints.
    let storage = log(root).open().unwrap();
    storage.compact().unwrap();
    check(storage);
    check(log(root).open().unwrap());
}

#[test]
fn as_many_come_as_fit_and_nobody_leaves_for_them() {
    let storage = InMemoryStorage::new();
    fill(storage.clone(), 0..600);
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let capacity = NonZeroUsize::new(300).unwrap();
    let counters = counters(&keeper, manual().capacity(capacity));
    counters.read("k599", |_| ()).unwrap();
    let report = counters.restore_all(|_| {}).unwrap();
    assert!(report.is_full);
    let resident = resident(&counters);
    assert_eq!((report.restored, resident.len()), (299, 300));
    assert!(resident.contains(&599));
}

#[test]
fn what_a_storage_does_not_find_at_once_is_fetched_one_by_one() {
    let storage = InMemoryStorage::new();
    fill(storage.clone(), 0..300);
    let faulty = FaultyStorage::over(storage);
    faulty.on_fetch_many_panic();
    check_all(faulty, 300);
}

#[test]
fn where_not_all_fit_the_hottest_come() {
    let directory = tempfile::tempdir().unwrap();
    fill(log(directory.path()).open().unwrap(), 0..3000);
    let keeper = SafeKeeper::builder(log(directory.path()).open().unwrap()).build().unwrap();
    let counters = counters(&keeper, manual().capacity(NonZeroUsize::new(700).unwrap()));
    let report = counters.restore_all(|_| {}).unwrap();
    assert!(report.is_full && report.restored == 700, "{report:?}");
    assert_eq!(resident(&counters), (2300..3000).collect::<Vec<_>>());
}

#[track_caller]
fn check_damaged(keys: impl Iterator<Item = u64>) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fill(log(root).open().unwrap(), keys);
    // Somewhere in the newest state of one, of which nothing is left but its number.
    let segments = fs::read_dir(root.join("segments")).unwrap();
    let mut paths: Vec<_> = segments.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let newest = paths.iter().rev().find_map(|path| {
        let bytes = fs::read(path).unwrap();
        let at = bytes.windows(4).rposition(|found| found == b"k321")?;
        Some((path, bytes, at))
    });
    let (path, mut bytes, at) = newest.unwrap();
    bytes[at + 4] ^= 1;
    fs::write(path, bytes).unwrap();
    let keeper = SafeKeeper::builder(log(root).open().unwrap()).build().unwrap();
    let counters = counters(&keeper, manual());
    let err = counters.restore_all(|_| {}).unwrap_err();
    // That damage hides an id from the list cannot be ruled out: all others have come.
    assert_eq!(err.kind(), StorageErrorKind::Corrupt);
    assert_eq!(resident(&counters).len(), 599);
    let err = counters.read("k321", |_| ()).unwrap_err();
    assert!(matches!(err, ProcessError::Restore(_)), "{err}");
}

#[test]
fn one_that_is_damaged_is_named_and_the_others_come() {
    check_damaged(0..600);
}

#[test]
fn an_older_state_does_not_come_for_one_that_is_damaged() {
    check_damaged((0..600).chain([321]));
}

#[test]
fn a_state_of_another_shape_is_named_and_the_others_come() {
    #[derive(checkpoint::Checkpointable, Default)]
    struct Other {
        text: String,
    }
    let storage = InMemoryStorage::new();
    fill(storage.clone(), 0..3);
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let others = keeper
        .prototype::<String, Other>("counter")
        .config(manual().build().unwrap())
        .create(|_| Other::default())
        .build()
        .unwrap();
    let report = others.restore_all(|_| {}).unwrap();
    assert_eq!((report.restored, report.failed), (0, 3));
    let mut named: Vec<_> = report.errors.iter().map(ToString::to_string).collect();
    named.sort();
    assert!(named[0].contains("counter/k0") && named[2].contains("counter/k2"), "{named:?}");
    assert!(others.is_empty());
}

#[test]
fn nothing_is_restored_in_an_event_or_after_the_end() {
    let storage = InMemoryStorage::new();
    fill(storage.clone(), 0..3);
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let counters = counters(&keeper, manual());
    let inside = counters.process("k0", |_| counters.restore_all(|_| {}).unwrap_err()).unwrap();
    assert_eq!(inside.kind(), StorageErrorKind::Unsupported);
    assert!(inside.to_string().contains("restore the PEs of `counter`"), "{inside}");
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(counters.restore_all(|_| {}).unwrap_err().kind(), StorageErrorKind::Closed);
}

#[test]
fn nothing_is_decoded_that_was_found_after_the_keeper_had_been_closed() {
    let storage = InMemoryStorage::new();
    fill(storage.clone(), 0..3);
    let (faulty, gate) = (FaultyStorage::over(storage), Gate::new());
    faulty.on_fetch_many_hold(gate.clone());
    let keeper = SafeKeeper::builder(faulty).build().unwrap();
    let made = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&made);
    let factory = move |_: &String| {
        count.fetch_add(1, Ordering::Relaxed);
        Counter::default()
    };
    let config = manual().build().unwrap();
    let counters = keeper.prototype("counter").config(config).create(factory).build().unwrap();
    thread::scope(|scope| {
        let restored = scope.spawn(|| counters.restore_all(|_| {}).unwrap_err());
        gate.reached();
        keeper.close(FAIL_SAFE).unwrap();
        gate.open();
        assert_eq!(restored.join().unwrap().kind(), StorageErrorKind::Closed);
    });
    assert_eq!(made.load(Ordering::Relaxed), 0);
}

/// A key that may panic when it is made of its bytes: on the threads that help with a restore, or
/// else the first time that it is the number 5.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Fragile<const ON_HELPERS: bool>(u64);

static PANICS: AtomicBool = AtomicBool::new(false);
static MADE: AtomicU64 = AtomicU64::new(0);
static HELPED: LazyLock<Gate> = LazyLock::new(Gate::new);

impl<const ON_HELPERS: bool> KeyBytes for Fragile<ON_HELPERS> {
    fn with_key_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        self.0.with_key_bytes(f)
    }
}

impl<const ON_HELPERS: bool> Key for Fragile<ON_HELPERS> {
    fn from_key_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
        let number = u64::from_key_bytes(bytes)?;
        if ON_HELPERS {
            let name = thread::current().name().map(str::to_owned);
            let is_helper = name.is_some_and(|name| name.starts_with("checkpoint-restore-"));
            if is_helper && !HELPED.is_open() {
                HELPED.open();
                panic!("the key was told to panic");
            }
            // The first turn is for one thread alone; then whoever called leaves some to helpers.
            if MADE.fetch_add(1, Ordering::Relaxed) >= 256 {
                HELPED.pass();
            }
        } else if number == 5 && PANICS.swap(false, Ordering::Relaxed) {
            panic!("the key was told to panic");
        }
        Ok(Self(number))
    }

    fn key_type() -> String {
        "fragile".to_owned()
    }
}

#[track_caller]
fn check_panic<const ON_HELPERS: bool>(stored: u64) {
    let storage = InMemoryStorage::new();
    let open = || {
        let keeper = SafeKeeper::builder(storage.clone()).build().unwrap();
        let prototype = keeper.prototype::<Fragile<ON_HELPERS>, Counter>("counter");
        let prototype = prototype.config(every(1).build().unwrap());
        (keeper, prototype.create(|_| Counter::default()).build().unwrap())
    };
    let (keeper, counters) = open();
    for key in 0..stored {
        counters.process(&Fragile(key), |counter| counter.count = key + 1).unwrap();
    }
    keeper.close(FAIL_SAFE).unwrap();
    drop(keeper);
    let (_keeper, counters) = open();
    PANICS.store(!ON_HELPERS, Ordering::Relaxed);
    let restored = catch_unwind(AssertUnwindSafe(|| counters.restore_all(|_| {})));
    let panic = restored.expect_err("the caller is not told of the panic");
    assert_eq!(panic.downcast_ref(), Some(&"the key was told to panic"));
    // Nobody waits for what was on its way then.
    for key in 0..stored {
        let count = counters.read(&Fragile(key), |counter| counter.count).unwrap();
        assert_eq!(count, key + 1);
    }
    assert_eq!(counters.restore_all(|_| {}).unwrap().resident, stored);
}

#[test]
fn a_key_that_panics_ends_it_and_gives_back_the_places_that_were_held() {
    check_panic::<false>(10);
}

#[test]
fn a_panic_on_a_thread_that_helps_reaches_the_caller() {
    if thread::available_parallelism().unwrap().get() > 1 {
        check_panic::<true>(3000);
    }
}
