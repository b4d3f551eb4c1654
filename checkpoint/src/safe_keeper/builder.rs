//! Builds keepers.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::callback::{LoggingStorageCallbackFactory, StorageCallbackFactory};
use crate::capture::CaptureLimits;
use crate::clock::{Alarm, Clock, system_clock};
use crate::config::{InvalidConfig, check_compression};
use crate::partition::{Partitioner, Partitioning, Sequences};
use crate::random::{RandomSource, SystemRandom};
use crate::record::Compression;
#[cfg(feature = "encryption")]
use crate::record::EncryptionKeys;
use crate::safe_keeper::SafeKeeper;
use crate::safe_keeper::action::Pool;
use crate::safe_keeper::breaker::FetchBreaker;
use crate::safe_keeper::core::{Core, CoreLimits};
use crate::safe_keeper::fetches::Fetches;
use crate::safe_keeper::pools::Pools;
use crate::safe_keeper::retry::RetryPolicy;
use crate::safe_keeper::saving_health::{OnSavingState, SavingState};
use crate::safe_keeper::settings::{Overflow, SafeKeeperSettings};
use crate::safe_keeper::shared::{Shared, Wakers};
use crate::safe_keeper::stats::Counters;
use crate::source::PositionStore;
use crate::storage::{StateStorage, StorageError};
use crate::store_metadata::{PARTITIONS, Recorded, record_once};
use crate::sync::{AtomicBool, Condvar, Mutex};
use crate::thread_start::{SystemThreads, ThreadStart};

/// Builds a [`SafeKeeper`].
#[must_use = "a builder does nothing before `build`"]
pub struct SafeKeeperBuilder {
    storage: Arc<dyn StateStorage>,
    settings: SafeKeeperSettings,
    // None: the log.
    callbacks: Option<Arc<dyn StorageCallbackFactory>>,
    on_saving_state: OnSavingState,
    partitioning: Partitioning,
    compression: Compression,
    #[cfg(feature = "encryption")]
    keys: Option<EncryptionKeys>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
    threads: Arc<dyn ThreadStart>,
    // The keeper has no pools and is stepped by hand.
    is_stepped: bool,
}

