//! After a crash the events behind what is safe are fed again, and those that a PE contains are
//! skipped.

use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Waker};

use checkpoint::{StateStorage, StorageErrorKind};

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::support::{FetchFault, SaveFault, counted, every, manual};

/// Feeds what follows of an input, event `n` at position `10 * n`.
fn feed_all(world: &World, source: &mut Source, keys: &[&str]) -> usize {
    let first = source.resume_from().map_or(0, |safe| safe / 10 + 1);
    let mut ran = 0;
    for (n, key) in keys.iter().enumerate().skip(usize::try_from(first).unwrap()) {
        ran += usize::from(world.feed(source, key, 10 * n as u64).unwrap());
    }
    ran
}

#[test]
fn an_event_is_counted_once_though_it_is_fed_again() {
    let keys = ["a", "b", "a", "c", "b", "a"];
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    assert_eq!((source.resume_from(), source.safe_position()), (None, None));
    assert_eq!(feed_all(&world, &mut source, &keys[..4]), 4);
    // What was changed is stored, and nobody knows yet that it is safe.
    world.run();
    assert_eq!(source.resume_from(), None);
    assert_eq!(feed_all(&world, &mut source, &keys[4..4]), 0);
    let storage = world.crash();
    let world = World::new(storage, every(1));
    let mut source = world.source();
    assert_eq!(feed_all(&world, &mut source, &keys), 2);
    let counts = ["a", "b", "c"].map(|key| world.count(key));
    assert_eq!(counts, [3, 2, 1]);
}

#[test]
fn what_is_not_stored_is_fed_again_and_runs_again() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    assert!(world.feed(&mut source, "a", 1).unwrap());
    world.run();
    assert!(world.feed(&mut source, "a", 2).unwrap() && world.feed(&mut source, "b", 3).unwrap());
    // Nothing was stored of these two.
    let world = World::new(world.crash(), every(1));
    let mut source = world.source();
    let ran = [("a", 1), ("a", 2), ("b", 3)].map(|(key, at)| world.feed(&mut source, key, at));
    assert_eq!(ran.map(Result::unwrap), [false, true, true]);
    assert_eq!((world.count("a"), world.count("b")), (2, 1));
}

#[test]
fn what_is_safe_goes_up_by_itself_and_outlives_the_process() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    for at in 0..5 {
        world.feed(&mut source, "a", at).unwrap();
    }
    world.settle();
    assert_eq!(source.safe_position(), Some(4));
    // An event that changes a PE that is not stored holds it back.
    world.storage.on_save(1, SaveFault::Late);
    world.feed(&mut source, "b", 5).unwrap();
    world.settle();
    assert_eq!(source.safe_position(), Some(4));
    world.storage.complete_late();
    world.settle();
    assert_eq!(source.safe_position(), Some(5));
    let world = World::new(world.crash(), every(1));
    assert_eq!(world.source().resume_from(), Some(5));
}

/// G2: the slowest PE decides.
#[test]
fn nothing_is_safe_before_every_pe_is_stored_that_was_changed() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    world.storage.on_save_of("slow", 1, SaveFault::Late);
    world.feed(&mut source, "slow", 1).unwrap();
    world.run();
    for at in 2..20 {
        world.feed(&mut source, "fast", at).unwrap();
        world.pass(Duration::from_millis(200));
    }
    assert_eq!((world.count("fast"), source.safe_position()), (18, None));
    world.storage.complete_late();
    world.settle();
    assert_eq!(source.safe_position(), Some(19));
}

#[test]
fn an_idle_pe_that_holds_it_back_is_captured_in_every_mode() {
    for config in [manual(), every(1000)] {
        let world = World::new(FaultyStorage::new(), config);
        let mut source = world.source();
        world.feed(&mut source, "a", 7).unwrap();
        // The round begins after one interval, and what holds it up is pushed after another.
        for _ in 0..3 {
            world.pass(Duration::from_secs(1));
        }
        assert_eq!(source.safe_position(), Some(7));
        let world = World::new(world.crash(), manual());
        assert_eq!((world.source().resume_from(), world.count("a")), (Some(7), 1));
    }
}

