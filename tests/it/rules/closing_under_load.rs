//! Closing while events come: it ends by its deadline, whatever the storage does, loses nothing
//! that was processed when it could be stored, and names it when not (A9, G1 to G3).

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use checkpoint::{
    Applied, CheckpointId, Clock, CloseReport, PePrototype, ProcessError, SafeKeeper, Source,
    SourceError, StorageErrorKind, SystemClock, TestClock,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, FetchFault, Gate, SaveFault, counters, eventually, every,
    manual, settings,
};

const SECOND: Duration = Duration::from_secs(1);
const FEEDERS: usize = 3;
const KEYS: u64 = 50;

fn is_closed<R>(outcome: &Result<R, SourceError>) -> bool {
    matches!(outcome, Err(SourceError::Process { error: ProcessError::Closed { .. }, .. }))
}

/// A source that one thread feeds without end, until the keeper closes.
fn feed(source: &mut Source, prototype: &PePrototype<String, Counter>, fed: &AtomicU64) -> u64 {
    for position in 0.. {
        let key = (position % KEYS).to_string();
        let outcome = source.process(prototype, &key, position, |pe| pe.count += 1);
        if is_closed(&outcome) {
            return position;
        }
        assert_eq!(outcome.unwrap(), Applied::Now(()));
        fed.fetch_add(1, Ordering::Relaxed);
    }
    unreachable!("positions do not end so soon")
}

/// Closes a keeper while its sources are fed, once each of some events is through; returns what the
/// close says, and how many events were processed of each source.
fn close_under_load(
    keeper: &SafeKeeper,
    sources: &mut [Source],
    prototype: &PePrototype<String, Counter>,
    close: impl FnOnce() -> CloseReport,
) -> (CloseReport, Vec<u64>) {
    let fed = AtomicU64::new(0);
    thread::scope(|scope| {
        let feeders: Vec<_> = sources
            .iter_mut()
            .map(|source| scope.spawn(|| feed(source, prototype, &fed)))
            .collect();
        // One of them has fed all keys then, so that nothing is fetched any more.
        let enough = FEEDERS as u64 * KEYS;
        eventually("it is under load", || fed.load(Ordering::Relaxed) > enough);
        let report = close();
        let counts = feeders.into_iter().map(|feeder| feeder.join().unwrap()).collect();
        assert!(keeper.prototype::<u64, u64>("new").create(|_| 0).build().is_err());
        (report, counts)
    })
}

fn open(keeper: &SafeKeeper) -> Vec<Source> {
    (0..FEEDERS).map(|number| keeper.source(&format!("input {number}")).unwrap()).collect()
}

#[test]
fn every_event_that_was_processed_before_a_close_under_load_is_stored_and_safe() {
    let storage = FaultyStorage::new();
    // Some of it is with the storage, and fails there at first.
    storage.on_save(20, SaveFault::NotStored(StorageErrorKind::Unavailable));
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(3));
    let mut sources = open(&keeper);
    let close = || keeper.close(FAIL_SAFE).unwrap();
    let (report, counts) = close_under_load(&keeper, &mut sources, &prototype, close);
    assert!(report.is_complete(), "{report}");
    let safe: Vec<_> = sources.iter().map(Source::safe_position).collect();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    let stored = (0..KEYS).map(|key| prototype.read(&key.to_string(), |pe| pe.count).unwrap());
    assert_eq!(stored.sum::<u64>(), counts.iter().sum());
    for ((source, count), safe) in open(&keeper).iter_mut().zip(&counts).zip(safe) {
        assert_eq!(source.resume_from(), safe);
        let Some(last) = count.checked_sub(1) else { continue };
        if safe != Some(last) {
            // It was stored, and its thread not yet out of it when the positions were kept.
            assert_eq!(safe, last.checked_sub(1), "{source:?}");
            let key = (last % KEYS).to_string();
            let again = source.process(&prototype, &key, last, |pe| pe.count += 1);
            assert_eq!(again.unwrap(), Applied::Before);
        }
    }
}

/// Has a close wait for its deadline, and the deadline come; the clock stands still otherwise.
fn close_at_deadline(
    keeper: &SafeKeeper,
    clock: &TestClock,
    prototype: &PePrototype<String, Counter>,
    has_come_to_a_stop: impl FnOnce(),
) -> CloseReport {
    thread::scope(|scope| {
        let closing = scope.spawn(|| keeper.close(SECOND));
        eventually("it is closing", || prototype.read("none", |_| ()).is_err());
        has_come_to_a_stop();
        clock.advance(SECOND);
        // Not before: there was something to wait for.
        eventually("its deadline ends it", || closing.is_finished());
        match closing.join().unwrap() {
            Ok(report) => report,
            Err(not_all_stored) => not_all_stored.0,
        }
    })
}

fn keys(ids: Vec<CheckpointId>) -> Vec<String> {
    ids.iter().map(|id| String::from_utf8_lossy(id.key()).into_owned()).collect()
}

