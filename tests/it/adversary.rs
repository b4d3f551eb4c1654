//! What an adversarial reading of the code found: each of these once broke a promise.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, DecodeError, Decoder,
    DefaultFileSystemStateStorage, EncodeError, Encoder, OnRestoreError, Pool, ProcessError,
    SafeKeeper, Schema, TestClock,
};
use rustix::io::Errno;

use crate::file_system::files_that_fail::FilesThatFail;
use crate::support::{
    Action, FAIL_SAFE, FaultyStorage, Gate, SaveFault, counted, counters, eventually, manual,
    scripted, settings,
};

/// P3, P4: a state's `Drop` that panics ends the storage thread for good.
#[test]
fn a_drop_that_panics_after_an_eviction_does_not_end_the_keeper() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype = scripted(&keeper, manual());
    let dropped = Gate::new();
    let is_dropped = dropped.clone();
    let on_drop: Action = Arc::new(move || {
        is_dropped.open();
        panic!("in drop");
    });
    prototype.process("a", |pe| pe.on_drop = Some(on_drop)).unwrap();
    prototype.evict("a").unwrap();
    dropped.pass();
    prototype.process("b", |pe| pe.value = 1).unwrap();
    let ticket = prototype.checkpoint("b").unwrap();
    let answer = ticket.wait_timeout(Duration::from_secs(3));
    assert!(answer.is_some(), "nothing is stored any more");
    answer.unwrap().unwrap();
}

/// Rule 3.3, P8: a prototype that is built while the keeper closes is never closed.
#[test]
fn a_prototype_that_is_built_while_the_keeper_closes_is_closed_too() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    let keeper = settings(&storage).build().unwrap();
    let first = counters(&keeper, manual());
    storage.on_save(1, SaveFault::Held(gate.clone()));
    first.process("a", |pe| pe.count = 1).unwrap();
    let second = thread::scope(|scope| {
        let closing = scope.spawn(|| keeper.close(FAIL_SAFE));
        gate.reached();
        let second = counted(&keeper, "second", manual());
        // Closed from the start, or with the keeper.
        second.process("b", |pe| pe.count = 1).ok();
        gate.open();
        drop(closing.join().unwrap());
        second
    });
    let after = second.process("b", |pe| pe.count = 2);
    assert!(
        matches!(after, Err(ProcessError::Closed { .. })),
        "an event was taken that can never be stored: {after:?}"
    );
}

