//! Saves, their answers, and what bounds them.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use super::storage::Busy;
use super::{EVER, builder, counts, event, keeper, random_orders, start, stored};
use crate::clock::TestClock;
use crate::safe_keeper::Overflow;
use crate::storage::InMemoryStorage;
use crate::sync::thread::yield_now;
use crate::sync::{AtomicBool, Ordering};

#[test]
fn a_flush_ends_when_what_was_before_it_is_stored() {
    random_orders(|| {
        let content = InMemoryStorage::new();
        let keeper = Arc::new(keeper(Arc::new(Busy::new(content.clone()))));
        let counts = counts(&keeper, 1000);
        let threads = [1, 2].map(|key| {
            let (keeper, counts, content) = (keeper.clone(), counts.clone(), content.clone());
            start(move || {
                for n in 1..=2 {
                    assert!(event(&counts, key));
                    keeper.flush(EVER).unwrap();
                    assert!(stored(&content, key) >= n, "a flush overlooked a change");
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        keeper.close(EVER).unwrap();
    });
}

#[test]
fn each_request_is_answered_once_what_it_asked_for_is_stored() {
    random_orders(|| {
        let content = InMemoryStorage::new();
        let keeper = keeper(Arc::new(Busy::new(content.clone())));
        let counts = counts(&keeper, 3);
        let threads = [1, 1].map(|key| {
            let (counts, content) = (counts.clone(), content.clone());
            start(move || {
                let count = counts.process(key, |count| {
                    *count += 1;
                    *count
                });
                counts.checkpoint(key).unwrap().wait().unwrap();
                assert!(stored(&content, key) >= count.unwrap());
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        keeper.close(EVER).unwrap();
        assert_eq!(stored(&content, 1), 2);
    });
}

#[test]
fn a_storage_that_loses_answers_loses_no_state() {
    random_orders(|| {
        let content = InMemoryStorage::new();
        let clock = Arc::new(TestClock::new());
        let storage = Arc::new(Busy::new(content.clone()).failing(3));
        let keeper = builder(storage, &clock).build().unwrap();
        let counts = counts(&keeper, 1);
        // What failed is tried again after a while.
        let over = Arc::new(AtomicBool::new(false));
        let time = {
            let (clock, over) = (clock.clone(), over.clone());
            start(move || {
                while !over.load(Ordering::SeqCst) {
                    clock.advance(Duration::from_millis(100));
                    yield_now();
                }
            })
        };
        let events = {
            let counts = counts.clone();
            start(move || assert!(event(&counts, 1) && event(&counts, 2)))
        };
        assert!(event(&counts, 2));
        events.join().unwrap();
        keeper.close(EVER).unwrap();
        over.store(true, Ordering::SeqCst);
        time.join().unwrap();
        assert_eq!([1, 2].map(|key| stored(&content, key)), [1, 2]);
    });
}

#[test]
fn who_helps_or_waits_because_too_much_is_due_goes_on() {
    random_orders(|| {
        for overflow in [Overflow::Block, Overflow::CallerRuns] {
            let content = InMemoryStorage::new();
            let keeper = builder(Arc::new(Busy::new(content.clone())), &Arc::default())
                .serialization_max_outstanding_requests(NonZero::<usize>::MIN)
                .storage_max_outstanding_requests(NonZero::<usize>::MIN)
                .serialization_overflow(overflow)
                .build()
                .unwrap();
            let counts = counts(&keeper, 1);
            let threads = [1, 2].map(|key| {
                let counts = counts.clone();
                start(move || assert!(event(&counts, key) && event(&counts, 3)))
            });
            for thread in threads {
                thread.join().unwrap();
            }
            keeper.close(EVER).unwrap();
            assert_eq!([1, 2, 3].map(|key| stored(&content, key)), [1, 1, 2], "{overflow:?}");
        }
    });
}
