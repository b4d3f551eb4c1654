//! Several who save at once take turns with compaction as one does.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, Builder, JoinHandle, ThreadId};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use checkpoint::storage::conformance;
use checkpoint::{
    Alarm, Clock, Durability, LogStorage, LogStorageBuilder, SaveOutcome, StateVersion,
    SystemThreads, ThreadStart, Timestamp,
};

use super::id;
use super::turns::{SEGMENT_BYTES, builder};
use crate::file_system::files_that_fail::FilesThatFail;
use crate::support::{FAIL_SAFE, Gate, eventually};

const STATE: [u8; 200] = [7; 200];
/// So many states are more than a segment.
const MANY: u64 = 60;

/// Saves so many states of a saver in one batch, once more in each round.
#[track_caller]
fn save(storage: &LogStorage, saver: &str, states: u64, round: u64) {
    let version = StateVersion::new(1, round);
    let record = |state| conformance::record(&id(&format!("{saver} {state}")), version, &STATE);
    let records: Vec<_> = (0..states).map(record).collect();
    let outcomes = conformance::save(storage, &records);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, SaveOutcome::Stored)));
}

/// What is seen of those who save.
enum Seen {
    Waits(ThreadId),
    GoesOn,
}

/// Stands still, and tells who waits for it.
#[derive(Debug)]
struct WaitersClock(Sender<Seen>);

impl Clock for WaitersClock {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn sleep_until(&self, _at: Timestamp) -> Option<Duration> {
        // The test may be over.
        let _over = self.0.send(Seen::Waits(thread::current().id()));
        None
    }

    fn watch(&self, _alarm: Weak<dyn Alarm>) {}
}

/// Has a thread begin when a gate is open.
#[derive(Debug)]
struct LateThreads(Gate);

impl ThreadStart for LateThreads {
    fn start(&self, name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        let gate = self.0.clone();
        let late = move || {
            gate.pass();
            body();
        };
        SystemThreads.start(name, Box::new(late))
    }
}

/// How to open a log whose compaction does not begin before the gate is open, so that whoever has
/// to wait for it is seen to wait.
fn held(root: &Path) -> (LogStorageBuilder, Gate, Sender<Seen>, Receiver<Seen>) {
    let gate = Gate::new();
    let (tells, seen) = mpsc::channel();
    let clock = Arc::new(WaitersClock(tells.clone()));
    let threads = Arc::new(LateThreads(gate.clone()));
    (builder(root).clock(clock).threads(threads), gate, tells, seen)
}

/// Waits until so many threads wait, with those that are known to.
#[track_caller]
fn all_wait(seen: &Receiver<Seen>, waiting: &mut HashSet<ThreadId>, threads: usize) {
    while waiting.len() < threads {
        match seen.recv_timeout(FAIL_SAFE) {
            Ok(Seen::Waits(thread)) => waiting.insert(thread),
            Ok(Seen::GoesOn) => panic!("one goes on"),
            Err(err) => panic!("{} wait: {err}", waiting.len()),
        };
    }
}

#[test]
fn several_who_overwrite_large_batches_are_all_held_up() {
    const SAVERS: usize = 4;
    let directory = tempfile::tempdir().unwrap();
    let (builder, gate, tells, seen) = held(directory.path());
    let storage = builder.open().unwrap();
    for saver in 0..SAVERS {
        save(&storage, &saver.to_string(), MANY, 1);
    }
    let live_bytes = storage.stats().live_bytes;
    // All states may be saved at once.
    assert!(live_bytes > SAVERS as u64 * SEGMENT_BYTES);
    let bound = 3 * live_bytes + 6 * live_bytes;
    let most = AtomicU64::new(0);
    thread::scope(|scope| {
        for saver in 0..SAVERS {
            let (storage, most, tells) = (&storage, &most, tells.clone());
            let overwrite = move || {
                for round in 2..=60 {
                    save(storage, &saver.to_string(), MANY, round);
                    most.fetch_max(storage.stats().disk_bytes, Ordering::Relaxed);
                }
                // The test may be over.
                let _over = tells.send(Seen::GoesOn);
            };
            Builder::new().spawn_scoped(scope, overwrite).unwrap();
        }
        all_wait(&seen, &mut HashSet::new(), SAVERS);
        most.fetch_max(storage.stats().disk_bytes, Ordering::Relaxed);
        gate.open();
    });
    let most = most.into_inner();
    assert!(most <= bound, "{most} > {bound}: {:?}", storage.stats());
}

#[test]
fn who_makes_the_log_too_large_by_one_batch_waits_from_that_very_save_on() {
    let directory = tempfile::tempdir().unwrap();
    let (builder, gate, _tells, seen) = held(directory.path());
    let storage = builder.open().unwrap();
    let (saved, stats) = mpsc::channel();
    let overwrite = move || {
        for round in 1..=10 {
            save(&storage, "one", MANY, round);
            saved.send(storage.stats()).unwrap();
        }
    };
    let saver = Builder::new().spawn(overwrite).unwrap();
    assert!(matches!(seen.recv_timeout(FAIL_SAFE), Ok(Seen::Waits(_))));
    let before = stats.try_iter().last().unwrap();
    gate.open();
    let most = 3 * before.live_bytes + 2 * SEGMENT_BYTES;
    assert!(before.disk_bytes <= most, "nobody waited at {before:?}");
    // Its batches are that large.
    assert!(before.disk_bytes + SEGMENT_BYTES > most, "{before:?}");
    saver.join().unwrap();
}

#[test]
fn who_is_taken_along_by_another_takes_turns_too() {
    let directory = tempfile::tempdir().unwrap();
    let (builder, gate, tells, seen) = held(directory.path());
    let files = FilesThatFail::new(directory.path());
    let script = files.script();
    let builder = builder.durability(Durability::Power);
    let storage = Arc::new(builder.open_over(Arc::new(files)).unwrap());
    let saving = {
        let storage = Arc::clone(&storage);
        move |saver: &'static str, rounds| {
            let (storage, tells) = (Arc::clone(&storage), tells.clone());
            let saves = move || {
                for round in 1..=rounds {
                    save(&storage, saver, 10, round);
                }
                // The test may be over.
                let _over = tells.send(Seen::GoesOn);
            };
            Builder::new().spawn(saves).unwrap()
        }
    };
    // The first one makes it too large, and has just begun a segment.
    let first = saving("first", 100);
    let Ok(Seen::Waits(waiting)) = seen.recv_timeout(FAIL_SAFE) else { panic!("it goes on") };
    let log = Arc::clone(&storage);
    script.before("sync_data segments/", 0, {
        let saving = saving.clone();
        move || {
            saving("third", 1);
            eventually("it waits for the sync", || log.saves_waiting() == Some(1));
            saving("fourth", 1);
            saving("fifth", 1);
            eventually("they wait to write", || log.saves_waiting() == Some(3));
        }
    });
    saving("second", 1);
    // One of the last two has both their batches written.
    let mut waiting = HashSet::from([waiting]);
    all_wait(&seen, &mut waiting, 5);
    gate.open();
    first.join().unwrap();
    drop(saving);
    eventually("the others go on too", || Arc::strong_count(&storage) == 1);
}
