//! Random orders of the steps of a whole keeper, its pools, and those who use it.

mod closing;
mod restoring;
mod saving;
mod storage;

use std::env;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use crate::clock::TestClock;
use crate::config::{CheckpointingConfig, CheckpointingMode};
use crate::prototype::PePrototype;
use crate::random::SeededRandom;
use crate::safe_keeper::{SafeKeeper, SafeKeeperBuilder};
use crate::storage::StateStorage;
use crate::sync::thread::{Builder, JoinHandle};

type Counts = PePrototype<u64, u64>;

/// How many tests share the orders that are to be drawn.
const SCENARIOS: usize = 9;
/// How often a thread is held up at an unlikely moment.
const DEPTH: usize = 4;
/// The time stands still unless it is moved: nothing is to depend on it.
const EVER: Duration = Duration::from_secs(3600);

fn number(variable: &str) -> usize {
    let number = env::var(variable).ok().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{variable} is no number: run tests/interleavings"))
}

/// Runs a scenario in its share of the orders: half of them with any thread as likely as another
/// after each step, half with few and far between changes.
fn random_orders(scenario: fn()) {
    let orders = number("CHECKPOINT_INTERLEAVINGS").div_ceil(2 * SCENARIOS);
    let seed = number("CHECKPOINT_SEED") as u64;
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    // All atomics are taken as sequentially consistent; the others are loom's business.
    config.silence_warnings = true;
    let random = RandomScheduler::new_from_seed(seed, orders);
    assert_eq!(Runner::new(random, config.clone()).run(scenario), orders);
    let changes = PctScheduler::new_from_seed(seed, DEPTH, orders);
    assert_eq!(Runner::new(changes, config).run(scenario), orders);
}

fn start<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    Builder::new().spawn(body).unwrap()
}

fn builder(storage: Arc<dyn StateStorage>, clock: &Arc<TestClock>) -> SafeKeeperBuilder {
    SafeKeeper::builder_over(storage).clock(clock.clone()).random(Arc::new(SeededRandom::new(1)))
}

fn keeper(storage: Arc<dyn StateStorage>) -> SafeKeeper {
    builder(storage, &Arc::new(TestClock::new())).build().unwrap()
}

/// A prototype with two shards, whose PEs are due after every so many events.
fn counts(keeper: &SafeKeeper, due_after: u64) -> Counts {
    let mode = CheckpointingMode::EventCount(NonZero::new(due_after).unwrap());
    let config = CheckpointingConfig::builder(mode).shards(2).build().unwrap();
    keeper.prototype("counts").config(config).create(|_| 0).build().unwrap()
}

/// One event of a key; whether it was let in.
fn event(counts: &Counts, key: u64) -> bool {
    match counts.process(key, |count| *count += 1) {
        Ok(()) => true,
        Err(crate::process_error::ProcessError::Closed { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// The count that is stored of a key, or zero.
fn stored(storage: &dyn StateStorage, key: u64) -> u64 {
    use crate::checkpoint_id::CheckpointId;
    use crate::record::{RecordKind, RecordView};
    use crate::storage::FetchVersion;
    use crate::storage::conformance::fetch;

    let id = CheckpointId::new("counts", key.to_be_bytes()).unwrap();
    let Some(record) = fetch(storage, &id, FetchVersion::Newest).unwrap() else { return 0 };
    let record = RecordView::parse(&record).unwrap();
    match record.header().kind {
        RecordKind::State => u64::from_le_bytes(record.payload().try_into().unwrap()),
        RecordKind::Tombstone => 0,
    }
}
