//! What one history is about: settings, modes and habits, drawn from the seed.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, Clock, CompareAndSet, OnExposed, OnFull, OnPanic,
    OnRestoreError, Overflow, RandomSource, SafeKeeper, SafeKeeperBuilder, SeededRandom,
    StateStorage, StorageCallbackFactory, ThreadStart,
};

use super::dice::Dice;

#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) steps: u64,
    pub(super) keys: u64,
    pub(super) modes: [CheckpointingMode; 2],
    pub(super) reloads: [bool; 2],
    pub(super) capacity: [Option<usize>; 2],
    rejects_when_full: bool,
    pub(super) exposure_max: Option<Duration>,
    pub(super) exposed_events_max: Option<NonZeroU32>,
    pub(super) rejects_when_exposed: bool,
    idle_max: Option<Duration>,
    pub(super) on_restore_error: [OnRestoreError; 2],
    pub(super) expire_after: Option<Duration>,
    pub(super) on_time: Option<Duration>,
    pub(super) quarantined_max: usize,
    pub(super) compare_and_set: CompareAndSet,
    pub(super) older_versions_max: usize,
    pub(super) starts_fail_percent: u64,
    replacements_max: usize,
    serialization_overflow: Overflow,
    pub(super) wait_max: Duration,
    shards: usize,
    partitions: u32,
    storage_threads: usize,
    pub(super) captures_max: usize,
    pub(super) captured_bytes_max: usize,
    due_max: usize,
    caller_runs: bool,
    pub(super) attempts_max: u32,
    fetch_queue_max: usize,
    fetch_overflow: Overflow,
    pub(super) answers_inline: bool,
    pub(super) factory_panics_percent: u64,
    pub(super) panics_percent: u64,
    pub(super) traps_percent: u64,
    pub(super) large_percent: u64,
    /// The most bytes of a state that is not large.
    pub(super) filler_bytes_max: usize,
    pub(super) bad_weather_percent: u64,
    /// How many of a hundred steps are the keeper's.
    pub(super) keeper_percent: u64,
}

/// The longest that a fetch may take.
pub(super) const FETCH_WAIT_MAX: Duration = Duration::from_millis(400);
/// For how long fetching is switched off after too many failures.
pub(super) const FETCHING_PAUSE: Duration = Duration::from_millis(700);
/// The longest wait between two attempts to save.
pub(super) const BACKOFF_MAX: Duration = Duration::from_millis(200);

/// `Previous` needs a storage that keeps versions.
fn restore_policy(dice: &mut Dice, older_versions_max: usize) -> OnRestoreError {
    match dice.below(6) {
        0 => OnRestoreError::StartEmpty,
        1 if older_versions_max > 0 => OnRestoreError::Previous,
        _ => OnRestoreError::Fail,
    }
}

fn mode(dice: &mut Dice) -> CheckpointingMode {
    let event_count = NonZeroU64::new(dice.between(1, 5)).unwrap();
    let interval = Duration::from_millis(dice.pick(&[1, 7, 50, 300, 1000]));
    match dice.below(5) {
        0 => CheckpointingMode::None,
        1 | 2 => CheckpointingMode::EventCount(event_count),
        3 => CheckpointingMode::Time(interval),
        _ => CheckpointingMode::EventCountOrTime { event_count, interval },
    }
}

/// From a sequence of its own: what else a seed stands for is as it was before there was this.
pub(super) fn exposed_events_max(seed: u64) -> Option<NonZeroU32> {
    let mut dice = Dice::new(!seed);
    let events_max = dice.pick(&[1, 2, 3, 7]);
    dice.chance(20).then_some(events_max).and_then(NonZeroU32::new)
}

