//! Events whose results are held back until what they have left is durable (P9, P10, G5).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use checkpoint::Pending;

use super::*;
use crate::support::manual;

type Held = Pending<Applied<u64>>;

fn add(pe: &mut Counter) -> u64 {
    pe.count += 1;
    pe.count
}

fn feed(world: &World, source: &mut Source, position: u64) -> Held {
    world.fetching(|| source.process_pending(&world.prototype, "a", position, add).unwrap())
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn is_known<T>(pending: &Pending<T>) -> bool {
    pending.outcome().is_some()
}

#[test]
fn a_result_with_a_position_is_held_back_until_the_event_is_stored() {
    let world = World::new(FaultyStorage::new(), manual());
    let mut source = world.source();
    let first = feed(&world, &mut source, 1);
    let second = feed(&world, &mut source, 2);
    assert!(!is_known(&first) && !is_known(&second));
    world.run();
    assert_eq!(first.wait().unwrap(), Applied::Now(1));
    assert_eq!(second.wait().unwrap(), Applied::Now(2));
    let world = World::new(world.crash(), manual());
    let mut source = world.source();
    // Fed again: it is contained, and durable.
    assert_eq!(feed(&world, &mut source, 2).wait().unwrap(), Applied::Before);
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
    assert_eq!(again.wait().unwrap(), Applied::Before);
    assert_eq!(world.count("a"), 2);
}

/// An event that cannot even be asked for is not passed over.
#[test]
fn a_key_that_is_none_holds_the_source_back() {
    let long = "k".repeat(checkpoint::KEY_BYTES_MAX + 1);
    for blocks in [true, false] {
        let world = World::new(FaultyStorage::new(), manual());
        let mut source = world.source();
        let error = match blocks {
            true => source.process_pending(&world.prototype, &*long, 1, add).unwrap_err(),
            false => {
                let mut event = source.process_pending_async(&world.prototype, &*long, 1, add);
                let Poll::Ready(Err(error)) = poll(&mut event) else { panic!("it is refused") };
                error
            }
        };
        assert!(matches!(error, SourceError::Process { position: 1, .. }), "{error}");
        world.feed(&mut source, "a", 2).unwrap();
        world.settle();
        assert_eq!((source.safe_position(), source.skip(1).is_ok()), (None, true));
        world.settle();
        assert_eq!(source.safe_position(), Some(2));
    }
}