/// Why a keeper could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting is outside its limits.
    #[error("cannot build a keeper with these settings")]
    Settings(#[source] InvalidConfig),
    /// The storage failed.
    #[error("cannot build a keeper over this storage")]
    Storage(#[source] StorageError),
    /// The store's keys are divided among its partitions in another way.
    #[error(
        "cannot build a keeper over this store: its keys are divided among partitions as \
         \"{stored}\", and the settings ask for \"{wanted}\"; use the store's number and \
         partitioner, or another store"
    )]
    Partitions {
        /// How they are divided in the store: the number, and the partitioner's name.
        stored: String,
        /// How they would be by the settings.
        wanted: String,
    },
    /// Two keys have the same number.
    #[cfg(feature = "encryption")]
    #[error("cannot build a keeper: two of its keys have the number {key}")]
    KeyTwice {
        /// The number.
        key: u32,
    },
    /// The store was written with another key of that number: nothing could be restored with this
    /// one, and what was stored with it could not be told from the rest.
    #[cfg(feature = "encryption")]
    #[error("cannot build a keeper over this store: it was written with another key {key}")]
    WrongKey {
        /// The number.
        key: u32,
    },
    /// The system gives no threads.
    #[error("cannot build a keeper: the system did not start its threads")]
    Threads,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($type:ty) $(=> $field:ident, $convert:expr)?;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, value: $type) -> Self {
            setters!(@set self, value, $name $(=> $field, $convert)?);
            self
        }
    )*};
    (@set $self:ident, $value:ident, $name:ident) => { $self.settings.$name = $value; };
    (@set $self:ident, $value:ident, $name:ident => $field:ident, $convert:expr) => {
        $self.settings.$field = $convert($value);
    };
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl SafeKeeperBuilder {
    pub(super) fn new(storage: Arc<dyn StateStorage>) -> Self {
        Self {
            storage,
            settings: SafeKeeperSettings::default(),
            callbacks: None,
            on_saving_state: Arc::new(|_| {}),
            partitioning: Partitioning::XxHash,
            compression: Compression::None,
            #[cfg(feature = "encryption")]
            keys: None,
            clock: system_clock(),
            random: Arc::new(SystemRandom::new()),
            threads: Arc::new(SystemThreads),
            is_stepped: false,
        }
    }

    /// Sets all settings at once, for instance those of a file. Setters that follow change single
    /// ones.
    pub fn settings(mut self, settings: SafeKeeperSettings) -> Self {
        self.settings = settings;
        self
    }

    setters! {
        /// Sets [`SafeKeeperSettings::storage_max_threads`].
        storage_max_threads(NonZeroUsize);
        /// Sets [`SafeKeeperSettings::storage_max_outstanding_requests`].
        storage_max_outstanding_requests(NonZeroUsize);
        /// Sets [`SafeKeeperSettings::storage_overflow`].
        storage_overflow(Overflow);
        /// Sets [`SafeKeeperSettings::captured_bytes_max`].
        captured_bytes_max(NonZeroUsize);
        /// Sets [`SafeKeeperSettings::serialization_max_threads`].
        serialization_max_threads(NonZeroUsize);
        /// Sets [`SafeKeeperSettings::serialization_max_outstanding_requests`].
        serialization_max_outstanding_requests(NonZeroUsize);
        /// Sets [`SafeKeeperSettings::serialization_overflow`].
        serialization_overflow(Overflow);
        /// Sets [`SafeKeeperSettings::max_serialization_lock_time_ms`].
        max_serialization_lock_time(Duration) => max_serialization_lock_time_ms, millis;
        /// Sets [`SafeKeeperSettings::fetching_max_threads`].
        fetching_max_threads(NonZeroUsize);
        /// Sets [`SafeKeeperSettings::fetching_replacement_threads_max`].
        fetching_replacement_threads_max(usize);
        /// Sets [`SafeKeeperSettings::fetching_max_wait_ms`].
        fetching_max_wait(Duration) => fetching_max_wait_ms, millis;
        /// Sets [`SafeKeeperSettings::fetching_queue_size`].
        fetching_queue_size(NonZeroUsize);
        /// Sets [`SafeKeeperSettings::fetching_overflow`].
        fetching_overflow(Overflow);
        /// Sets [`SafeKeeperSettings::fetching_max_consecutive_failures_before_disabling`].
        fetching_max_consecutive_failures_before_disabling(NonZeroU32);
        /// Sets [`SafeKeeperSettings::fetching_disabled_duration_ms`].
        fetching_disabled_duration(Duration) => fetching_disabled_duration_ms, millis;
        /// Sets [`SafeKeeperSettings::save_attempts_max`].
        save_attempts_max(NonZeroU32);
        /// Sets [`SafeKeeperSettings::save_backoff_min_ms`].
        save_backoff_min(Duration) => save_backoff_min_ms, millis;
        /// Sets [`SafeKeeperSettings::save_backoff_max_ms`].
        save_backoff_max(Duration) => save_backoff_max_ms, millis;
        /// Sets [`SafeKeeperSettings::safe_position_interval_ms`].
        safe_position_interval(Duration) => safe_position_interval_ms, millis;
        /// Sets [`SafeKeeperSettings::overflow_wait_max_ms`].
        overflow_wait_max(Duration) => overflow_wait_max_ms, millis;
        /// Sets [`SafeKeeperSettings::partitions`].
        partitions(NonZeroU32);
        /// Sets [`SafeKeeperSettings::close_on_drop_ms`].
        close_on_drop(Duration) => close_on_drop_ms, millis;
        /// Sets [`SafeKeeperSettings::log_keys`].
        log_keys(bool);
    }

    /// Sets who is told of the results of storage operations. Default: the log.
    pub fn storage_callback_factory(
        mut self,
        factory: impl StorageCallbackFactory + 'static,
    ) -> Self {
        self.callbacks = Some(Arc::new(factory));
        self
    }

    /// Sets what is called when the storage begins to fail, and when it stores again. Default:
    /// nothing; the log tells both, and [`KeeperStats::saving`](crate::KeeperStats::saving) says
    /// how it is now.
    ///
    /// For what concerns the program as a whole, such as an alarm or a health check: a
    /// [storage callback](crate::StorageCallback) is told of a capture only when it was given up,
    /// which takes much longer. Called from the threads of the storage pool, without any lock held,
    /// by one at a time and in order, once for each change; what has changed back before it could
    /// be told is left out. It must not wait, as a storage callback must not. A panic is caught and
    /// counted.
    pub fn on_saving_state(mut self, told: impl Fn(SavingState) + Send + Sync + 'static) -> Self {
        self.on_saving_state = Arc::new(told);
        self
    }

    /// Sets how keys are divided among partitions. Recorded with the store.
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.partitioning = Partitioning::Custom(Arc::new(partitioner));
        self
    }

    /// Sets how states are compressed before they are stored, where a prototype's
    /// [configuration](crate::CheckpointingConfigBuilder::compression) says nothing else. Default:
    /// not at all.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets the keys that states are encrypted with before they are stored. Default: they are not.
    ///
    /// Encrypted is the state; the rest of a record is not, but is authenticated with it: the names
    /// of prototypes, the keys of PEs, numbers and times. Nor are the names of files, what a store
    /// knows of itself (but for dictionaries), and the marks of removals. Who can write to the
    /// store cannot change an encrypted state unnoticed; he can remove it, put back an older one,
    /// or one of another store under the same key, and, unless the keys
    /// [refuse it](EncryptionKeys::refusing_unencrypted), one of his own that is not encrypted.
    #[cfg(feature = "encryption")]
    pub fn encryption(mut self, keys: EncryptionKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sets the clock. Default: the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of randomness. Default: the system's.
    pub fn random(mut self, random: Arc<dyn RandomSource>) -> Self {
        self.random = random;
        self
    }

    /// Sets who starts threads. Default: the system.
    pub fn threads(mut self, threads: Arc<dyn ThreadStart>) -> Self {
        self.threads = threads;
        self
    }

    /// Makes a keeper without threads: it does nothing but what [`SafeKeeper::step`] makes it do.
    /// For tests: the same calls lead to the same history. Only where fetches hang it asks
    /// [`threads`](Self::threads) for others.
    #[cfg(feature = "test-util")]
    pub fn stepped(mut self) -> Self {
        self.is_stepped = true;
        self
    }

    /// Opens the store's partitions and starts the threads.
    ///
    /// # Errors
    /// A setting is outside its limits, the store cannot be opened for writing, its keys are
    /// divided among partitions in another way, or the system gives no threads.
    pub fn build(self) -> Result<SafeKeeper, BuildError> {
        let Self { storage, settings, callbacks, partitioning, clock, random, threads, .. } = self;
        settings.check().map_err(BuildError::Settings)?;
        check_compression(self.compression).map_err(BuildError::Settings)?;
        #[cfg(feature = "encryption")]
        check_keys(&*storage, self.keys.as_ref())?;
        check_partitions(&*storage, &settings, &partitioning)?;
        let sequences = Arc::new(Sequences::new(settings.partitions));
        for partition in 0..settings.partitions.get() {
            let epoch = storage.open_epoch(partition).map_err(BuildError::Storage)?;
            sequences.start(partition, epoch);
        }
        let positions = PositionStore::open(&storage, random.clone());
        let positions = Arc::new(positions.map_err(BuildError::Storage)?);
        let core = Core::new(core_limits(&settings), fetches(&settings));
        let retry = RetryPolicy {
            attempts_max: settings.save_attempts_max.get(),
            backoff_min: Duration::from_millis(settings.save_backoff_min_ms),
            backoff_max: Duration::from_millis(settings.save_backoff_max_ms),
        };
        let callbacks = callbacks.unwrap_or_else(|| {
            Arc::new(LoggingStorageCallbackFactory::new().log_keys(settings.log_keys))
        });
        let has_threads = !self.is_stepped;
        let shared = Arc::new_cyclic(|me| Shared {
            me: me.clone(),
            core: Mutex::new(core),
            wakers: Wakers::default(),
            relief: Condvar::new(),
            fetch_room: Condvar::new(),
            settings,
            retry,
            clock,
            random,
            threads,
            storage: Mutex::new(Some(storage)),
            positions,
            sequences,
            partitioning,
            compression: self.compression,
            #[cfg(feature = "encryption")]
            keys: self.keys,
            callbacks,
            on_saving_state: self.on_saving_state,
            prototypes: Mutex::default(),
            closing: AtomicBool::new(false),
            counters: Counters::default(),
            due: Arc::default(),
            pools: Mutex::new(Pools::default()),
        });
        let alarm: Arc<dyn Alarm> = shared.clone();
        shared.clock.watch(Arc::downgrade(&alarm));
        if has_threads && !start_threads(&shared) {
            return Err(BuildError::Threads);
        }
        Ok(SafeKeeper::new(shared, has_threads))
    }
}