#[test]
fn closing_and_flushing_make_everything_safe() {
    let world = World::new(FaultyStorage::new(), manual());
    let mut source = world.source();
    world.feed(&mut source, "a", 1).unwrap();
    world.keeper.flush(FAIL_SAFE).unwrap();
    assert_eq!(source.safe_position(), Some(1));
    world.feed(&mut source, "a", 2).unwrap();
    {
        let mut flushing = pin!(world.keeper.flush_async(FAIL_SAFE));
        let mut context = Context::from_waker(Waker::noop());
        while flushing.as_mut().poll(&mut context).map(Result::unwrap).is_pending() {
            world.run();
        }
    }
    assert_eq!(source.safe_position(), Some(2));
    world.feed(&mut source, "a", 3).unwrap();
    let storage = world.close();
    assert_eq!(source.safe_position(), Some(3));
    let world = World::new(storage, manual());
    assert_eq!(world.source().resume_from(), Some(3));
}

#[test]
fn a_keeper_with_threads_does_the_same() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).safe_position_interval(Duration::from_millis(1));
    let keeper = keeper.build().unwrap();
    let prototype = counters(&keeper, every(10));
    let mut source = keeper.source("input").unwrap();
    for at in 0..1000 {
        let key = format!("{}", at % 7);
        source.process(&prototype, &key, at, |pe| pe.count += 1).unwrap();
    }
    crate::support::eventually("all is safe", || source.safe_position() == Some(999));
    std::mem::forget(keeper);
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, manual());
    let counts = (0..7).map(|key| prototype.read(&key.to_string(), |pe| pe.count).unwrap());
    assert_eq!(counts.sum::<u64>(), 1000);
    assert_eq!(keeper.source("input").unwrap().resume_from(), Some(999));
}

#[test]
fn sources_are_apart_and_a_pe_may_be_fed_by_several() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut sources = ["x", "y", "z"].map(|name| world.keeper.source(name).unwrap());
    for at in 0..10 {
        for source in &mut sources {
            assert!(world.feed(source, "all", at).unwrap());
        }
    }
    world.run();
    let world = World::new(world.crash(), every(1));
    let mut sources = ["z", "x", "y"].map(|name| world.keeper.source(name).unwrap());
    for source in &mut sources {
        assert!(!world.feed(source, "all", 9).unwrap());
    }
    assert_eq!(world.count("all"), 30);
}

#[test]
fn two_prototypes_are_fed_by_one_source() {
    let feed = |storage: FaultyStorage, ran: bool| {
        let world = World::new(storage, every(1));
        let other = counted(&world.keeper, "other", every(1));
        let mut source = world.source();
        assert_eq!(world.feed(&mut source, "a", 0).unwrap(), ran);
        let process = || source.process(&other, "a", 1, |pe| pe.count += 1);
        assert_eq!(world.fetching(process).unwrap().result().is_some(), ran);
        world.run();
        world.crash()
    };
    feed(feed(FaultyStorage::new(), true), false);
}

#[test]
fn who_wants_to_acknowledge_is_told() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = told.clone();
    source.on_safe_position(move |position| seen.lock().unwrap().push(position));
    for at in [3, 8] {
        world.feed(&mut source, "a", at).unwrap();
        world.settle();
    }
    assert_eq!(*told.lock().unwrap(), [3, 8]);
    source.on_safe_position(|_| panic!("planned"));
    world.feed(&mut source, "a", 9).unwrap();
    world.settle();
    assert_eq!((source.safe_position(), world.keeper.stats().callback_panics), (Some(9), 1));
}

