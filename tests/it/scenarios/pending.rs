//! Results that are held back until what their events have left is durable (P9, P10, G5).

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use checkpoint::{
    CheckpointId, NotAllStored, PePrototype, Pending, Pool, Recover, SafeKeeper, SaveError,
    SaveFailure, StorageErrorKind, TestClock,
};

use crate::support::{
    Counter, FAIL_SAFE, FaultyStorage, Gate, SaveFault, Scripted, counters, every, manual,
    scripted, settings,
};

fn add(prototype: &PePrototype<String, Counter>) -> Pending<u64> {
    let added = prototype.process_pending("a", |pe| {
        pe.count += 1;
        pe.count
    });
    added.unwrap()
}

/// Within a time that only what never comes takes.
fn confirmed(pending: Pending<u64>) -> u64 {
    pending.wait_timeout(FAIL_SAFE).expect("it comes").expect("it is stored")
}

fn refused(pending: Pending<u64>) -> SaveError {
    pending.wait_timeout(FAIL_SAFE).expect("it comes").unwrap_err()
}

fn stepped(storage: &FaultyStorage) -> SafeKeeper {
    settings(storage).clock(Arc::new(TestClock::new())).stepped().build().unwrap()
}

/// A keeper that gives up after one attempt.
fn once(storage: &FaultyStorage, clock: &Arc<TestClock>) -> SafeKeeper {
    let settings = settings(storage).save_attempts_max(NonZeroU32::MIN);
    settings.clock(clock.clone()).stepped().build().unwrap()
}

/// Makes a call that waits for the keeper.
fn driving<R: Send>(keeper: &SafeKeeper, call: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let calling = scope.spawn(call);
        while !calling.is_finished() {
            run(keeper);
            thread::yield_now();
        }
        run(keeper);
        calling.join().unwrap()
    })
}

fn run(keeper: &SafeKeeper) {
    let pools = [Pool::Timing, Pool::Serialization, Pool::Storage, Pool::Fetching];
    while pools.into_iter().any(|pool| keeper.step(pool)) {}
}

#[test]
fn a_result_is_released_when_its_state_is_stored_and_not_before() {
    let (storage, gate) = (FaultyStorage::new(), Gate::new());
    let keeper = settings(&storage).build().unwrap();
    // Nothing but the event itself has it stored.
    let prototype = counters(&keeper, manual());
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let first = add(&prototype);
    gate.reached();
    // These share the save behind it.
    let others: Vec<_> = (0..10).map(|_| add(&prototype)).collect();
    assert!(first.outcome().is_none() && others.iter().all(|other| other.outcome().is_none()));
    assert!(first.ids().map(CheckpointId::key).eq([b"a"]));
    let first = first.wait_timeout(Duration::ZERO).expect_err("it is not stored yet");
    assert_eq!(storage.seen().stored.len(), 0);
    gate.open();
    assert_eq!(confirmed(first), 1);
    assert_eq!(others.into_iter().map(confirmed).collect::<Vec<_>>(), (2..12).collect::<Vec<_>>());
    assert_eq!(storage.seen().saves_of("a"), 2);
    // Ended without a word: what was released is there.
    std::mem::forget(keeper);
    let keeper = settings(&storage).build().unwrap();
    assert_eq!(counters(&keeper, manual()).read("a", |pe| pe.count).unwrap(), 11);
}

#[test]
fn the_holder_is_told_why_its_state_is_not_stored() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    storage.on_save(1, SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 }));
    let error = refused(add(&prototype));
    assert_eq!(error.id().key(), b"a");
    assert!(matches!(error.reason(), SaveFailure::Refused(_)), "{error}");
    // The event is still in the state, and stored with the next one.
    let second = add(&prototype);
    assert_eq!(confirmed(second), 2);
}

#[test]
fn it_is_told_by_a_future_and_by_a_callback_and_taken_out_by_name() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    let event = prototype.process_pending_async("a", |pe: &mut Counter| {
        pe.count += 5;
        pe.count
    });
    let count =
        pollster::block_on(async { event.await?.map(|count| count * 2).await.map_err(Box::from) });
    let count: Result<u64, Box<dyn std::error::Error>> = count;
    assert_eq!(count.unwrap(), 10);
    let (told, tells) = mpsc::channel();
    add(&prototype).on_durable(move |result| told.send(result).unwrap());
    assert_eq!(tells.recv_timeout(FAIL_SAFE).unwrap().unwrap(), 6);
    assert_eq!(add(&prototype).unconfirmed(), 7);
}

