//! `PositionStore`: a source that is rewound while a round begins.

use std::sync::Arc;

use super::every_order;
use crate::random::SeededRandom;
use crate::source::{PositionStore, Target};
use crate::storage::{InMemoryStorage, StateStorage};
use crate::sync::{Ordering, thread};

/// What was fed before a source was rewound is not what is fed behind it again: a round that took
/// the one for the other would say that events are stored which have only just been fed again.
#[test]
fn a_round_that_begins_behind_a_rewind_knows_nothing_of_before() {
    every_order(3, || {
        let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
        let store = PositionStore::open(&storage, Arc::new(SeededRandom::new(1))).unwrap();
        let store = Arc::new(store);
        let source = store.open_source("input").unwrap();
        source.completed.store(10, Ordering::Release);
        let round = {
            let source = source.clone();
            thread::Builder::new().spawn(move || Target::of(source)).unwrap()
        };
        store.rewind(&source, 0).unwrap();
        if let Some(target) = round.join().unwrap() {
            assert_eq!((target.safe, target.rewinds), (10, 0));
            // It is void.
            source.completed.store(20, Ordering::Release);
            assert!(store.store(vec![target]).unwrap().is_empty());
        }
    });
}
