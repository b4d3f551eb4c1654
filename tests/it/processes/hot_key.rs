//! One key at full speed does not age the others: H2, T13.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, Clock, InMemoryStorage, PePrototype, SafeKeeper,
    StorageCallback, StorageCallbackFactory, StorageResult, SystemClock,
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

/// A keeper whose others get their events one after the other.
struct Crowd {
    ages: Ages,
    keeper: SafeKeeper,
    counters: PePrototype<u64, u64>,
    left: BTreeMap<u64, u64>,
    sent: u64,
}

impl Crowd {
    /// With room for so many captures, if that is not the default.
    fn new(size: Option<usize>) -> Self {
        let ages = Ages::default();
        let storage = InMemoryStorage::new();
        let mut keeper = SafeKeeper::builder(storage).storage_callback_factory(ages.clone());
        if let Some(size) = size {
            keeper = keeper.storage_max_outstanding_requests(size.try_into().unwrap());
        }
        let keeper = keeper.build().unwrap();
        let config = CheckpointingConfig::builder(CheckpointingMode::Time(INTERVAL));
        let counters = keeper.prototype::<u64, u64>("counter").config(config.build().unwrap());
        let counters = counters.create(|_| 0).build().unwrap();
        let left = (0..OTHERS).map(|key| (key, ROUNDS)).collect();
        Self { ages, keeper, counters, left, sent: 0 }
    }

    /// Sends each of the others its next event whose one before is stored.
    fn send(&mut self) {
        self.left.retain(|key, left| {
            // Before the event, so that no age comes out too small.
            if self.ages.change(*key) {
                self.counters.process(*key, |count| *count += 1).unwrap();
                self.sent += 1;
                *left -= 1;
            }
            *left > 0
        });
    }

    #[track_caller]
    fn check(self, hot: u64) {
        let stats = self.keeper.stats();
        self.keeper.close(Duration::from_secs(20)).unwrap();
        let state = self.ages.0.lock().unwrap();
        let hot_stored = state.stored.get(&HOT).copied().unwrap_or(0);
        let seen = format!(
            "{hot} events of the hot key were {hot_stored} checkpoints, {} of the others; their \
             oldest change was {:?}; {stats:?}",
            self.sent, state.oldest
        );
        show(&seen);
        // Coalesced: once an interval, not once an event.
        assert!(hot > 10_000 && (2..=10).contains(&hot_stored), "{seen}");
        assert!(self.sent > OTHERS, "{seen}");
        assert!(state.oldest <= 2 * INTERVAL, "{seen}");
    }
}

#[track_caller]
fn check(sizes: &[Option<usize>]) {
    let mut crowds: Vec<_> = sizes.iter().map(|size| Crowd::new(*size)).collect();
    let hot_counters: Vec<_> = crowds.iter().map(|crowd| crowd.counters.clone()).collect();
    let clock = SystemClock::new();
    let end = INTERVAL * 4;
    let mut hot = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while clock.now().since_start() < end {
                for counters in &hot_counters {
                    for _ in 0..100 {
                        counters.process(HOT, |count| *count += 1).unwrap();
                    }
                }
                hot += 100;
            }
        });
        while clock.now().since_start() < end && crowds.iter().any(|crowd| !crowd.left.is_empty()) {
            crowds.iter_mut().for_each(Crowd::send);
            thread::park_timeout(Duration::from_millis(2));
        }
    });
    crowds.into_iter().for_each(|crowd| crowd.check(hot));
}

#[test]
fn a_hot_key_does_not_age_the_others() {
    check(&[None]);
}

#[test]
fn t13_a_hot_key_does_not_age_the_others_where_hardly_any_capture_has_room() {
    check(&[Some(1), Some(2), Some(10)]);
}
