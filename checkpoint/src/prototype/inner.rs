//! What all handles of a prototype share.

use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

use crate::checkpoint_id::{CheckpointId, PROTOTYPE_NAME_BYTES_MAX};
use crate::clock::{Clock, Timestamp};
use crate::config::CheckpointingConfig;
use crate::framework::{CheckpointingFramework, Registration};
use crate::partition::Partitioning;
use crate::process_error::ProcessError;
use crate::prototype::async_wait::AsyncWaits;
use crate::prototype::entry::Triggers;
use crate::prototype::gate::Gate;
use crate::prototype::hooks::Hooks;
use crate::prototype::key::{Key, KeyBytes};
use crate::prototype::restore::Unreadable;
use crate::prototype::shard::{Room, Shard};
use crate::prototype_index::PrototypeIndex;
use crate::record::Sealing;
use crate::state::{SchemaDescription, StateLimits};
use crate::storage::StateStorage;
use crate::sync::{AtomicU32, AtomicUsize, Mutex, Ordering};

pub(super) struct Inner<K, P> {
    pub(super) shards: Box<[Shard<K, P>]>,
    shards_per_partition: usize,
    partitions: NonZeroU32,
    partitioning: Partitioning,
    hasher: SeedableRandomState,
    pub(super) triggers: Triggers,
    pub(super) gate: Gate,
    /// Threads that wait for a shard.
    pub(super) waiters: AtomicU32,
    /// See [`Inner::coarse_now`].
    pub(super) coarse: AtomicU32,
    /// Whether the framework looks after shards with mail.
    pub(super) attended: bool,

    pub(super) name: Arc<str>,
    pub(super) index: PrototypeIndex,
    pub(super) framework: Arc<dyn CheckpointingFramework>,
    pub(super) registration: Registration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: CheckpointingConfig,
    pub(super) limits: StateLimits,
    pub(super) sealing: Arc<Sealing>,
    /// The same if it does anything to what is stored.
    pub(super) seals: Option<Arc<Sealing>>,
    pub(super) schema: SchemaDescription,
    pub(super) fingerprint: u64,
    pub(super) factory: Box<dyn Fn(&K) -> P + Send + Sync>,
    pub(super) hooks: Hooks<K, P>,
    pub(super) unreadable: Unreadable,
    /// Entries of all shards, reserved before they are made; kept only if there is a capacity.
    pub(super) occupied: AtomicUsize,
    pub(super) room: Mutex<Option<Arc<Room>>>,
    pub(super) async_waits: Arc<Mutex<AsyncWaits>>,
}

/// The step of the coarse time.
const COARSE_STEP: Duration = Duration::from_millis(10);

/// Where a key belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) hash: u64,
}

/// What a prototype is made of, before it is registered.
pub(super) struct Parts<K, P> {
    pub(super) name: Arc<str>,
    pub(super) framework: Arc<dyn CheckpointingFramework>,
    pub(super) config: CheckpointingConfig,
    pub(super) sealing: Arc<Sealing>,
    pub(super) schema: SchemaDescription,
    pub(super) factory: Box<dyn Fn(&K) -> P + Send + Sync>,
    pub(super) hooks: Hooks<K, P>,
}

impl<K, P> Inner<K, P> {
    pub(super) fn new(parts: Parts<K, P>, registration: Registration) -> Self {
        let Parts { name, framework, config, sealing, schema, factory, hooks } = parts;
        debug_assert!(name.len() <= PROTOTYPE_NAME_BYTES_MAX, "the name was checked");
        let triggers = Triggers {
            due_after: match config.mode().event_count() {
                Some(n) if registration.stores => u32::try_from(n.get()).unwrap_or(u32::MAX),
                _ => u32::MAX,
            },
            due_by: config.due_by().unwrap_or(u32::MAX),
            exposed_events_max: match registration.stores {
                true => config.exposed_events_max().map(NonZeroU32::get),
                false => None,
            },
            interval: config.due_within(),
            stores: registration.stores,
            tracks_recency: config.capacity().is_some() || config.idle_max().is_some(),
        };
        let partitions = registration.sequences.partitions();
        let shards_per_partition = config.shards();
        let shard = |index| {
            // The number of partitions fits, because the index is below it times the shards of
            // each.
            let partition = u32::try_from(index / shards_per_partition).unwrap_or(u32::MAX);
            Shard::new(index, partition, triggers)
        };
        let shard_count = shards_per_partition * partitions.get() as usize;
        let random = &registration.random;
        let limits = StateLimits::default();
        let state_bytes_max = usize::try_from(config.state_bytes_max()).unwrap_or(usize::MAX);
        // A state may need more memory than it has bytes; the default allows for four times as
        // much.
        let memory_bytes_max = limits.memory_bytes_max().max(state_bytes_max.saturating_mul(4));
        Self {
            shards: (0..shard_count).map(shard).collect(),
            shards_per_partition,
            partitions,
            partitioning: registration.partitioning.clone(),
            hasher: SeedableRandomState::with_seed(random.next_u64(), SharedSeed::global_fixed()),
            triggers,
            gate: Gate::default(),
            waiters: AtomicU32::new(0),
            coarse: AtomicU32::new(coarse(registration.clock.now())),
            attended: registration.stores,
            name,
            index: registration.index,
            framework,
            clock: registration.clock.clone(),
            limits: limits
                .with_state_bytes_max(state_bytes_max)
                .with_memory_bytes_max(memory_bytes_max),
            seals: (!sealing.seals_nothing()).then(|| sealing.clone()),
            sealing,
            fingerprint: schema.fingerprint(),
            schema,
            factory,
            hooks,
            unreadable: Unreadable::default(),
            occupied: AtomicUsize::new(0),
            room: Mutex::new(None),
            async_waits: Arc::default(),
            config,
            registration,
        }
    }