#[test]
fn a_close_under_load_while_the_storage_is_down_ends_at_its_deadline_and_names_every_pe() {
    for unknown in [false, true] {
        let storage = FaultyStorage::new();
        storage.on_save(
            usize::MAX,
            match unknown {
                true => SaveFault::Late,
                false => SaveFault::NotStored(StorageErrorKind::Unavailable),
            },
        );
        let clock = Arc::new(TestClock::new());
        let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
        let prototype = counters(&keeper, every(3));
        let mut sources = open(&keeper);
        let was_tried = || storage.until("it was tried", |seen| seen.saves > 0);
        let close = || close_at_deadline(&keeper, &clock, &prototype, was_tried);
        let (report, counts) = close_under_load(&keeper, &mut sources, &prototype, close);
        let [failed, not_attempted, unknown_ids] = [
            report.failed.iter().map(|error| error.id().clone()).collect(),
            report.not_attempted.clone(),
            report.unknown.clone(),
        ]
        .map(keys);
        let named: Vec<_> = [&failed, &not_attempted, &unknown_ids].into_iter().flatten().collect();
        assert!(counts.iter().any(|count| *count >= KEYS));
        let all: BTreeSet<_> = (0..KEYS).map(|key| key.to_string()).collect();
        assert_eq!(named.iter().copied().cloned().collect::<BTreeSet<_>>(), all, "{report}");
        assert_eq!(named.len(), all.len(), "named twice: {named:?}");
        assert_eq!(report.saved, 0, "{report}");
        // Whoever was given to the storage is not said to have been spared.
        let seen = storage.seen();
        let was_tried = |key: &String| seen.saves_of(key) > 0;
        match unknown {
            true => {
                assert!(failed.is_empty() && !not_attempted.iter().any(was_tried), "{report}");
                assert!(unknown_ids.iter().any(was_tried), "{report}");
            }
            false => assert!(failed.iter().all(was_tried), "{report}"),
        }
        assert!(sources.iter().all(|source| source.safe_position().is_none()));
        // The next process feeds all of it again.
        let keeper = settings(&FaultyStorage::over(storage.content())).build().unwrap();
        assert!(open(&keeper).iter().all(|source| source.resume_from().is_none()));
    }
}

#[test]
fn a_close_while_many_fetches_hang_waits_for_them_together_and_tells_every_event() {
    const HANGING: usize = 40;
    let storage = FaultyStorage::new();
    let gate = Gate::new();
    storage.on_fetch(usize::MAX, FetchFault::Held(gate.clone()));
    let keeper = settings(&storage)
        .fetching_max_threads(HANGING.try_into().unwrap())
        .fetching_max_wait(60 * SECOND)
        .build()
        .unwrap();
    let prototype = counters(&keeper, manual());
    let mut source = keeper.source("input").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut events: Vec<_> = (0..HANGING)
        .map(|position| {
            let (key, position) = (position.to_string(), position as u64);
            let event = source.process_async(&prototype, &key, position, |pe| pe.count += 1);
            let mut event = Box::pin(event);
            assert!(event.as_mut().poll(&mut context).is_pending());
            // One each: a thread takes all that there is.
            storage.until("it hangs", |seen| seen.fetches as u64 == position + 1);
            event
        })
        .collect();
    let clock = SystemClock::new();
    let report = keeper.close(Duration::from_millis(20)).unwrap();
    // A fifth of a second for each would be eight.
    assert!(clock.now().since_start() < 5 * SECOND, "{:?}", clock.now());
    assert_eq!((report.threads_stuck, report.saved), (HANGING, 0));
    for event in &mut events {
        let Poll::Ready(outcome) = event.as_mut().poll(&mut context) else {
            panic!("it is not told")
        };
        assert!(is_closed(&outcome), "{outcome:?}");
    }
    assert_eq!(source.safe_position(), None);
    gate.open();
}

#[test]
fn a_close_does_not_wait_for_positions_that_cannot_be_kept_and_what_is_fed_again_changes_nothing() {
    for hangs in [false, true] {
        let storage = FaultyStorage::new();
        let clock = Arc::new(TestClock::new());
        let keeper = settings(&storage).clock(clock.clone()).build().unwrap();
        let prototype = counters(&keeper, manual());
        let mut source = keeper.source("input").unwrap();
        source.process(&prototype, "a", 7, |pe| pe.count += 1).unwrap();
        let gate = Gate::new();
        let report = match hangs {
            true => {
                storage.hold_metadata(gate.clone());
                close_at_deadline(&keeper, &clock, &prototype, || gate.reached())
            }
            // The clock stands still: its deadline never comes.
            false => {
                storage.fail_metadata(true);
                keeper.close(SECOND).unwrap()
            }
        };
        assert!(report.is_complete(), "{report}");
        assert_eq!((report.saved, report.threads_stuck), (1, usize::from(hangs)));
        assert_eq!(source.safe_position(), None);
        let storage = FaultyStorage::over(storage.content());
        let keeper = settings(&storage).build().unwrap();
        let prototype = counters(&keeper, manual());
        let mut source = keeper.source("input").unwrap();
        assert_eq!(source.resume_from(), None);
        let again = source.process(&prototype, "a", 7, |pe| pe.count += 1);
        assert_eq!(again.unwrap(), Applied::Before);
        gate.open();
    }
}
