//! Sessions: the order of a run, what it draws ahead, and what it gives back.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use checkpoint::{InMemoryStorage, PePrototype, ProcessError, SafeKeeper};
use checkpoint_tests::Quota;

/// A prototype of sums, and the keeper that it belongs to.
fn sums() -> (SafeKeeper, PePrototype<u64, u64>) {
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build().unwrap();
    let sums = keeper.prototype("sums").create(|_| 0).build().unwrap();
    (keeper, sums)
}

fn poison(sums: &PePrototype<u64, u64>, key: u64) {
    let panicked = catch_unwind(AssertUnwindSafe(|| sums.process(key, |_| panic!("planned"))));
    assert!(panicked.is_err());
}

#[test]
fn a_run_that_stops_gives_back_what_it_had_drawn() {
    let (_keeper, sums) = sums();
    poison(&sums, 5);
    let mut events = (0..40_u64).map(|key| (key, key + 1));
    let stopped = sums.session().run(&mut events, |sum, more| *sum += more).unwrap_err();
    assert!(matches!(stopped.error, ProcessError::Poisoned { .. }));
    assert_eq!((stopped.processed, stopped.event), (5, (5, 6)));
    // None is missing and none comes twice: behind the event, first what was drawn, then the rest.
    let rest: Vec<_> = stopped.behind.into_iter().chain(events).collect();
    assert_eq!(rest, (6..40).map(|key| (key, key + 1)).collect::<Vec<_>>());
    assert_eq!(sums.session().run(rest, |sum, more| *sum += more).unwrap(), 34);
    for key in (0..40).filter(|key| *key != 5) {
        assert_eq!(sums.read(key, |sum| *sum).unwrap(), key + 1);
    }
}

#[test]
fn the_events_of_a_run_are_processed_in_order() {
    let (_keeper, sums) = sums();
    let mut seen = Vec::new();
    let events: Vec<_> = (0..1000_u64).map(|i| (i * 7 % 13, i)).collect();
    sums.session().run(events, |_, i| seen.push(i)).unwrap();
    assert_eq!(seen, (0..1000).collect::<Vec<_>>());
}

#[test]
fn nothing_is_drawn_ahead_from_an_iterator_that_cannot_tell_its_length() {
    let (_keeper, sums) = sums();
    let drawn = Cell::new(0_u64);
    let events = std::iter::from_fn(|| {
        drawn.set(drawn.get() + 1);
        (drawn.get() <= 100).then(|| (drawn.get() % 10, drawn.get()))
    });
    let run = sums.session().run(events, |_, i| assert_eq!(i, drawn.get(), "drawn too early"));
    assert_eq!(run.unwrap(), 100);
}

#[test]
fn an_iterator_is_not_asked_again_after_its_end() {
    struct Once(bool);
    impl Iterator for Once {
        type Item = (u64, u64);
        fn next(&mut self) -> Option<Self::Item> {
            assert!(!self.0, "asked again");
            self.0 = true;
            None
        }
        // Wrong on purpose: a hint is a hint.
        fn size_hint(&self) -> (usize, Option<usize>) {
            (1000, None)
        }
    }
    let (_keeper, sums) = sums();
    assert_eq!(sums.session().run(Once(false), |_, _| ()).unwrap(), 0);
}

#[test]
fn sessions_and_single_events_of_several_threads_lose_no_event() {
    let (_keeper, sums) = sums();
    let events = Quota::STRESS_EVENTS.get().next_multiple_of(100);
    thread::scope(|scope| {
        for seed in 0..2 {
            let sums = &sums;
            scope.spawn(move || {
                let mut session = sums.session();
                for start in (0..events).step_by(100) {
                    let run = (start..start + 100).map(|i| ((i * 31 + seed) % 97, 1));
                    session.run(run, |sum, more| *sum += more).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for i in 0..events {
                sums.process(i % 97, |sum| *sum += 1).unwrap();
            }
        });
    });
    let total: u64 = (0..97).map(|key| sums.read(key, |sum| *sum).unwrap()).sum();
    assert_eq!(total, 3 * events);
}
