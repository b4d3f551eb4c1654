//! One key at full speed does not age the others: H2, T13.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, Clock, InMemoryStorage, SafeKeeper, StorageCallback,
    StorageCallbackFactory, StorageResult, SystemClock,
};

use crate::processes::show;

const INTERVAL: Duration = Duration::from_secs(1);
const OTHERS: u64 = 200;
const HOT: u64 = u64::MAX;
/// How often each of the others is changed.
const ROUNDS: u64 = 3;

/// When each key was changed for the first time since it was stored, and how old changes became.
#[derive(Clone, Default)]
struct Ages(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    clock: SystemClock,
    changed: BTreeMap<u64, Duration>,
    oldest: Duration,
    stored: BTreeMap<u64, u64>,
}

impl Ages {
    /// Notes a change; returns whether all before it are stored.
    fn change(&self, key: u64) -> bool {
        let mut state = self.0.lock().unwrap();
        if state.changed.contains_key(&key) {
            return false;
        }
        let now = state.clock.now().since_start();
        state.changed.insert(key, now);
        true
    }
}

impl StorageCallbackFactory for Ages {
    fn create_storage_callback(&self, _prototype: &str) -> Arc<dyn StorageCallback> {
        Arc::new(self.clone())
    }
}

impl StorageCallback for Ages {
    fn storage_operation_result(&self, result: &StorageResult<'_>) {
        let key = u64::from_be_bytes(result.id.key.try_into().unwrap());
        let mut state = self.0.lock().unwrap();
        *state.stored.entry(key).or_default() += 1;
        let now = state.clock.now().since_start();
        if let Some(changed) = state.changed.remove(&key) {
            state.oldest = state.oldest.max(now.saturating_sub(changed));
        }
    }
}

#[test]
fn a_hot_key_does_not_age_the_others() {
    let ages = Ages::default();
    let storage = InMemoryStorage::new();
    let keeper = SafeKeeper::builder(storage).storage_callback_factory(ages.clone());
    let keeper = keeper.build().unwrap();
    let config = CheckpointingConfig::builder(CheckpointingMode::Time(INTERVAL));
    let counters = keeper.prototype::<u64, u64>("counter").config(config.build().unwrap());
    let counters = counters.create(|_| 0).build().unwrap();
    let clock = SystemClock::new();
    let end = INTERVAL * 4;
    let (mut hot, mut sent) = (0_u64, 0_u64);
    thread::scope(|scope| {
        scope.spawn(|| {
            while clock.now().since_start() < end {
                for _ in 0..100 {
                    counters.process(HOT, |count| *count += 1).unwrap();
                }
                hot += 100;
            }
        });
        // Each of the others gets its next event when the one before is stored.
        let mut left: BTreeMap<u64, u64> = (0..OTHERS).map(|key| (key, ROUNDS)).collect();
        while clock.now().since_start() < end && !left.is_empty() {
            left.retain(|key, left| {
                // Before the event, so that no age comes out too small.
                if ages.change(*key) {
                    counters.process(*key, |count| *count += 1).unwrap();
                    sent += 1;
                    *left -= 1;
                }
                *left > 0
            });
            thread::park_timeout(Duration::from_millis(2));
        }
    });
    let stats = keeper.stats();
    keeper.close(Duration::from_secs(20)).unwrap();
    let state = ages.0.lock().unwrap();
    let hot_stored = state.stored.get(&HOT).copied().unwrap_or(0);
    let seen = format!(
        "{hot} events of the hot key were {hot_stored} checkpoints, {sent} of the others; their \
         oldest change was {:?}; {stats:?}",
        state.oldest
    );
    show(&seen);
    // Coalesced: once an interval, not once an event.
    assert!(hot > 10_000 && (2..=10).contains(&hot_stored), "{seen}");
    assert!(sent > OTHERS, "{seen}");
    assert!(state.oldest <= 2 * INTERVAL, "{seen}");
}