fn check_partitions(
    storage: &dyn StateStorage,
    settings: &SafeKeeperSettings,
    partitioning: &Partitioning,
) -> Result<(), BuildError> {
    let wanted = format!("{} {}", settings.partitions, partitioning.name());
    let recorded = record_once(storage, PARTITIONS, wanted.as_bytes());
    match recorded.map_err(BuildError::Storage)? {
        Recorded::AsWanted => Ok(()),
        Recorded::Other(stored) => {
            let stored = String::from_utf8_lossy(&stored).into_owned();
            Err(BuildError::Partitions { stored, wanted })
        }
    }
}

#[cfg(feature = "encryption")]
fn check_keys(storage: &dyn StateStorage, keys: Option<&EncryptionKeys>) -> Result<(), BuildError> {
    use crate::store_metadata::{KeyMismatch, check_keys};

    let Some(keys) = keys else { return Ok(()) };
    check_keys(storage, keys).map_err(BuildError::Storage)?.map_err(|mismatch| match mismatch {
        KeyMismatch::Twice(key) => BuildError::KeyTwice { key },
        KeyMismatch::Other(key) => BuildError::WrongKey { key },
    })
}

fn core_limits(settings: &SafeKeeperSettings) -> CoreLimits {
    let captures_max = settings.storage_max_outstanding_requests.get();
    let bytes_max = settings.captured_bytes_max.get();
    let capture = CaptureLimits {
        captures_max: batch_captures_max(captures_max, settings.storage_max_threads.get()),
        bytes_max: CaptureLimits::default().bytes_max.min(bytes_max),
        lock_time: Duration::from_micros(settings.serialization_lock_hold_us),
        lock_wait: Duration::from_millis(settings.max_serialization_lock_time_ms),
    };
    CoreLimits {
        storage_threads: settings.storage_max_threads.get(),
        serialization_threads: settings.serialization_max_threads.get(),
        captures_max,
        bytes_max,
        storage_overflow: settings.storage_overflow,
        round_interval: settings.safe_position_interval(),
        capture,
    }
}