impl Profile {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let often = |dice: &mut Dice, percent| if dice.chance(40) { percent } else { 0 };
        let overflows = [Overflow::Reject, Overflow::CallerRuns, Overflow::Block];
        let keeps = dice.pick(&[0, 2, 2]);
        Self {
            steps: dice.pick(&[60, 150, 300]),
            keys: dice.between(1, 6),
            modes: [mode(dice), mode(dice)],
            reloads: [dice.chance(30), dice.chance(30)],
            capacity: [0, 1].map(|_| {
                let capacity = usize::try_from(dice.between(1, 4)).unwrap();
                dice.chance(25).then_some(capacity)
            }),
            rejects_when_full: dice.chance(50),
            on_restore_error: [restore_policy(dice, keeps), restore_policy(dice, keeps)],
            expire_after: dice.chance(20).then(|| Duration::from_secs(dice.pick(&[10, 3600]))),
            on_time: dice.chance(15).then(|| Duration::from_millis(dice.pick(&[3, 200]))),
            quarantined_max: dice.pick(&[1, 1000, 1000, 1000]),
            compare_and_set: dice.pick(&[
                CompareAndSet::None,
                CompareAndSet::PerKey,
                CompareAndSet::PerPartition,
                CompareAndSet::PerPartition,
            ]),
            older_versions_max: keeps,
            starts_fail_percent: often(dice, 20),
            replacements_max: dice.pick(&[0, 1, 3]),
            serialization_overflow: dice.pick(&[
                Overflow::Reject,
                Overflow::Block,
                Overflow::CallerRuns,
            ]),
            exposure_max: dice.chance(20).then(|| Duration::from_millis(dice.pick(&[20, 300]))),
            exposed_events_max: None,
            rejects_when_exposed: dice.chance(50),
            idle_max: dice.chance(25).then(|| Duration::from_millis(dice.pick(&[20, 200]))),
            wait_max: Duration::from_millis(dice.pick(&[50, 500])),
            shards: dice.pick(&[1, 2]),
            partitions: u32::try_from(dice.between(1, 3)).unwrap(),
            storage_threads: dice.pick(&[1, 2, 3]),
            captures_max: dice.pick(&[1, 2, 4, 8192]),
            captured_bytes_max: dice.pick(&[1, 1000, 100_000, 64 << 20]),
            due_max: dice.pick(&[1, 3, 1000]),
            caller_runs: dice.chance(30),
            attempts_max: dice.pick(&[1, 2, 3, 8]),
            fetch_queue_max: dice.pick(&[1, 2, 100]),
            fetch_overflow: dice.pick(&overflows),
            answers_inline: dice.chance(30),
            factory_panics_percent: often(dice, 5),
            panics_percent: often(dice, 8),
            traps_percent: often(dice, 8),
            large_percent: often(dice, 15),
            filler_bytes_max: 40,
            bad_weather_percent: dice.pick(&[0, 50, 80]),
            keeper_percent: dice.pick(&[20, 50, 70]),
        }
    }

    /// The same over a storage of the product: what goes wrong is then the disk's affair.
    pub(super) fn on_disk(self, older_versions_max: usize) -> Self {
        Self {
            // Nothing is damaged, so that nothing steps in for it.
            on_restore_error: self.on_restore_error.map(|policy| match policy {
                OnRestoreError::Previous => OnRestoreError::Fail,
                other => other,
            }),
            // Who takes over waits for the lock of the store.
            compare_and_set: CompareAndSet::None,
            older_versions_max,
            starts_fail_percent: 0,
            // Some sectors, and no more: all that was written is kept many times.
            large_percent: 0,
            filler_bytes_max: 2000,
            ..self
        }
    }

    pub(super) fn config(&self, prototype: usize) -> CheckpointingConfig {
        let mut config = CheckpointingConfig::builder(self.modes[prototype])
            .shards(self.shards)
            .on_restore_error(self.on_restore_error[prototype])
            .quarantined_max(self.quarantined_max)
            .wait_max(self.wait_max);
        if self.reloads[prototype] {
            config = config.on_panic(OnPanic::Reload);
        }
        if let Some(capacity) = self.capacity[prototype].and_then(NonZeroUsize::new) {
            config = config.capacity(capacity);
        }
        if self.rejects_when_full {
            config = config.on_full(OnFull::Reject);
        }
        if let Some(exposure_max) = self.exposure_max {
            config = config.exposure_max(exposure_max);
        }
        if let Some(events_max) = self.exposed_events_max {
            config = config.exposed_events_max(events_max);
        }
        if self.rejects_when_exposed {
            config = config.on_exposed(OnExposed::Reject);
        }
        if let Some(idle_max) = self.idle_max {
            config = config.idle_max(idle_max);
        }
        if let Some(expire_after) = self.expire_after {
            config = config.expire_after(expire_after);
        }
        config.build().unwrap()
    }

    pub(super) fn keeper(
        &self,
        storage: Arc<dyn StateStorage>,
        clock: Arc<dyn Clock>,
        seed: u64,
        callbacks: impl StorageCallbackFactory + 'static,
        threads: Arc<dyn ThreadStart>,
    ) -> SafeKeeperBuilder {
        let random: Arc<dyn RandomSource> = Arc::new(SeededRandom::new(seed));
        let count = |n| NonZeroUsize::new(n).unwrap();
        SafeKeeper::builder_over(storage)
            .stepped()
            .clock(clock)
            .random(random)
            .storage_callback_factory(callbacks)
            .partitions(NonZeroU32::new(self.partitions).unwrap())
            .storage_max_threads(count(self.storage_threads))
            .storage_max_outstanding_requests(count(self.captures_max))
            .captured_bytes_max(count(self.captured_bytes_max))
            .serialization_max_outstanding_requests(count(self.due_max))
            .serialization_overflow(self.serialization_overflow)
            .storage_overflow(if self.caller_runs { Overflow::CallerRuns } else { Overflow::Block })
            .save_attempts_max(NonZeroU32::new(self.attempts_max).unwrap())
            .save_backoff_max(BACKOFF_MAX)
            .fetching_max_wait(FETCH_WAIT_MAX)
            .fetching_queue_size(count(self.fetch_queue_max))
            .fetching_overflow(self.fetch_overflow)
            .fetching_max_consecutive_failures_before_disabling(NonZeroU32::new(3).unwrap())
            .fetching_disabled_duration(FETCHING_PAUSE)
            .fetching_replacement_threads_max(self.replacements_max)
            .threads(threads)
    }
}
