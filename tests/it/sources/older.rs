//! PEs that come back older than what a source need not feed again.

use std::time::SystemTime;

use checkpoint::{
    Clock, OnRestoreError, ProcessError, RestoreError, RestoreFailure, StateVersion,
    StorageErrorKind,
};

use super::*;
use crate::support::{FetchFault, every};

/// A store in which `a` contains the events 1 and 2, and both are safe.
fn stored(config: CheckpointingConfigBuilder) -> World {
    let world = World::new(FaultyStorage::keeping_versions(4), config);
    let mut source = world.source();
    for (key, at) in [("a", 1), ("a", 2), ("b", 3)] {
        world.feed(&mut source, key, at).unwrap();
        world.run();
    }
    world.settle();
    assert_eq!(source.safe_position(), Some(3));
    world
}

fn damaged(world: &World) {
    world.storage.on_fetch(1, FetchFault::Failed(StorageErrorKind::Corrupt));
}

fn gap(error: &ProcessError) -> Option<(Option<u64>, Option<u64>)> {
    match error {
        ProcessError::Restore(error) => gap_of(error),
        _ => None,
    }
}

fn gap_of(error: &RestoreError) -> Option<(Option<u64>, Option<u64>)> {
    match error.reason() {
        RestoreFailure::PositionGap { from, to, .. } => Some((*from, *to)),
        _ => None,
    }
}

fn reason(error: SourceError) -> ProcessError {
    match error {
        SourceError::Process { error, .. } => error,
        other => panic!("{other}"),
    }
}

#[test]
fn a_pe_that_starts_empty_is_refused_until_the_source_feeds_again() {
    let config = || every(1).on_restore_error(OnRestoreError::StartEmpty);
    let world = World::new(stored(config()).crash(), config());
    let mut source = world.source();
    damaged(&world);
    let error = reason(world.feed(&mut source, "a", 4).unwrap_err());
    assert_eq!(gap(&error), Some((None, Some(3))));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("`input`"));
    source.rewind(None).unwrap();
    assert_eq!(source.resume_from(), None);
    damaged(&world);
    let again = [("a", 1), ("a", 2), ("b", 3), ("a", 4)];
    let ran = again.map(|(key, at)| world.feed(&mut source, key, at).unwrap());
    assert_eq!(ran, [true, true, false, true]);
    world.settle();
    assert_eq!((world.count("a"), world.count("b"), source.safe_position()), (3, 1, Some(4)));
    // And that is what is stored.
    let world = World::new(world.crash(), config());
    let mut source = world.source();
    assert!(!world.feed(&mut source, "a", 4).unwrap());
    assert_eq!((world.count("a"), source.safe_position()), (3, Some(4)));
}

/// The machine goes down while events are fed again: what was said of the others still holds.
#[test]
fn a_crash_while_events_are_fed_again_loses_and_doubles_nothing() {
    let config = || every(1).on_restore_error(OnRestoreError::StartEmpty);
    let world = World::new(stored(config()).crash(), config());
    let mut source = world.source();
    source.rewind(None).unwrap();
    damaged(&world);
    assert!(world.feed(&mut source, "a", 1).unwrap());
    world.settle();
    assert_eq!(source.safe_position(), Some(1));
    let world = World::new(world.crash(), config());
    let mut source = world.source();
    assert_eq!(source.resume_from(), Some(1));
    let again = [("a", 2), ("b", 3)];
    let ran = again.map(|(key, at)| world.feed(&mut source, key, at).unwrap());
    assert_eq!(ran, [true, false]);
    assert_eq!((world.count("a"), world.count("b")), (2, 1));
}

#[test]
fn an_older_version_is_refused_until_the_source_feeds_again() {
    let config = || every(1).on_restore_error(OnRestoreError::Previous);
    let world = World::new(stored(config()).crash(), config());
    let mut source = world.source();
    damaged_newest(&world);
    let error = reason(world.feed(&mut source, "a", 4).unwrap_err());
    assert_eq!(gap(&error), Some((Some(1), Some(3))));
    source.rewind(Some(1)).unwrap();
    damaged_newest(&world);
    let again = [("a", 2), ("b", 3), ("a", 4)];
    let ran = again.map(|(key, at)| world.feed(&mut source, key, at).unwrap());
    assert_eq!(ran, [true, false, true]);
    assert_eq!(world.count("a"), 3);
}

fn damaged_newest(world: &World) {
    let break_it = |mut record: Vec<u8>| {
        let last = record.len() - 1;
        record[last] ^= 1;
        record
    };
    world.storage.on_fetch(1, FetchFault::Changed(Arc::new(break_it)));
}

#[test]
fn a_prototype_may_accept_the_loss() {
    let config =
        || every(1).on_restore_error(OnRestoreError::StartEmpty).accept_position_gaps(true);
    let world = World::new(stored(config()).crash(), config());
    let mut source = world.source();
    damaged(&world);
    assert!(world.feed(&mut source, "a", 4).unwrap());
    assert_eq!(world.count("a"), 1);
    // What is lost stays lost.
    world.run();
    let world = World::new(world.crash(), config());
    let mut source = world.source();
    assert!(!world.feed(&mut source, "a", 2).unwrap());
    assert_eq!(world.count("a"), 1);
}

