//! Events whose results are held back until what they have left is durable (P9, P10, G5).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use checkpoint::{Pending, SaveError, SourceEvent, StorageErrorKind};

use super::*;
use crate::support::{FetchFault, SaveFault, manual};

type Held = Pending<Applied<u64>>;

fn add(pe: &mut Counter) -> u64 {
    pe.count += 1;
    pe.count
}

fn feed(world: &World, source: &mut Source, position: u64) -> Held {
    world.fetching(|| source.process_pending(&world.prototype, "a", position, add).unwrap())
}

/// An event that adds one to each of the PEs.
fn adding<'s>(
    world: &World,
    source: &'s mut Source,
    position: u64,
    keys: &[&str],
) -> SourceEvent<'s, 'static> {
    let event = source.event(position);
    keys.iter().fold(event, |event, key| event.on(&world.prototype, *key, |pe| pe.count += 1))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn is_known<T>(pending: &Pending<T>) -> bool {
    pending.outcome().is_some()
}

/// What is released by now.
#[track_caller]
fn released<T>(pending: Pending<T>) -> Result<T, SaveError> {
    assert!(is_known(&pending), "it is held back: {pending:?}");
    pending.wait()
}

#[test]
fn a_result_with_a_position_is_held_back_until_the_event_is_stored() {
    let world = World::new(FaultyStorage::new(), manual());
    let mut source = world.source();
    let first = feed(&world, &mut source, 1);
    let second = feed(&world, &mut source, 2);
    assert!(!is_known(&first) && !is_known(&second));
    world.run();
    assert_eq!(released(first).unwrap(), Applied::Now(1));
    assert_eq!(released(second).unwrap(), Applied::Now(2));
    let world = World::new(world.crash(), manual());
    let mut source = world.source();
    // Fed again: it is contained, and durable.
    assert_eq!(released(feed(&world, &mut source, 2)).unwrap(), Applied::Before);
    assert_eq!(world.count("a"), 2);
}

#[test]
fn the_same_without_blocking_a_thread_and_with_many_on_their_way() {
    let world = World::new(FaultyStorage::new(), manual());
    let mut source = world.source();
    let event = |source: &mut Source, position| {
        source.process_pending_async(&world.prototype, "a", position, add)
    };
    let [mut first, mut second] = [1, 2].map(|position| event(&mut source, position));
    assert!(poll(&mut second).is_pending(), "the first is before it");
    assert!(poll(&mut first).is_pending(), "its PE is fetched");
    world.run();
    let Poll::Ready(Ok(mut first)) = poll(&mut first) else { panic!("it runs") };
    let Poll::Ready(Ok(mut second)) = poll(&mut second) else { panic!("it runs") };
    assert!(!is_known(&first) && !is_known(&second));
    assert!(poll(&mut first).is_pending());
    world.run();
    assert!(matches!(poll(&mut first), Poll::Ready(Ok(Applied::Now(1)))));
    assert!(matches!(poll(&mut second), Poll::Ready(Ok(Applied::Now(2)))));
    // One that is dropped has failed.
    drop(event(&mut source, 3));
    let behind = poll(&mut event(&mut source, 4));
    assert!(matches!(behind, Poll::Ready(Err(SourceError::Behind { earlier: 3, .. }))));
    let world = World::new(world.crash(), manual());
    let mut source = world.source();
    let mut again = source.process_pending_async(&world.prototype, "a", 2, add);
    let again = world.fetching(|| pollster::block_on(&mut again).unwrap());
    assert_eq!(released(again).unwrap(), Applied::Before);
    assert_eq!(world.count("a"), 2);
}

#[test]
fn a_result_of_several_pes_is_held_back_until_all_of_them_are_stored() {
    for last in ["a", "b", "c"] {
        let world = World::new(FaultyStorage::new(), manual());
        let mut source = world.source();
        let down = SaveFault::NotStored(StorageErrorKind::Unavailable);
        world.storage.on_save_of(last, usize::MAX, down);
        let steps = ["a", "b", "c", "a"];
        let mut pending =
            world.fetching(|| adding(&world, &mut source, 1, &steps).run_pending().unwrap());
        let keys: Vec<_> = pending.ids().map(|id| id.key().to_vec()).collect();
        assert_eq!(keys, ["a", "b", "c"].map(Vec::from));
        world.run();
        assert_eq!(world.storage.seen().stored.len(), 2);
        assert!(!is_known(&pending) && poll(&mut pending).is_pending(), "{last} is not stored");
        let mut pending = pending.wait_timeout(Duration::ZERO).expect_err("it is not known");
        world.storage.heal();
        world.pass(Duration::from_secs(1));
        assert!(matches!(pending.outcome(), Some(Ok(()))), "{last} is stored");
        assert!(matches!(poll(&mut pending), Poll::Ready(Ok(Applied::Now(())))));
    }
}

#[test]
fn the_one_of_several_pes_that_cannot_be_stored_is_named() {
    for (bad, by_poll) in [("a", false), ("b", false), ("a", true), ("b", true)] {
        let world = World::new(FaultyStorage::new(), manual());
        let mut source = world.source();
        let refused = SaveFault::NotStored(StorageErrorKind::TooLarge { max: 5 });
        world.storage.on_save_of(bad, 1, refused);
        let keys = ["a", "b"];
        let mut pending =
            world.fetching(|| adding(&world, &mut source, 1, &keys).run_pending().unwrap());
        world.run();
        let error = match (by_poll, poll(&mut pending)) {
            (true, Poll::Ready(result)) => result.unwrap_err(),
            (false, _) => pending.outcome().expect("it is known").unwrap_err(),
            (true, Poll::Pending) => panic!("it is not known"),
        };
        assert_eq!((error.id().key(), world.storage.seen().stored.len()), (bad.as_bytes(), 1));
    }
}

#[test]
fn an_event_of_several_pes_is_held_back_when_it_is_fed_again() {
    let world = World::new(FaultyStorage::new(), manual());
    let mut source = world.source();
    world.storage.on_fetch_of("b", 1, FetchFault::Failed(StorageErrorKind::Unavailable));
    let keys = ["a", "b"];
    let failed = world.fetching(|| adding(&world, &mut source, 1, &keys).run_pending());
    assert!(matches!(failed, Err(SourceError::Process { position: 1, .. })), "{failed:?}");
    let mut event = adding(&world, &mut source, 1, &keys).run_pending_async();
    assert!(poll(&mut event).is_pending(), "its second PE is fetched");
    world.run();
    let Poll::Ready(Ok(mut pending)) = poll(&mut event) else { panic!("it runs") };
    assert!(poll(&mut pending).is_pending(), "its second PE is not stored");
    world.run();
    assert!(matches!(poll(&mut pending), Poll::Ready(Ok(Applied::Now(())))));
    let world = World::new(world.crash(), manual());
    let mut source = world.source();
    let again = world.fetching(|| adding(&world, &mut source, 1, &keys).run_pending().unwrap());
    assert_eq!(released(again).unwrap(), Applied::Before);
    // One that touches nothing has nothing to wait for.
    let nothing = source.event(2).run_pending().unwrap();
    assert_eq!((nothing.ids().count(), released(nothing).unwrap()), (0, Applied::Before));
}

/// An event that cannot even be asked for is not passed over.
#[test]
fn a_key_that_is_none_holds_the_source_back() {
    let long = "k".repeat(checkpoint::KEY_BYTES_MAX + 1);
    let refused = |world: &World, source: &mut Source, way| match way {
        0 => source.process_pending(&world.prototype, &*long, 1, add).unwrap_err(),
        1 => {
            let mut event = source.process_pending_async(&world.prototype, &*long, 1, add);
            let Poll::Ready(Err(error)) = poll(&mut event) else { panic!("it is refused") };
            error
        }
        _ => adding(world, source, 1, &["b", &long]).run_pending().unwrap_err(),
    };
    for way in 0..3 {
        let world = World::new(FaultyStorage::new(), manual());
        let mut source = world.source();
        let error = world.fetching(|| refused(&world, &mut source, way));
        assert!(matches!(error, SourceError::Process { position: 1, .. }), "{error}");
        world.feed(&mut source, "a", 2).unwrap();
        world.settle();
        assert_eq!((source.safe_position(), source.skip(1).is_ok()), (None, true));
        world.settle();
        assert_eq!((source.safe_position(), world.count("b")), (Some(2), 0));
    }
}