    #[inline(always)]
    pub(super) fn shard(&self, index: usize) -> &Shard<K, P> {
        match self.shards.get(index) {
            Some(shard) => shard,
            None => unreachable!("a shard's index comes from `place`"),
        }
    }

    #[inline(always)]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The same for whoever may outlast the prototype.
    pub(super) fn key_hasher(&self) -> impl Fn(&K) -> u64 + Send + use<K, P>
    where
        K: Hash,
    {
        let hasher = self.hasher.clone();
        move |key| hasher.hash_one(key)
    }

    #[inline(always)]
    pub(super) fn partition_of<Q: KeyBytes + ?Sized>(&self, key: &Q) -> u32 {
        if self.partitions.get() == 1 {
            return 0;
        }
        if let Some(partition) = key.own_partition() {
            return partition % self.partitions;
        }
        key.with_key_bytes(
            #[inline(always)]
            |key| self.partitioning.partition(key, self.partitions),
        )
    }

    #[inline(always)]
    pub(super) fn place<Q: KeyBytes + Hash + ?Sized>(&self, key: &Q) -> Place {
        let hash = self.hash(key);
        // Neither the lowest bits nor the seven highest, which the tables use.
        let within = (hash >> 40) as usize & (self.shards_per_partition - 1);
        let shard = self.partition_of(key) as usize * self.shards_per_partition + within;
        Place { shard, hash }
    }

    /// The time in steps of 10 ms, as of the last tick or first change of a PE. It wraps around
    /// after 497 days: only distances of less than half of that mean anything.
    #[inline(always)]
    pub(super) fn coarse_now(&self) -> u32 {
        self.coarse.load(Ordering::Relaxed)
    }

    /// Reads the clock, and brings the coarse time up to date.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        self.coarse.store(coarse(now), Ordering::Relaxed);
        now
    }

    /// The storage, if the framework has one and is not closed.
    pub(super) fn storage(&self) -> Option<Arc<dyn StateStorage>> {
        self.registration.storage.as_ref().and_then(Weak::upgrade)
    }

    #[cold]
    pub(super) fn reentrant(&self) -> ProcessError {
        ProcessError::Reentrant { prototype: self.name.clone() }
    }

    #[cold]
    pub(super) fn closed_error(&self) -> ProcessError {
        ProcessError::Closed { prototype: self.name.clone() }
    }
}

impl<K: Key, P> Inner<K, P> {
    pub(super) fn id<Q: KeyBytes + ?Sized>(&self, key: &Q) -> Result<CheckpointId, ProcessError> {
        key.with_key_bytes(|key| CheckpointId::within_limits(self.name.clone(), key))
            .map_err(|error| ProcessError::InvalidKey { prototype: self.name.clone(), error })
    }

    /// The same for keys of PEs that are there, which were checked when they came.
    pub(super) fn id_of_entry(&self, key: &K) -> CheckpointId {
        self.id(key).unwrap_or_else(|_| unreachable!("the key was checked before it came in"))
    }
}

/// How long it is from one coarse time to another.
pub(super) fn coarse_span(from: u32, to: u32) -> Duration {
    COARSE_STEP.saturating_mul(to.wrapping_sub(from))
}

/// How many steps of 10 ms a time is; wraps around.
pub(super) fn coarse(time: Timestamp) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "it may wrap around")]
    let steps = (time.since_start().as_millis() / COARSE_STEP.as_millis()) as u32;
    steps
}
