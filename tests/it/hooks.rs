//! The application's code runs when PEs come and go, each hook on its own occasion only, and
//! periodically.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, InMemoryStorage, PePrototype, Pool, SafeKeeper,
    TestClock,
};

use crate::support::manual;

const SECOND: Duration = Duration::from_secs(1);

type Calls = Arc<Mutex<Vec<String>>>;

fn take(calls: &Calls) -> Vec<String> {
    std::mem::take(&mut *calls.lock().unwrap())
}

/// Texts whose hooks and events write down what they find.
fn texts(keeper: &SafeKeeper, calls: &Calls) -> PePrototype<String, String> {
    let hook = |name: &'static str| {
        let calls = calls.clone();
        move |key: &String, text: &mut String| {
            calls.lock().unwrap().push(format!("{name} {key} {text}"));
            text.push_str(name);
        }
    };
    let builder = keeper.prototype("texts").config(manual().build().unwrap());
    let builder = builder.create(|_: &String| "new,".to_owned());
    let builder = builder.on_create(hook("created,")).on_restore(hook("restored,"));
    builder.on_remove(hook("removed,")).build().unwrap()
}

#[test]
fn each_hook_runs_once_on_its_occasion_and_before_the_event() {
    let storage = InMemoryStorage::new();
    let calls = Calls::default();
    let open = || SafeKeeper::builder(storage.clone()).build().unwrap();
    let keeper = open();
    let of_keeper = texts(&keeper, &calls);
    let found = of_keeper.process("a", |text| text.clone()).unwrap();
    assert_eq!(found, "new,created,");
    of_keeper.process("a", |_| ()).unwrap();
    assert_eq!(take(&calls), ["created, a new,"]);
    // It is no removal when a PE leaves the memory, nor when the keeper closes.
    keeper.flush(SECOND * 20).unwrap();
    of_keeper.evict("a").unwrap();
    assert!(of_keeper.is_empty());
    assert_eq!(of_keeper.read("a", String::clone).unwrap(), "new,created,restored,");
    assert_eq!(take(&calls), ["restored, a new,created,"]);
    keeper.close(SECOND * 20).unwrap();
    assert!(take(&calls).is_empty());

    let keeper = open();
    let of_keeper = texts(&keeper, &calls);
    // What the hook changed was no change: the state is the one that was stored.
    assert_eq!(of_keeper.read("a", String::clone).unwrap(), "new,created,restored,");
    assert_eq!(take(&calls), ["restored, a new,created,"]);
    of_keeper.remove("a").unwrap().wait().unwrap();
    assert_eq!(take(&calls), ["removed, a new,created,restored,"]);
    assert_eq!(of_keeper.read("a", String::clone).unwrap(), "new,created,");
    assert_eq!(take(&calls), ["created, a new,"]);
    keeper.close(SECOND * 20).unwrap();
}

#[test]
fn a_periodic_function_changes_each_pe_once_in_an_interval_and_that_is_stored() {
    let storage = InMemoryStorage::new();
    let clock = Arc::new(TestClock::new());
    let keeper = SafeKeeper::builder(storage.clone()).stepped().clock(clock.clone()).build();
    let keeper = keeper.unwrap();
    let run_until_idle = || {
        let pools = [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing];
        while pools.into_iter().any(|pool| keeper.step(pool)) {}
    };
    let mode = CheckpointingMode::EventCount(3.try_into().unwrap());
    let numbers = keeper
        .prototype("numbers")
        .config(CheckpointingConfig::builder(mode).build().unwrap())
        .create(|key: &u64| 100 * *key)
        .on_time(SECOND, |_, n| *n += 1)
        .build()
        .unwrap();
    numbers.read(1, |_| ()).unwrap();
    numbers.read(2, |_| ()).unwrap();
    for visits in 1..=3 {
        clock.advance(SECOND / 2);
        run_until_idle();
        assert_eq!(numbers.read(1, |n| *n).unwrap(), 100 + visits - 1, "half of an interval");
        clock.advance(SECOND / 2);
        run_until_idle();
        assert_eq!(numbers.read(1, |n| *n).unwrap(), 100 + visits);
        assert_eq!(numbers.read(2, |n| *n).unwrap(), 200 + visits);
        // Visits are events: the third makes both due.
        assert_eq!(keeper.stats().stored, if visits == 3 { 2 } else { 0 });
    }
}