/// What a PE contains does not depend on its being in memory, or anywhere.
#[test]
fn positions_outlive_eviction_and_removal() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    for (key, at) in [("evicted", 1), ("removed", 2)] {
        world.feed(&mut source, key, at).unwrap();
    }
    world.run();
    world.prototype.evict("evicted").unwrap();
    let ticket = world.prototype.remove("removed").unwrap();
    world.run();
    ticket.wait().unwrap();
    let world = World::new(world.crash(), every(1));
    fed_again(&world, &[("evicted", 1), ("removed", 2)], &[1, 0]);
}

/// Nothing of it is in memory, so that nobody there knows what it contains.
#[test]
fn a_pe_that_is_removed_while_it_is_only_stored_contains_what_it_contained() {
    let world = World::new(FaultyStorage::new(), every(1));
    world.feed(&mut world.source(), "a", 1).unwrap();
    world.run();
    let world = World::new(world.crash(), every(1));
    let ticket = world.fetching(|| world.prototype.remove("a")).unwrap();
    world.run();
    ticket.wait().unwrap();
    let world = World::new(world.crash(), every(1));
    fed_again(&world, &[("a", 1)], &[0]);
}

#[test]
fn a_pe_that_cannot_be_restored_can_be_removed_and_is_over_with_all_that_was_fed() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    for (key, at) in [("a", 1), ("b", 2)] {
        world.feed(&mut source, key, at).unwrap();
    }
    world.run();
    world.prototype.evict("a").unwrap();
    world.storage.on_fetch(1, FetchFault::Failed(StorageErrorKind::Unavailable));
    let refused = world.fetching(|| world.prototype.remove("a"));
    assert!(refused.is_err(), "it may be readable later");
    world.storage.on_fetch(1, FetchFault::Failed(StorageErrorKind::Corrupt));
    let ticket = world.fetching(|| world.prototype.remove("a")).unwrap();
    world.run();
    ticket.wait().unwrap();
    let world = World::new(world.crash(), every(1));
    fed_again(&world, &[("a", 1), ("b", 2)], &[0, 1]);
}

#[test]
fn a_pe_that_has_expired_contains_what_it_contained() {
    let day = Duration::from_secs(24 * 3600);
    let config = || every(1).expire_after(day);
    let world = World::new(FaultyStorage::new(), config());
    world.feed(&mut world.source(), "a", 1).unwrap();
    world.run();
    let clock = world.clock.clone();
    clock.advance(day * 2);
    let storage = world.crash();
    let keeper = settings(&storage).clock(clock.clone()).stepped().build().unwrap();
    let prototype = counters(&keeper, config());
    fed_again(&World { storage, clock, keeper, prototype }, &[("a", 1)], &[0]);
}

/// Events that were contained are fed again, which changes nothing, and then others, which do.
fn fed_again(world: &World, events: &[(&str, u64)], counts: &[u64]) {
    let mut source = world.source();
    for (key, at) in events {
        assert!(!world.feed(&mut source, key, *at).unwrap(), "{key}");
    }
    for ((key, at), count) in events.iter().zip(counts) {
        assert_eq!(world.count(key), *count, "{key}");
        assert!(world.feed(&mut source, key, 100 + at).unwrap(), "{key}");
    }
}

/// G4, G6: the input was cut off, or is another one.
#[test]
fn an_input_that_cannot_be_the_one_is_told() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    assert_eq!(source.resume_within(0, 0).unwrap(), None);
    world.feed(&mut source, "a", 41).unwrap();
    world.settle();
    for (first, end, is_right) in
        [(0, 42, true), (42, 42, true), (0, 100, true), (43, 100, false), (0, 41, false)]
    {
        let resumed = source.resume_within(first, end);
        match is_right && end > 41 {
            true => assert_eq!(resumed.unwrap(), Some(41)),
            false => assert!(matches!(resumed, Err(SourceError::NotInInput { safe: 41, .. }))),
        }
    }
}

