//! Compaction keeps its pace, and takes turns with those who save when that is not enough.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::thread::Builder;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use checkpoint::storage::conformance;
use checkpoint::{
    Alarm, Clock, Durability, LogStorage, LogStorageBuilder, SaveOutcome, StateVersion, TestClock,
    Timestamp,
};

use super::{hints, id, store};
use crate::file_system::files_that_fail::FilesThatFail;
use crate::support::eventually;

pub(super) const SEGMENT_BYTES: u64 = 16_000;
const KEYS: u64 = 60;
const STATE: [u8; 200] = [7; 200];

pub(super) fn builder(root: &Path) -> LogStorageBuilder {
    LogStorage::builder(root).segment_bytes(SEGMENT_BYTES).durability(Durability::Process)
}

/// One whose compaction reads as good as nothing, as long as nobody waits for it: its clock stands
/// still. So nobody goes on, either, because he has waited for long enough.
fn still(root: &Path) -> LogStorageBuilder {
    builder(root).compaction_bytes_per_second(NonZeroU64::MIN).clock(Arc::new(TestClock::new()))
}

/// Overwrites all states in turn.
fn overwrite(storage: &LogStorage, rounds: u64, after_each: &mut dyn FnMut(u64)) {
    for round in 0..rounds {
        let mut record_bytes = 0;
        for first in (0..KEYS).step_by(10) {
            let record = |key| {
                let version = StateVersion::new(1, round * KEYS + key + 1);
                conformance::record(&id(&format!("k{key:02}")), version, &STATE)
            };
            let records: Vec<_> = (first..first + 10).map(record).collect();
            record_bytes = records[0].len() as u64;
            let outcomes = conformance::save(storage, &records);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, SaveOutcome::Stored)));
            if round > 0 {
                after_each(KEYS * record_bytes);
            }
        }
        assert!(record_bytes > 200);
    }
}

#[test]
fn what_is_overwritten_takes_less_than_three_times_what_counts_and_six_segments() {
    let directory = tempfile::tempdir().unwrap();
    let storage = still(directory.path()).open().unwrap();
    let mut most = 0;
    overwrite(&storage, 300, &mut |live_bytes| {
        let disk_bytes = storage.stats().disk_bytes;
        most = most.max(disk_bytes);
        let bound = 3 * live_bytes + 6 * SEGMENT_BYTES;
        assert!(disk_bytes <= bound, "{disk_bytes} > {bound}: {:?}", storage.stats());
    });
    // It was so large that somebody had to wait.
    assert!(most > 3 * KEYS * 200 + 2 * SEGMENT_BYTES, "{most}");
}

#[test]
fn nobody_waits_for_a_compaction_that_has_panicked() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let files = FilesThatFail::new(&root);
    let (panics, panicked) = mpsc::channel();
    files.script().before("remove_file segments/", 0, move || {
        panics.send(()).unwrap();
        panic!("as the test wants it");
    });
    let storage = still(&root).open_over(Arc::new(files)).unwrap();
    let (tells, told) = mpsc::channel();
    let saver = move || {
        overwrite(&storage, 100, &mut |_| {});
        tells.send(()).unwrap();
    };
    let saver = Builder::new().spawn(saver).unwrap();
    panicked.recv().unwrap();
    told.recv_timeout(Duration::from_secs(60)).expect("it goes on");
    saver.join().unwrap();
}

/// Whose time goes by when somebody sleeps for a moment, and only then.
#[derive(Debug)]
struct SleepersClock {
    now: Mutex<Duration>,
    /// Is told when somebody would sleep for longer.
    idle: Sender<()>,
}

impl SleepersClock {
    fn new() -> (Arc<Self>, Receiver<()>) {
        let (idle, is_idle) = mpsc::channel();
        (Arc::new(Self { now: Mutex::default(), idle }), is_idle)
    }
}

impl Clock for SleepersClock {
    fn now(&self) -> Timestamp {
        Timestamp::new(*self.now.lock().unwrap())
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.now().since_start()
    }

    fn sleep_until(&self, at: Timestamp) -> Option<Duration> {
        if at.since(self.now()) < Duration::from_secs(5) {
            *self.now.lock().unwrap() = at.since_start();
            return Some(Duration::ZERO);
        }
        // The test may be over.
        let _over = self.idle.send(());
        None
    }

    fn watch(&self, _alarm: Weak<dyn Alarm>) {}
}

/// Leaves a log of which half is overwritten, so that it is compacted when it is opened, and no
/// more, so that there is no hurry. Returns how many bytes of records it has.
fn half_overwritten(root: &Path) -> u64 {
    let storage = builder(root).background_compaction(false).open().unwrap();
    for sequence in 1..=300 {
        store(&storage, &format!("stays {sequence}"), sequence, &[1; 1_000]);
    }
    for sequence in 301..=600 {
        store(&storage, "changes", sequence, &[1; 1_000]);
    }
    600 * 1_000
}

#[test]
fn compaction_and_hints_read_no_faster_than_they_may() {
    let directory = tempfile::tempdir().unwrap();
    let record_bytes = half_overwritten(directory.path());
    let (clock, is_idle) = SleepersClock::new();
    let rate = NonZeroU64::new(100_000).unwrap();
    let opens = builder(directory.path()).compaction_bytes_per_second(rate).clock(clock.clone());
    let storage = opens.open().unwrap();
    is_idle.recv().unwrap();
    let stats = storage.stats();
    assert!(stats.bytes_freed > record_bytes / 3, "{stats:?}");
    assert!(hints(directory.path()).len() > 10, "{stats:?}");
    // All but the segment that is being written was read, and the last step may not be whole.
    let read = record_bytes - 2 * SEGMENT_BYTES;
    let time = clock.now().since_start();
    let least = Duration::from_secs_f64(read as f64 / rate.get() as f64);
    assert!(time >= least, "{time:?} < {least:?}");
}

#[test]
fn segments_that_are_begun_do_not_make_it_faster() {
    let directory = tempfile::tempdir().unwrap();
    half_overwritten(directory.path());
    let storage = still(directory.path()).open().unwrap();
    // Nothing of that is overwritten.
    for sequence in 1_001..=1_600 {
        store(&storage, &format!("new {sequence}"), sequence, &[1; 1_000]);
    }
    assert_eq!(storage.stats().segments_compacted, 0);
    assert!(hints(directory.path()).is_empty());
    drop(storage);
    // It was not for lack of anything to do.
    let storage = builder(directory.path()).open().unwrap();
    eventually("it is compacted", || storage.stats().segments_compacted > 0);
}
