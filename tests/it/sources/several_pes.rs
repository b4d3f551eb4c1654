//! Events that touch several PEs, or one PE with several steps.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use checkpoint::{ProcessError, StorageErrorKind};

use super::*;
use crate::support::{FetchFault, SaveFault, every};

/// Adds one to each of the PEs.
fn add(
    world: &World,
    source: &mut Source,
    position: u64,
    keys: &[&str],
) -> Result<Applied<()>, SourceError> {
    world.fetching(|| {
        let mut event = source.event(position);
        for key in keys {
            event = event.on(&world.prototype, *key, |pe| pe.count += 1);
        }
        event.run()
    })
}

fn counts(world: &World) -> [u64; 3] {
    ["a", "b", "c"].map(|key| world.count(key))
}

#[test]
fn an_event_is_safe_when_all_its_pes_contain_it() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    world.storage.on_save_of("b", usize::MAX, SaveFault::NotStored(StorageErrorKind::Unavailable));
    assert_eq!(add(&world, &mut source, 7, &["a", "b", "c"]).unwrap(), Applied::Now(()));
    world.settle();
    world.settle();
    assert_eq!(source.safe_position(), None);
    world.storage.heal();
    world.settle();
    world.settle();
    assert_eq!(source.safe_position(), Some(7));
    // One that touches nothing is safe, too.
    assert_eq!(source.event(8).run().unwrap(), Applied::Before);
    world.settle();
    assert_eq!(source.safe_position(), Some(8));
    assert_eq!(counts(&world), [1; 3]);
}

#[test]
fn steps_for_one_pe_run_together_in_their_order_and_once() {
    let world = World::new(FaultyStorage::new(), every(1));
    let feed = |world: &World, source: &mut Source| {
        world.fetching(|| {
            let event = source.event(1).on(&world.prototype, "a", |pe| pe.count += 2);
            let event = event.on(&world.prototype, "b", |pe| pe.count += 1);
            event.on(&world.prototype, "a", |pe| pe.count *= 10).run().unwrap()
        })
    };
    assert_eq!(feed(&world, &mut world.source()), Applied::Now(()));
    // Stored, but not yet known to be safe: it is fed again.
    world.run();
    let world = World::new(world.crash(), every(1));
    let mut source = world.source();
    assert_eq!(source.resume_from(), None);
    assert_eq!(feed(&world, &mut source), Applied::Before);
    assert_eq!(counts(&world), [20, 1, 0]);
}

#[test]
fn what_some_of_its_pes_contain_is_fed_again_for_the_others() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    world.storage.on_fetch_of("b", 1, FetchFault::Failed(StorageErrorKind::Unavailable));
    let error = add(&world, &mut source, 1, &["a", "b", "c"]).unwrap_err();
    assert!(matches!(error, SourceError::Process { position: 1, .. }), "{error}");
    assert!(error.to_string().contains("input"), "{error}");
    // No later event comes before it, on none of its PEs.
    for key in ["a", "b", "c"] {
        let position = 2 + u64::from(key.as_bytes()[0]);
        let behind = add(&world, &mut source, position, &[key]).unwrap_err();
        assert!(matches!(behind, SourceError::Behind { earlier: 1, .. }), "{behind}");
    }
    world.settle();
    assert_eq!(source.safe_position(), None);
    let world = World::new(world.crash(), every(1));
    let mut source = world.source();
    assert_eq!(add(&world, &mut source, 1, &["a", "b", "c"]).unwrap(), Applied::Now(()));
    assert_eq!(counts(&world), [1; 3]);
}

#[test]
fn many_are_on_their_way_and_one_that_is_dropped_has_failed() {
    let world = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    let mut context = Context::from_waker(Waker::noop());
    // Sent wherever one likes: it borrows nothing.
    let event = |source: &mut Source, position, keys: [&str; 2]| {
        let [first, second] = keys;
        let event = source.event(position).on(&world.prototype, first, |pe| pe.count += 1);
        let event = event.on(&world.prototype, second, |pe| pe.count += 1);
        let event: Pin<Box<dyn Future<Output = _> + Send + 'static>> = Box::pin(event.run_async());
        event
    };
    let mut first = event(&mut source, 1, ["a", "b"]);
    let mut second = event(&mut source, 2, ["b", "c"]);
    world.run();
    assert!(second.as_mut().poll(&mut context).is_pending(), "the first is before it");
    assert!(first.as_mut().poll(&mut context).is_pending(), "its first PE is fetched");
    world.run();
    assert!(first.as_mut().poll(&mut context).is_pending(), "its second PE is fetched");
    drop(first);
    let Poll::Ready(Err(behind)) = second.as_mut().poll(&mut context) else { panic!("it runs") };
    assert!(matches!(behind, SourceError::Behind { position: 2, earlier: 1, .. }), "{behind}");
    assert_eq!(add(&world, &mut source, 1, &["a", "b"]).unwrap(), Applied::Now(()));
    assert_eq!(add(&world, &mut source, 2, &["b", "c"]).unwrap(), Applied::Now(()));
    assert_eq!(counts(&world), [1, 2, 1]);
}

#[test]
fn an_event_that_may_not_be_fed_touches_nothing() {
    let world = World::new(FaultyStorage::new(), every(1));
    let other = World::new(FaultyStorage::new(), every(1));
    let mut source = world.source();
    let event = source.event(5).on(&world.prototype, "a", |pe| pe.count += 1);
    let error = event.on(&other.prototype, "b", |pe| pe.count += 1).run().unwrap_err();
    assert!(matches!(error, SourceError::OtherKeeper { .. }), "{error}");
    // It was not fed: lower ones still can be.
    assert_eq!(add(&world, &mut source, 4, &["c"]).unwrap(), Applied::Now(()));
    let error = add(&world, &mut source, 4, &["a"]).unwrap_err();
    assert!(matches!(error, SourceError::NotRising { position: 4, fed: 4, .. }), "{error}");
    assert_eq!(counts(&world), [0, 0, 1]);
    // From inside an event nothing can be waited for: it has failed, and says so.
    let nested = world
        .prototype
        .process("c", |_| source.event(5).on(&world.prototype, "a", |pe| pe.count += 1).run());
    let error = nested.unwrap().unwrap_err();
    let is_reentrant = |error: &SourceError| {
        matches!(error, SourceError::Process { error: ProcessError::Reentrant { .. }, .. })
    };
    assert!(is_reentrant(&error), "{error}");
    assert_eq!(add(&world, &mut source, 5, &["a"]).unwrap(), Applied::Now(()));
}