/// How many captures a batch takes, where so many may be in flight: so few that one batch is
/// captured while each thread saves another, but not so few that each costs a sync.
fn batch_captures_max(captures_max: usize, storage_threads: usize) -> usize {
    let share = (captures_max / (storage_threads + 1)).max(1024);
    CaptureLimits::default().captures_max.min(share).min(captures_max)
}

fn fetches(settings: &SafeKeeperSettings) -> Fetches {
    let breaker = FetchBreaker::new(
        settings.fetching_max_consecutive_failures_before_disabling,
        Duration::from_millis(settings.fetching_disabled_duration_ms),
    );
    Fetches::new(
        settings.fetching_queue_size,
        settings.fetching_max_threads,
        settings.fetching_replacement_threads_max,
        (settings.fetching_max_wait(), settings.fetching_hung_after()),
        breaker,
    )
}

/// Starts the threads; if the system does not give each pool one, none is left.
fn start_threads(shared: &Arc<Shared>) -> bool {
    let settings = &shared.settings;
    let wanted = [
        (Pool::Serialization, settings.serialization_max_threads.get()),
        (Pool::Storage, settings.storage_max_threads.get()),
        (Pool::Fetching, settings.fetching_max_threads.get()),
        (Pool::Timing, 1),
    ];
    let mut complete = true;
    for (pool, count) in wanted {
        let mut pools = shared.pools.lock();
        for _ in 0..count {
            pools.start(shared, pool);
        }
        complete &= pools.count(pool) > 0;
    }
    if !complete {
        shared.core.lock().stop(true);
        shared.wakers.wake_all();
        for thread in shared.pools.lock().take() {
            // A thread of a pool that had nothing to do cannot have panicked.
            drop(thread.join());
        }
    }
    complete
}

impl fmt::Debug for SafeKeeperBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafeKeeperBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