#[test]
fn a_roll_back_and_a_reset_are_refused_too() {
    let world = stored(every(1));
    let mut source = world.source();
    let versions = world.prototype.versions("a").unwrap();
    let oldest: StateVersion = versions.last().unwrap().version;
    let refused = world.fetching(|| world.prototype.restore_version("a", oldest));
    assert_eq!(gap(&refused.unwrap_err()), Some((Some(1), Some(3))));
    let refused = world.fetching(|| world.prototype.reset("a"));
    assert_eq!(gap(&refused.unwrap_err()), Some((None, Some(3))));
    assert_eq!(world.count("a"), 2);
    source.rewind(Some(1)).unwrap();
    let ticket = world.fetching(|| world.prototype.restore_version("a", oldest)).unwrap();
    world.run();
    ticket.wait().unwrap();
    assert_eq!(world.count("a"), 1);
    assert!(world.feed(&mut source, "a", 2).unwrap());
    assert_eq!(world.count("a"), 2);
}

/// What was stored since is not safe yet: it is behind nothing, and would be lost all the same.
#[test]
fn what_an_older_version_has_lost_is_fed_again_though_nothing_was_safe_yet() {
    let world = World::new(FaultyStorage::keeping_versions(4), every(1));
    let mut source = world.source();
    for at in [1, 2] {
        world.feed(&mut source, "a", at).unwrap();
        world.run();
    }
    assert_eq!(source.safe_position(), None);
    let oldest = world.prototype.versions("a").unwrap().last().unwrap().version;
    let ticket = world.fetching(|| world.prototype.restore_version("a", oldest)).unwrap();
    world.run();
    ticket.wait().unwrap();
    let error = reason(world.feed(&mut source, "a", 4).unwrap_err());
    assert!(gap(&error).is_some(), "{error}");
    // It holds the source back even if the PE leaves memory and comes back.
    world.run();
    world.prototype.evict("a").unwrap();
    world.run();
    let error = reason(world.feed(&mut source, "a", 5).unwrap_err());
    assert!(gap(&error).is_some(), "{error}");
    world.settle();
    world.settle();
    assert_eq!(source.safe_position(), None);
    source.rewind(None).unwrap();
    let ran = [1, 2, 4, 5].map(|at| world.feed(&mut source, "a", at).unwrap());
    assert_eq!((ran, world.count("a")), ([false, true, true, true], 4));
}

#[test]
fn a_source_is_rewound_and_never_moved_ahead() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    world.feed(&mut source, "a", 5).unwrap();
    for position in [6, u64::MAX] {
        let error = source.rewind(Some(position)).unwrap_err();
        assert!(matches!(error, SourceError::NotBack { .. }), "{error}");
    }
    source.rewind(Some(5)).unwrap();
    assert!(world.feed(&mut source, "a", 6).unwrap());
}

/// A PE that had been removed at the time that is returned, and has had an event since.
fn removed_and_made_again() -> (World, Source, SystemTime) {
    let world = World::new(FaultyStorage::keeping_versions(4), every(1));
    let mut source = world.source();
    world.feed(&mut source, "a", 1).unwrap();
    world.run();
    let ticket = world.prototype.remove("a").unwrap();
    world.run();
    ticket.wait().unwrap();
    let step = Duration::from_millis(10);
    world.pass(step);
    let time = world.clock.wall();
    world.pass(step);
    assert!(world.feed(&mut source, "a", 2).unwrap());
    world.run();
    assert_eq!((world.count("a"), source.safe_position()), (1, None));
    (world, source, time)
}

#[test]
fn a_roll_back_to_a_removal_is_refused_until_the_source_feeds_again() {
    let (world, mut source, time) = removed_and_made_again();
    world.settle();
    assert_eq!(source.safe_position(), Some(2));
    let roll_back = || world.storing(|| world.prototype.roll_back_all(time, |_| {}).unwrap());
    let report = roll_back();
    let [(_, error)] = &report.errors[..] else { panic!("{report:?}") };
    let error = error.downcast_ref::<ProcessError>().unwrap();
    assert_eq!((gap(error), world.count("a")), (Some((Some(1), Some(2))), 1));
    source.rewind(Some(1)).unwrap();
    let report = roll_back();
    assert_eq!((report.removed, report.failed), (1, 0), "{report:?}");
    let world = World::new(world.crash(), every(1));
    let mut source = world.source();
    assert_eq!(source.resume_from(), Some(1));
    assert!(world.feed(&mut source, "a", 2).unwrap());
    source.rewind(None).unwrap();
    let ran = [1, 2].map(|at| world.feed(&mut source, "a", at).unwrap());
    assert_eq!((ran, world.count("a")), ([false, false], 1));
}

#[test]
fn what_a_roll_back_to_a_removal_has_lost_is_fed_again_though_nothing_was_safe_yet() {
    let (world, mut source, time) = removed_and_made_again();
    let report = world.storing(|| world.prototype.roll_back_all(time, |_| {}).unwrap());
    assert_eq!((report.removed, report.failed), (1, 0), "{report:?}");
    let error = reason(world.feed(&mut source, "a", 3).unwrap_err());
    assert!(gap(&error).is_some(), "{error}");
    world.settle();
    world.settle();
    assert_eq!(source.safe_position(), None);
    source.rewind(None).unwrap();
    let ran = [1, 2, 3].map(|at| world.feed(&mut source, "a", at).unwrap());
    assert_eq!((ran, world.count("a")), ([false, true, true], 2));
}