#[test]
fn what_is_lost_with_its_pe_is_never_released() {
    for keeps in [false, true] {
        let storage = FaultyStorage::new();
        let keeper = stepped(&storage);
        let prototype = counters(&keeper, manual());
        // There is something to go back to.
        let first = driving(&keeper, || add(&prototype));
        assert!(matches!(first.outcome(), Some(Ok(()))));
        let pending = add(&prototype);
        let panics = || prototype.process("a", |_| panic!("as the test wants it"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        run(&keeper);
        assert!(pending.outcome().is_none(), "nobody knows what becomes of it");
        let recover = if keeps { Recover::Keep } else { Recover::Reload };
        driving(&keeper, || prototype.recover("a", recover).unwrap());
        match (keeps, pending.outcome()) {
            (true, Some(Ok(()))) | (false, Some(Err(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What was given up without an answer is there after the reload.
#[test]
fn who_holds_what_may_be_stored_is_not_told_that_it_is_withdrawn() {
    for in_doubt in [false, true] {
        let storage = FaultyStorage::new();
        let clock = Arc::new(TestClock::new());
        let keeper = once(&storage, &clock);
        let prototype = counters(&keeper, manual());
        assert_eq!(confirmed(driving(&keeper, || add(&prototype))), 1);
        storage.on_save(1, SaveFault::UnknownLanded);
        let pending = add(&prototype);
        if in_doubt {
            run(&keeper);
        }
        let panics = || prototype.process("a", |_| panic!("as the test wants it"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        clock.advance(Duration::from_secs(1));
        run(&keeper);
        assert!(pending.outcome().is_none(), "nobody knows what becomes of it");
        driving(&keeper, || prototype.recover("a", Recover::Reload).unwrap());
        let error = pending.outcome().expect("it is known").unwrap_err();
        assert!(
            match in_doubt {
                true => matches!(error.reason(), SaveFailure::Unknown),
                false => matches!(error.reason(), SaveFailure::Withdrawn),
            },
            "{error}"
        );
        let count = driving(&keeper, || prototype.read("a", |pe| pe.count).unwrap());
        assert_eq!(count, 1 + u64::from(in_doubt));
    }
}

/// What is stored next is that it was removed, or what a later event has made of nothing.
#[test]
fn what_is_removed_while_it_is_saved_is_released_by_that_save_only() {
    let too_large = || SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 });
    let away = || SaveFault::NotStored(StorageErrorKind::Unavailable);
    type IsTold = fn(&SaveFailure) -> bool;
    let cases: [(_, IsTold); 3] = [
        (away(), |told| matches!(told, SaveFailure::Withdrawn)),
        (too_large(), |told| matches!(told, SaveFailure::Refused(_))),
        (SaveFault::UnknownLost, |told| matches!(told, SaveFailure::Unknown)),
    ];
    for (fault, is_told) in cases {
        for is_made_anew in [false, true] {
            let storage = FaultyStorage::new().knowing_absence();
            let clock = Arc::new(TestClock::new());
            let keeper = once(&storage, &clock);
            let prototype = counters(&keeper, manual());
            let pending = add(&prototype);
            storage.on_save(1, fault.clone());
            assert!(keeper.step(Pool::Serialization));
            let removed = prototype.remove("a").unwrap();
            let newer = is_made_anew.then(|| add(&prototype));
            run(&keeper);
            clock.advance(Duration::from_secs(1));
            run(&keeper);
            let told = pending.outcome().expect("it is known").unwrap_err();
            assert!(is_told(told.reason()), "{told}");
            match newer {
                Some(newer) => assert_eq!(confirmed(newer), 1),
                None => assert!(matches!(removed.outcome(), Some(Ok(Some(_))))),
            }
        }
    }
}

/// A save of it was given up without an answer; then it is removed, or its later states are
/// refused or cannot be encoded.
#[test]
fn who_holds_what_may_be_stored_is_not_told_that_it_is_lost_by_what_comes_later() {
    type Then = fn(&FaultyStorage, &PePrototype<String, Scripted>);
    type IsTold = fn(&SaveFailure) -> bool;
    let is_unknown: IsTold = |told| matches!(told, SaveFailure::Unknown);
    let removed: Then = |_, prototype| drop(prototype.remove("a").unwrap());
    let unencodable: Then = |_, prototype| {
        let panics = || panic!("as the test wants it");
        prototype.process("a", |pe| pe.on_encode = Some(Arc::new(panics))).unwrap();
    };
    let refused: Then = |storage, _| {
        let too_large = SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 });
        storage.on_save(usize::MAX, too_large);
    };
    // And how many PEs a report names then: the removal is stored.
    let cases: [(Then, IsTold, usize); 3] = [
        (removed, is_unknown, 0),
        (unencodable, is_unknown, 1),
        (refused, |told| matches!(told, SaveFailure::MayBeStored(_)), 1),
    ];
    for (then, is_told, named) in cases {
        let storage = FaultyStorage::new().knowing_absence();
        let clock = Arc::new(TestClock::new());
        let keeper = once(&storage, &clock);
        let prototype = scripted(&keeper, manual());
        let pending = prototype.process_pending("a", |pe| pe.value = 1).unwrap();
        storage.on_save(1, SaveFault::UnknownLanded);
        run(&keeper);
        clock.advance(Duration::from_secs(1));
        // Given back, and not captured again.
        while keeper.step(Pool::Storage) {}
        assert!(pending.outcome().is_none(), "it may still be stored again");
        then(&storage, &prototype);
        run(&keeper);
        let told = pending.outcome().expect("it is known").unwrap_err();
        assert!(is_told(told.reason()), "{told}");
        for report in [prototype.flush(Duration::ZERO), keeper.flush(Duration::ZERO)] {
            let (Ok(report) | Err(NotAllStored(report))) = report;
            let all = (report.unknown.len(), report.is_complete());
            assert_eq!(all, (named, named == 0), "{report}");
        }
    }
}

/// As long as another capture follows, it may still be stored.
#[test]
fn it_outlasts_a_storage_that_is_away_for_a_while() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).save_attempts_max(2.try_into().unwrap()).build().unwrap();
    let prototype = counters(&keeper, manual());
    storage.on_save(9, SaveFault::NotStored(StorageErrorKind::Unavailable));
    let (first, ticket) = (add(&prototype), prototype.checkpoint("a").unwrap());
    let second = add(&prototype);
    let gave_up = ticket.wait_timeout(FAIL_SAFE).expect("it comes").unwrap_err();
    assert!(matches!(gave_up.reason(), SaveFailure::GaveUp(_)), "{gave_up}");
    assert_eq!((confirmed(first), confirmed(second)), (1, 2));
    // Refused at last, with another change behind it: that one is stored, and has all of them.
    let gate = Gate::new();
    storage.on_save(1, SaveFault::Held(gate.clone()));
    let third = add(&prototype);
    gate.reached();
    storage.on_save(1, SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 }));
    let fourth = add(&prototype);
    gate.open();
    assert_eq!(confirmed(third), 3);
    let error = refused(fourth);
    assert!(matches!(error.reason(), SaveFailure::Refused(_)), "{error}");
}

#[test]
fn a_refusal_is_not_the_end_if_the_pe_has_changed_since() {
    let storage = FaultyStorage::new();
    let keeper = stepped(&storage);
    let prototype = counters(&keeper, manual());
    assert_eq!(confirmed(driving(&keeper, || add(&prototype))), 1);
    storage.on_save(1, SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 }));
    let refused = add(&prototype);
    keeper.step(Pool::Serialization);
    let newer = add(&prototype);
    run(&keeper);
    assert_eq!((confirmed(refused), confirmed(newer)), (2, 3));
}

