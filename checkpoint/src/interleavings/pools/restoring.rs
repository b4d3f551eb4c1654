//! PEs that come and go.

use std::sync::Arc;

use super::storage::Busy;
use super::{EVER, counts, event, keeper, random_orders, start, stored};
use crate::prototype::Eviction;
use crate::storage::InMemoryStorage;

#[test]
fn nothing_is_lost_by_leaving_and_coming_back() {
    random_orders(|| {
        let content = InMemoryStorage::new();
        let first = keeper(Arc::new(content.clone()));
        assert!(event(&counts(&first, 1), 1));
        first.close(EVER).unwrap();
        let keeper = keeper(Arc::new(Busy::new(content.clone())));
        let counts = counts(&keeper, 2);
        let threads = [1, 1].map(|key| {
            let counts = counts.clone();
            start(move || assert!(event(&counts, key) && event(&counts, 2)))
        });
        let evicts = {
            let counts = counts.clone();
            start(move || {
                for _ in 0..2 {
                    let eviction = counts.evict(1).unwrap();
                    assert!(!matches!(eviction, Eviction::Refused), "{eviction:?}");
                }
            })
        };
        for thread in threads {
            thread.join().unwrap();
        }
        evicts.join().unwrap();
        keeper.close(EVER).unwrap();
        assert_eq!([1, 2].map(|key| stored(&content, key)), [3, 2]);
    });
}