#[test]
fn a_source_is_open_once_and_its_name_is_a_name() {
    let world = World::new(FaultyStorage::new(), every(1));
    let source = world.source();
    let again = world.keeper.source("input");
    assert!(matches!(again, Err(SourceError::AlreadyOpen { .. })));
    drop(source);
    let mut source = world.source();
    world.feed(&mut source, "a", 5).unwrap();
    drop(source);
    // It is read again from where it resumes, which may be before what was fed, or goes on.
    let mut source = world.source();
    assert_eq!(source.resume_from(), None);
    assert!(!world.feed(&mut source, "a", 5).unwrap());
    assert!(world.feed(&mut source, "a", 6).unwrap());
    let lower = world.feed(&mut source, "a", 5);
    assert!(matches!(lower, Err(SourceError::NotRising { fed: 6, position: 5, .. })));
    world.settle();
    assert_eq!((source.safe_position(), world.count("a")), (Some(6), 2));
    drop(source);
    for name in ["", &"x".repeat(201)] {
        let error = world.keeper.source(name).unwrap_err();
        assert!(matches!(error, SourceError::InvalidName { .. }), "{error}");
    }
    let _longest = world.keeper.source(&"x".repeat(200)).unwrap();
    let keeper = World::new(FaultyStorage::new(), every(1));
    let other = keeper.feed(&mut world.source(), "a", 9);
    assert!(matches!(other, Err(SourceError::OtherKeeper { .. })));
    world.keeper.close(FAIL_SAFE).unwrap();
    assert!(matches!(world.keeper.source("new"), Err(SourceError::Closed { .. })));
}

/// G7: what is said to be safe is stored before that is said.
#[test]
fn what_is_safe_cannot_be_kept_while_the_storage_fails_and_is_later() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    world.feed(&mut source, "a", 1).unwrap();
    world.storage.fail_metadata(true);
    world.settle();
    assert_eq!(source.safe_position(), None);
    world.storage.fail_metadata(false);
    world.settle();
    assert_eq!(source.safe_position(), Some(1));
}

/// What is there may be what this keeper wrote when it was told that it had failed.
#[test]
fn what_was_written_unseen_is_written_again() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    world.storage.put_metadata_unseen(true);
    for at in 1..20 {
        world.feed(&mut source, "a", at).unwrap();
        world.settle();
    }
    assert_eq!(source.safe_position(), None);
    world.storage.put_metadata_unseen(false);
    world.settle();
    assert_eq!(source.safe_position(), Some(19));
    world.feed(&mut source, "a", 20).unwrap();
    world.settle();
    assert_eq!(source.safe_position(), Some(20));
}

#[test]
fn what_another_keeper_has_written_of_its_sources_stays() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    world.feed(&mut source, "a", 1).unwrap();
    world.run();
    let other = World::new(world.storage.clone(), every(1));
    let _theirs = other.keeper.source("theirs").unwrap();
    let written = || world.storage.metadata("sources").unwrap().unwrap();
    let theirs = written();
    world.settle();
    assert_eq!(source.safe_position(), None);
    assert_eq!(written().bytes, theirs.bytes);
}

/// A shard whose lock somebody has at that moment is marked later: that is no reason to end without
/// saying how far the source is.
#[test]
fn a_flush_makes_positions_safe_while_others_are_in_the_shards() {
    let storage = FaultyStorage::new();
    let keeper = settings(&storage).build().unwrap();
    let prototype = counters(&keeper, every(1).shards(1));
    let mut source = keeper.source("input").unwrap();
    let is_over = AtomicBool::new(false);
    let look = |_: &Counter| {
        // Has the lock for most of the time.
        for _ in 0..200 {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                prototype.read("a", look).unwrap();
            }
        });
        let mut behind = Vec::new();
        for position in 1..=100 {
            source.process(&prototype, "a", position, |pe| pe.count += 1).unwrap();
            keeper.flush(FAIL_SAFE).unwrap();
            if source.safe_position() != Some(position) {
                behind.push((position, source.safe_position()));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(behind.is_empty(), "{behind:?}");
    });
    keeper.close(FAIL_SAFE).unwrap();
}