#[test]
fn a_refusal_is_not_the_end_if_somebody_asks_for_another_save() {
    let too_large = || SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 });
    for refusals in [1, 2] {
        let storage = FaultyStorage::new().knowing_absence();
        let keeper = stepped(&storage);
        let prototype = counters(&keeper, manual());
        let pending = add(&prototype);
        storage.on_save(refusals, too_large());
        assert!(keeper.step(Pool::Serialization));
        let ticket = prototype.checkpoint("a").unwrap();
        run(&keeper);
        assert_eq!(storage.seen().saves, 2);
        match refusals {
            1 => {
                ticket.outcome().expect("it was saved").unwrap();
                assert_eq!(confirmed(pending), 1);
            }
            _ => {
                ticket.outcome().expect("it was refused").unwrap_err();
                refused(pending);
            }
        }
    }
}

#[test]
fn a_keeper_that_ends_answers() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(100));
    let pending = add(&prototype);
    keeper.close(FAIL_SAFE).unwrap();
    assert!(matches!(pending.outcome(), Some(Ok(()))));

    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    storage.on_save(usize::MAX, SaveFault::NotStored(StorageErrorKind::Unavailable));
    let pending = add(&prototype);
    keeper.close(Duration::from_millis(1)).unwrap_err();
    let error = refused(pending);
    let unknown = [SaveFailure::NotAttempted.to_string(), SaveFailure::Unknown.to_string()];
    assert!(unknown.contains(&error.reason().to_string()), "{error}");
}
