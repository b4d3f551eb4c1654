//! Events that fail hold their source back, and those behind them on the same PE.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Waker};

use checkpoint::{ProcessError, Recover, RestoreFailure, StorageErrorKind};

use super::*;
use crate::support::{FetchFault, SaveFault, every};

fn world() -> World {
    World::new(FaultyStorage::new(), every(1))
}

fn fail_fetches(world: &World, times: usize) {
    world.storage.on_fetch(times, FetchFault::Failed(StorageErrorKind::Unavailable));
}

#[test]
fn an_event_that_fails_holds_the_source_back_until_it_is_fed_again_or_skipped() {
    for skips in [false, true] {
        let world = world();
        let mut source = world.source();
        assert!(world.feed(&mut source, "a", 1).unwrap());
        fail_fetches(&world, 1);
        let error = world.feed(&mut source, "b", 2).unwrap_err();
        assert!(matches!(error, SourceError::Process { position: 2, .. }), "{error}");
        assert!(world.feed(&mut source, "a", 3).unwrap());
        world.settle();
        assert_eq!(source.safe_position(), Some(1));
        // Later events of the same PE are not let before it; they are held back too.
        let behind = world.feed(&mut source, "b", 4).unwrap_err();
        assert!(matches!(behind, SourceError::Behind { position: 4, earlier: 2, .. }), "{behind}");
        assert!(behind.to_string().contains("counter/b"), "{behind}");
        match skips {
            false => assert!(world.feed(&mut source, "b", 2).unwrap()),
            true => source.skip(2).unwrap(),
        }
        world.settle();
        assert_eq!(source.safe_position(), Some(3));
        assert!(world.feed(&mut source, "b", 4).unwrap());
        world.settle();
        assert_eq!(source.safe_position(), Some(4));
        assert_eq!((world.count("a"), world.count("b")), (2, 2 - u64::from(skips)));
    }
}

/// Whoever feeds lines by where they end reads on there: a place within a line is none.
#[test]
fn what_is_safe_ends_with_an_event_and_not_right_before_the_next_one() {
    let world = world();
    let mut source = world.source();
    for at in [10, 20] {
        world.feed(&mut source, "a", at).unwrap();
    }
    fail_fetches(&world, 1);
    world.feed(&mut source, "b", 30).unwrap_err();
    world.settle();
    assert_eq!(source.safe_position(), Some(20));
    // The same of one that is on its way, behind one that is through, and after a restart.
    world.feed(&mut source, "b", 30).unwrap();
    world.settle();
    let storage = world.close();
    let world = World::new(storage, every(1));
    let mut source = world.source();
    let add = |pe: &mut Counter| pe.count += 1;
    let _first = source.process_async(&world.prototype, "c", 40, add);
    let _second = source.process_async(&world.prototype, "c", 50, add);
    world.settle();
    assert_eq!((source.safe_position(), world.keeper.stats().sources[0].processed_to), {
        (Some(30), Some(30))
    });
}

#[test]
fn positions_rise_and_only_what_failed_is_taken_again() {
    let world = world();
    let mut source = world.source();
    world.feed(&mut source, "a", 5).unwrap();
    for at in [0, 5] {
        let error = world.feed(&mut source, "b", at).unwrap_err();
        assert!(matches!(error, SourceError::NotRising { fed: 5, .. }), "{error}");
        assert!(matches!(source.skip(at), Err(SourceError::NotFailed { .. })));
    }
    let error = world.feed(&mut source, "b", u64::MAX).unwrap_err();
    assert!(matches!(error, SourceError::TooHigh { .. }), "{error}");
    assert!(world.feed(&mut source, "b", u64::MAX - 1).unwrap());
    world.settle();
    assert_eq!(source.safe_position(), Some(u64::MAX - 1));
}

#[test]
fn an_event_whose_closure_refuses_is_not_contained() {
    let world = world();
    let mut source = world.source();
    let mut refuse = |at, refuses: bool| {
        let apply = |pe: &mut Counter| match refuses {
            true => Err("no"),
            false => {
                pe.count += 1;
                Ok(())
            }
        };
        let applied = world.fetching(|| source.try_process(&world.prototype, "a", at, apply));
        applied.map(Applied::result)
    };
    assert_eq!(refuse(1, false).unwrap(), Some(Ok(())));
    assert_eq!(refuse(2, true).unwrap(), Some(Err("no")));
    assert!(matches!(refuse(3, false), Err(SourceError::Behind { earlier: 2, .. })));
    assert_eq!(refuse(2, false).unwrap(), Some(Ok(())));
    assert_eq!(refuse(3, false).unwrap(), Some(Ok(())));
    assert_eq!(world.count("a"), 3);
}

