//! A keeper that has ended is gone, whoever still has its sources.

use std::sync::Weak;

use super::*;
use crate::support::manual;

/// A keeper and a prototype, and whether anything of them is left.
fn keeper() -> (SafeKeeper, PePrototype<String, Counter>, Weak<()>) {
    let keeper = settings(&FaultyStorage::new()).build().unwrap();
    let held = Arc::new(());
    let left = Arc::downgrade(&held);
    let create = move |_: &String| {
        let _held = &held;
        Counter::default()
    };
    let config = manual().build().unwrap();
    let prototype = keeper.prototype("counter").config(config).create(create).build().unwrap();
    (keeper, prototype, left)
}

/// Feeds one event, and has a callback hold the prototype.
fn feed(source: &mut Source, prototype: &PePrototype<String, Counter>) {
    source.process(prototype, "a", 1, |pe| pe.count += 1).unwrap();
    let held = prototype.clone();
    source.on_safe_position(move |_| assert!(held.len() < 2));
}

#[test]
fn a_keeper_that_is_dropped_is_gone_though_its_source_and_a_callback_hold_on() {
    let (keeper, prototype, left) = keeper();
    let mut source = keeper.source("input").unwrap();
    feed(&mut source, &prototype);
    drop(keeper);
    assert_eq!(source.safe_position(), Some(1));
    drop(prototype);
    assert!(left.upgrade().is_none(), "the callback keeps the prototype");
    assert!(source.rewind(None).is_err());
}

#[test]
fn nothing_is_kept_for_a_callback_that_comes_after_the_end() {
    let (keeper, prototype, left) = keeper();
    let mut source = keeper.source("input").unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    let held = prototype.clone();
    source.on_safe_position(move |_| assert!(held.len() < 2));
    drop((keeper, prototype));
    assert!(left.upgrade().is_none(), "the callback keeps the prototype");
}

/// By whoever is told: nothing can be waited for there.
#[test]
fn a_keeper_that_is_dropped_by_its_callback_is_gone() {
    let (keeper, prototype, left) = keeper();
    let mut source = keeper.source("input").unwrap();
    source.process(&prototype, "a", 1, |pe| pe.count += 1).unwrap();
    let keeper = Arc::new(std::sync::Mutex::new(Some(keeper)));
    let dropping = keeper.clone();
    let held = prototype.clone();
    source.on_safe_position(move |_| {
        assert!(held.len() < 2);
        drop(dropping.lock().unwrap().take());
    });
    prototype.flush(FAIL_SAFE).unwrap();
    crate::support::eventually("it is dropped", || keeper.lock().is_ok_and(|it| it.is_none()));
    drop(prototype);
    crate::support::eventually("it is gone", || left.upgrade().is_none());
}