/// A result that is taken in by whoever holds the shard is not noticed by a flush.
#[test]
fn a_flush_ends_when_its_last_result_was_taken_in_by_a_busy_shard() {
    let storage = FaultyStorage::new().knowing_absence();
    // Without threads: each step is over when it returns.
    let keeper = settings(&storage).stepped().clock(Arc::new(TestClock::new())).build().unwrap();
    let prototype = counters(&keeper, manual().shards(1));
    prototype.read("b", |_| ()).unwrap();
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let mut flushing = pin!(keeper.flush_async(Duration::from_secs(1)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(flushing.as_mut().poll(&mut context).is_pending());
    assert!(keeper.step(Pool::Serialization) && keeper.step(Pool::Storage));
    let busy = Gate::new();
    thread::scope(|scope| {
        let event = scope.spawn(|| prototype.read("b", |_| busy.pass()).unwrap());
        busy.reached();
        assert!(keeper.step(Pool::Storage), "the result goes into the inbox");
        assert!(keeper.step(Pool::Timing), "the flush is looked at");
        assert!(keeper.step(Pool::Serialization), "nobody else can take the result in");
        busy.open();
        event.join().unwrap();
    });
    while [Pool::Serialization, Pool::Timing].into_iter().any(|pool| keeper.step(pool)) {}
    assert!(matches!(flushing.poll(&mut context), Poll::Ready(Ok(_))));
}

/// `flush` promises what was changed before it; a later change makes it fail.
#[test]
fn a_flush_does_not_fail_because_of_a_later_change() {
    let storage = FaultyStorage::new();
    let save = Gate::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    storage.on_save(1, SaveFault::Held(save.clone()));
    let report = thread::scope(|scope| {
        let flushing = scope.spawn(|| keeper.flush(Duration::from_secs(5)));
        save.reached();
        prototype.process("b", |pe| pe.count = 1).unwrap();
        save.open();
        flushing.join().unwrap()
    });
    assert!(report.is_ok(), "{report:?}");
}

/// P8: after a keeper was dropped inside an event, events are taken that are never stored.
#[test]
fn after_a_keeper_was_dropped_inside_an_event_its_prototypes_are_closed() {
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_save(usize::MAX, SaveFault::Held(gate.clone()));
    let mut keeper = Some(settings(&storage).build().unwrap());
    let prototype = counters(keeper.as_ref().unwrap(), manual());
    prototype.process("a", |pe| pe.count = 1).unwrap();
    prototype.process("b", |pe| pe.count = 1).unwrap();
    let with_storage = prototype.checkpoint("a").unwrap();
    gate.reached();
    let waiting = prototype.checkpoint("b").unwrap();
    eventually("both are captured", || keeper.as_ref().unwrap().stats().in_flight == 2);
    prototype.process("a", |_| drop(keeper.take())).unwrap();
    gate.open();
    let after = prototype.process("a", |pe| pe.count = 2);
    let answers =
        [&with_storage, &waiting].map(|t| t.wait_timeout(Duration::from_secs(2)).is_some());
    assert!(
        matches!(after, Err(ProcessError::Closed { .. })) && answers == [true, true],
        "event after the end: {after:?}; tickets answered: {answers:?}"
    );
}

/// Large, and slow to encode once it is encoded without the shard's lock.
#[derive(Default)]
struct Slow {
    bytes: Vec<u8>,
    gate: Option<Gate>,
}

impl Checkpointable for Slow {
    type Staged = Vec<u8>;
    const MIN_SIZE: usize = <Vec<u8> as Checkpointable>::MIN_SIZE;
    const SCHEMA: &'static Schema = <Vec<u8> as Checkpointable>::SCHEMA;

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        self.bytes.encode(encoder)?; // Paused here while the lock is held.
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        Ok(())
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Vec<u8>, DecodeError> {
        <Vec<u8> as Checkpointable>::decode(decoder)
    }

    fn encode_staged(staged: &Vec<u8>, encoder: &mut Encoder) -> Result<(), EncodeError> {
        staged.encode(encoder)
    }

    fn apply(&mut self, staged: Vec<u8>) {
        self.bytes = staged;
    }
}

/// P4: the ticket of a large state whose encode outlasts `close` is never answered.
#[test]
fn a_large_encode_that_outlasts_close_leaves_no_ticket_without_an_answer() {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let prototype =
        keeper.prototype::<String, Slow>("slow").create(|_| Slow::default()).build().unwrap();
    let gate = Gate::new();
    let waits = gate.clone();
    prototype.process("a", |pe| *pe = Slow { bytes: vec![1; 200_000], gate: Some(waits) }).unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    gate.reached();
    drop(keeper.close(Duration::from_millis(1)));
    gate.open();
    let answer = ticket.wait_timeout(Duration::from_secs(3));
    assert!(answer.is_some(), "the ticket is never answered");
}

/// P3: after one failed directory sync no retry of the same capture can succeed.
#[test]
fn a_retry_succeeds_after_one_failed_sync_of_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let files = FilesThatFail::new(&root);
    let storage =
        DefaultFileSystemStateStorage::builder(&root).open_over(Arc::new(files.clone())).unwrap();
    let clock = Arc::new(TestClock::new());
    let keeper = SafeKeeper::builder(storage).clock(clock.clone()).build().unwrap();
    let config = CheckpointingConfig::builder(CheckpointingMode::None).build().unwrap();
    let prototype =
        keeper.prototype::<String, u64>("n").config(config).create(|_| 0).build().unwrap();
    prototype.process("a", |n| *n = 1).unwrap();
    prototype.checkpoint("a").unwrap().wait().unwrap();
    files.script().fail_all("sync_directory", Errno::IO);
    prototype.process("a", |n| *n = 2).unwrap();
    let ticket = prototype.checkpoint("a").unwrap();
    eventually("the first attempt has failed", || keeper.stats().waiting_for_retry == 1);
    files.script().heal();
    clock.advance(Duration::from_secs(10));
    let answer = ticket.wait_timeout(FAIL_SAFE).expect("there is an answer");
    assert!(answer.is_ok(), "the disk is healthy again: {answer:?}");
}

/// P3: after one failed directory sync a PE whose old state was put aside is never stored again.
#[test]
fn a_state_that_replaces_what_could_not_be_restored_is_stored_after_a_failed_directory_sync() {
    // The directory of the prototype `n`, not that of its quarantine.
    const SYNC: &str = "sync_directory 06e/";
    for attempts_max in [1, 1000] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        let files = FilesThatFail::new(&root);
        let open = || {
            let storage = DefaultFileSystemStateStorage::builder(&root);
            let storage = storage.open_over(Arc::new(files.clone())).unwrap();
            SafeKeeper::builder(storage)
                .save_attempts_max(attempts_max.try_into().unwrap())
                .save_backoff_min(Duration::from_millis(1))
                .save_backoff_max(Duration::from_millis(2))
                .build()
                .unwrap()
        };
        let keeper = open();
        let texts = keeper.prototype::<String, String>("n").create(|_| String::new());
        texts.build().unwrap().process("a", |text| text.push_str("old")).unwrap();
        keeper.close(FAIL_SAFE).unwrap();
        let keeper = open();
        let config = manual().on_restore_error(OnRestoreError::StartEmpty).build().unwrap();
        let numbers = keeper.prototype::<String, u64>("n").config(config).create(|_| 0);
        let numbers = numbers.build().unwrap();
        numbers.process("a", |n| *n = 7).unwrap();
        files.script().fail_all(SYNC, Errno::IO);
        drop(numbers.checkpoint("a").unwrap());
        eventually("a sync has failed", || {
            let log = files.script().take_log();
            log.iter().any(|line| line.starts_with(SYNC) && line.contains(": "))
        });
        files.script().heal();
        keeper.flush(Duration::from_secs(5)).unwrap();
        assert_eq!(keeper.quarantined("n").unwrap().len(), 1);
        assert_eq!(keeper.close(FAIL_SAFE).unwrap().saved, 0);
        let keeper = open();
        let numbers = keeper.prototype::<String, u64>("n").create(|_| 0).build().unwrap();
        assert_eq!(numbers.read("a", |n| *n).unwrap(), 7);
    }
}

