//! The end, while others go on.

use std::sync::Arc;

use super::storage::Busy;
use super::{EVER, counts, event, keeper, random_orders, start, stored};
use crate::process_error::ProcessError;
use crate::storage::InMemoryStorage;

/// Checks that exactly what was let in is stored.
fn check_stored(content: &InMemoryStorage, let_in: [u64; 3]) {
    let found = [1, 2, 3].map(|key| stored(content, key));
    assert_eq!(found, let_in, "what was let in is to be what is stored");
}

#[test]
fn what_is_let_in_while_the_keeper_is_closed_is_stored() {
    random_orders(|| {
        let content = InMemoryStorage::new();
        let keeper = keeper(Arc::new(Busy::new(content.clone())));
        let counts = counts(&keeper, 2);
        let events = {
            let counts = counts.clone();
            start(move || (0..3).filter(|_| event(&counts, 1)).count() as u64)
        };
        let session = {
            let counts = counts.clone();
            start(move || {
                let run = counts.session().run([(2, 1), (3, 1), (2, 1)], |count, n| *count += n);
                match run {
                    Ok(_) => [2, 1],
                    Err(error) => {
                        assert!(matches!(error.error, ProcessError::Closed { .. }), "{error:?}");
                        [[0, 0], [1, 0], [1, 1]][error.processed]
                    }
                }
            })
        };
        keeper.close(EVER).unwrap();
        let one = events.join().unwrap();
        let [two, three] = session.join().unwrap();
        check_stored(&content, [one, two, three]);
    });
}

#[test]
fn a_guard_that_is_out_is_waited_for() {
    random_orders(|| {
        let content = InMemoryStorage::new();
        let keeper = keeper(Arc::new(Busy::new(content.clone())));
        let counts = counts(&keeper, 1);
        let mut guard = counts.pe(1).unwrap();
        let (waiting, other) = (counts.clone(), counts.clone());
        let waits = start(move || u64::from(event(&waiting, 1)));
        let back = start(move || {
            *guard += 10;
            drop(guard);
            u64::from(event(&other, 2))
        });
        keeper.close(EVER).unwrap();
        let two = back.join().unwrap();
        let one = 10 + waits.join().unwrap();
        check_stored(&content, [one, two, 0]);
    });
}

#[test]
fn a_prototype_that_is_built_during_the_end_is_closed_or_stored() {
    random_orders(|| {
        let content = InMemoryStorage::new();
        let keeper = Arc::new(keeper(Arc::new(content.clone())));
        let building = {
            let keeper = keeper.clone();
            start(move || {
                let built = keeper.prototype::<u64, u64>("counts").create(|_| 0).build();
                let Ok(counts) = built else { return 0 };
                u64::from(event(&counts, 1))
            })
        };
        keeper.close(EVER).unwrap();
        check_stored(&content, [building.join().unwrap(), 0, 0]);
    });
}

#[test]
fn a_keeper_that_is_dropped_stores_what_it_has() {
    random_orders(|| {
        let content = InMemoryStorage::new();
        let keeper = keeper(Arc::new(Busy::new(content.clone())));
        let counts = counts(&keeper, 1000);
        let events = {
            let counts = counts.clone();
            start(move || (0..2).filter(|_| event(&counts, 1)).count() as u64)
        };
        drop(keeper);
        check_stored(&content, [events.join().unwrap(), 0, 0]);
    });
}