#[test]
fn a_pe_that_cannot_be_stored_holds_the_source_back() {
    let world = world();
    let mut source = world.source();
    let refused = SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 });
    world.storage.on_save_of("a", 1, refused);
    world.feed(&mut source, "a", 1).unwrap();
    world.feed(&mut source, "b", 2).unwrap();
    world.settle();
    world.settle();
    assert_eq!((world.keeper.stats().stuck, source.safe_position()), (1, None));
    // It is stored with its next change.
    world.feed(&mut source, "a", 3).unwrap();
    world.settle();
    world.settle();
    assert_eq!(source.safe_position(), Some(3));
}

/// A flush counts what was refused as settled once the PE has changed again; a source may not.
#[test]
fn a_change_that_was_refused_is_not_safe_because_there_is_a_newer_one() {
    let world = world();
    let mut source = world.source();
    let refused = SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 });
    world.storage.on_save_of("a", 20, refused);
    for at in 1..6 {
        world.feed(&mut source, "a", at).unwrap();
        world.pass(Duration::from_millis(700));
    }
    world.settle();
    assert_eq!(source.safe_position(), None);
}

#[test]
fn a_closure_that_panics_holds_the_source_back() {
    let world = world();
    let mut source = world.source();
    world.feed(&mut source, "a", 1).unwrap();
    world.settle();
    let panics = || source.process(&world.prototype, "a", 2, |_| panic!("planned"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    world.feed(&mut source, "b", 3).unwrap();
    world.settle();
    assert_eq!(source.safe_position(), Some(1));
    let poisoned = world.feed(&mut source, "a", 2).unwrap_err();
    assert!(
        matches!(&poisoned, SourceError::Process { error: ProcessError::Poisoned { .. }, .. }),
        "{poisoned}"
    );
    world.prototype.recover("a", Recover::Keep).unwrap();
    assert!(world.feed(&mut source, "a", 2).unwrap());
    world.settle();
    assert_eq!((world.count("a"), source.safe_position()), (2, Some(3)));
}

/// An event that panics when it is polled, and that is still held then.
#[track_caller]
fn check_panics<F: Future + Unpin>(
    event: impl FnOnce(&mut Source, &PePrototype<String, Counter>) -> F,
) {
    let world = world();
    let mut source = world.source();
    world.feed(&mut source, "a", 1).unwrap();
    world.settle();
    let mut event = event(&mut source, &world.prototype);
    // Once by its closure; then because it is polled after its end.
    for _ in 0..2 {
        let polled = || Pin::new(&mut event).poll(&mut Context::from_waker(Waker::noop()));
        assert!(catch_unwind(AssertUnwindSafe(polled)).is_err());
    }
    world.feed(&mut source, "b", 3).unwrap();
    world.settle();
    assert_eq!(source.safe_position(), Some(1));
    let poisoned = world.feed(&mut source, "a", 2).unwrap_err();
    let is_poisoned = |error: &SourceError| {
        matches!(error, SourceError::Process { error: ProcessError::Poisoned { .. }, .. })
    };
    assert!(is_poisoned(&poisoned), "{poisoned}");
    world.prototype.recover("a", Recover::Keep).unwrap();
    assert!(world.feed(&mut source, "a", 2).unwrap());
    world.settle();
    assert_eq!((world.count("a"), source.safe_position()), (2, Some(3)));
}

#[test]
fn a_closure_that_panics_ends_its_future_and_holds_the_source_back() {
    let panics = |_: &mut Counter| panic!("planned");
    check_panics(|source, prototype| source.process_async(prototype, "a", 2, panics));
    check_panics(|source, prototype| source.process_pending_async(prototype, "a", 2, panics));
    check_panics(|source, prototype| source.event(2).on(prototype, "a", panics).run_async());
    check_panics(|source, prototype| {
        source.event(2).on(prototype, "a", panics).run_pending_async()
    });
}

/// What a reload drops is fed again, and nothing later before.
#[test]
fn what_a_reload_loses_is_fed_again() {
    let world = world();
    let mut source = world.source();
    world.feed(&mut source, "a", 1).unwrap();
    world.settle();
    assert_eq!(source.safe_position(), Some(1));
    // Not stored.
    world.feed(&mut source, "a", 2).unwrap();
    world.feed(&mut source, "b", 3).unwrap();
    let panics = || source.process(&world.prototype, "a", 4, |_| panic!("planned"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    // All of that is waited for when it is lost: it is stored no more, and yet not safe.
    world.clock.advance(Duration::from_secs(1));
    while world.keeper.step(Pool::Timing) {}
    world.fetching(|| world.prototype.recover("a", Recover::Reload)).unwrap();
    assert_eq!(world.count("a"), 1);
    let gap = world.feed(&mut source, "a", 5).unwrap_err();
    let SourceError::Process { error: ProcessError::Restore(error), .. } = &gap else {
        panic!("{gap}")
    };
    let RestoreFailure::PositionGap { from: Some(1), to: Some(4), .. } = error.reason() else {
        panic!("{error}")
    };
    // Others go on.
    world.feed(&mut source, "b", 6).unwrap();
    world.settle();
    assert_eq!(source.safe_position(), Some(1));
    source.rewind(Some(1)).unwrap();
    let again = [("a", 2), ("b", 3), ("a", 4), ("a", 5), ("b", 6)];
    let ran = again.map(|(key, at)| world.feed(&mut source, key, at).unwrap());
    assert_eq!(ran, [true, false, true, true, false]);
    world.settle();
    assert_eq!((source.safe_position(), world.count("a"), world.count("b")), (Some(6), 4, 2));
}

/// The new one is dropped; what is to be stored of the place is the removal.
#[test]
fn a_reload_behind_a_removal_that_is_not_stored_goes_back_to_the_removal() {
    for runs in [false, true] {
        let world = world();
        let mut source = world.source();
        world.feed(&mut source, "a", 1).unwrap();
        world.run();
        let ticket = world.prototype.remove("a").unwrap();
        if runs {
            assert!(world.feed(&mut source, "a", 2).unwrap());
        }
        let mut panics = || source.process(&world.prototype, "a", 3, |_| panic!("planned"));
        if !runs {
            // The PE is made first, which is no event.
            world.fetching(|| world.prototype.read("a", |_| ()).unwrap());
        }
        assert!(catch_unwind(AssertUnwindSafe(&mut panics)).is_err());
        world.fetching(|| world.prototype.recover("a", Recover::Reload)).unwrap();
        match world.feed(&mut source, "a", 3) {
            Ok(is_new) => assert!(is_new && !runs, "nothing was lost behind the removal"),
            Err(error) => assert!(runs, "{error}"),
        }
        if runs {
            source.rewind(None).unwrap();
            let ran = [1, 2, 3].map(|at| world.feed(&mut source, "a", at).unwrap());
            assert_eq!(ran, [false, true, true]);
        }
        assert_eq!(world.count("a"), 1 + u64::from(runs));
        drop(ticket);
    }
}

#[test]
fn a_removal_that_is_stored_after_a_reload_says_what_the_removed_one_contained() {
    let world = world();
    let mut source = world.source();
    world.feed(&mut source, "a", 1).unwrap();
    world.run();
    let _ticket = world.prototype.remove("a").unwrap();
    assert!(world.feed(&mut source, "a", 2).unwrap());
    let panics = || source.process(&world.prototype, "a", 3, |_| panic!("planned"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    world.fetching(|| world.prototype.recover("a", Recover::Reload)).unwrap();
    world.run();
    let world = World::new(world.crash(), every(1));
    let mut source = world.source();
    let ran = [1, 2, 3].map(|at| world.feed(&mut source, "a", at).unwrap());
    assert_eq!((ran, world.count("a")), ([false, true, true], 2));
}

/// A flush says what is stored; it does not wait for what never will be.
#[test]
fn a_flush_does_not_wait_for_a_source_that_is_held_back() {
    let storage = FaultyStorage::new();
    let refused = SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 });
    storage.on_save_of("a", 1, refused);
    let keeper = settings(&storage).safe_position_interval(Duration::from_millis(1));
    let keeper = keeper.build().unwrap();
    let prototype = counters(&keeper, every(1));
    let mut source = keeper.source("input").unwrap();
    source.process(&prototype, "a", 1, |pe| pe.count += 1).unwrap();
    crate::support::eventually("it was refused", || keeper.stats().stuck == 1);
    crate::support::eventually("it is named", || keeper.stats().held_back_by.len() == 1);
    // An hour is longer than any test takes.
    let hour = Duration::from_secs(3600);
    assert!(keeper.flush(hour).is_err());
    assert_eq!(source.safe_position(), None);
    assert!(keeper.close(hour).is_err());
}