/// P3: after a failed directory sync a PE that is reset is not stored before the store is opened
/// again.
#[test]
fn a_reset_after_a_failed_directory_sync_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let files = FilesThatFail::new(&root);
    let storage = DefaultFileSystemStateStorage::builder(&root);
    let keeper = SafeKeeper::builder(storage.open_over(Arc::new(files.clone())).unwrap())
        .save_attempts_max(1.try_into().unwrap())
        .save_backoff_min(Duration::from_millis(1))
        .save_backoff_max(Duration::from_millis(2))
        .build()
        .unwrap();
    let numbers = keeper.prototype::<String, u64>("n").config(manual().build().unwrap());
    let numbers = numbers.create(|_| 0).build().unwrap();
    numbers.process("a", |n| *n = 1).unwrap();
    files.script().fail_all("sync_directory 06e/", Errno::IO);
    let refused = numbers.checkpoint("a").unwrap().wait_timeout(FAIL_SAFE).unwrap();
    assert!(refused.is_err(), "{refused:?}");
    let reset = numbers.reset("a").unwrap();
    files.script().heal();
    keeper.flush(Duration::from_secs(5)).unwrap();
    drop(reset);
    assert_eq!(keeper.stats().stuck, 0);
    assert_eq!(keeper.close(FAIL_SAFE).unwrap().saved, 0);
}

/// P9: a shard that is busy at its tick is looked at a whole interval later.
#[test]
fn a_shard_that_is_busy_at_a_tick_is_not_put_off_for_an_interval() {
    let storage = FaultyStorage::new().knowing_absence();
    let clock = Arc::new(TestClock::new());
    // Without threads: a tick is over when its step is.
    let keeper = settings(&storage).stepped().clock(clock.clone()).build().unwrap();
    let mode = CheckpointingMode::Time(Duration::from_secs(100));
    let config = CheckpointingConfig::builder(mode).shards(1);
    let prototype = counters(&keeper, config);
    let rest = || {
        let pools = [Pool::Timing, Pool::Fetching, Pool::Serialization, Pool::Storage];
        while pools.into_iter().any(|pool| keeper.step(pool)) {}
    };
    prototype.process("b", |_| ()).unwrap();
    prototype.process("a", |pe| pe.count = 1).unwrap();
    let busy = Gate::new();
    thread::scope(|scope| {
        let event = scope.spawn(|| prototype.read("b", |_| busy.pass()).unwrap());
        busy.reached();
        clock.advance(Duration::from_secs(100));
        rest();
        assert_eq!(storage.seen().saves_of("a"), 0, "its shard is busy");
        busy.open();
        event.join().unwrap();
    });
    clock.advance(Duration::from_secs(1));
    rest();
    assert_eq!(
        storage.seen().saves_of("a"),
        1,
        "101 s after its change, with an interval of 100 s"
    );
}

/// P11, F3, F4: a stale writer whose save had an unknown outcome is told "stored" when another
/// one's is.
#[test]
fn a_stale_writer_is_not_told_that_anothers_state_is_its_own() {
    let storage = FaultyStorage::new();
    let wait = Duration::from_secs(1);
    let stale = settings(&storage).save_backoff_max(wait).save_backoff_min(wait).build().unwrap();
    let of_stale = counters(&stale, manual());
    storage.on_save(1, SaveFault::UnknownLost);
    of_stale.process("k", |pe| pe.count = 1).unwrap();
    let ticket = of_stale.checkpoint("k").unwrap();
    storage.until("the first attempt", |seen| seen.saves_of("k") == 1);
    let owner = settings(&storage).build().unwrap();
    let of_owner = counters(&owner, manual());
    of_owner.process("k", |pe| pe.count = 100).unwrap();
    of_owner.checkpoint("k").unwrap().wait().unwrap();
    let answer = ticket.wait_timeout(FAIL_SAFE).expect("there is an answer");
    assert!(answer.is_err(), "count = 1 was never stored, but it is said to be: {answer:?}");
}
