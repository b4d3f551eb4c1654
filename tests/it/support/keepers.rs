//! The keepers and prototypes that most tests use.

use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingConfigBuilder, CheckpointingMode,
    PePrototype, SafeKeeper, SafeKeeperBuilder,
};

use crate::support::{FaultyStorage, Scripted};

/// Counts events; the transient field shows whether the factory was run.
#[derive(Checkpointable, Default, Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) count: u64,
    #[transient]
    pub(crate) handle: u64,
}

/// A configuration that stores on request only.
pub(crate) fn manual() -> CheckpointingConfigBuilder {
    CheckpointingConfig::builder(CheckpointingMode::None)
}

/// A configuration that stores after so many events.
pub(crate) fn every(events: u64) -> CheckpointingConfigBuilder {
    let events = events.try_into().expect("not zero");
    CheckpointingConfig::builder(CheckpointingMode::EventCount(events))
}

/// A keeper with short waits between attempts, over a clone of the storage.
pub(crate) fn settings(storage: &FaultyStorage) -> SafeKeeperBuilder {
    SafeKeeper::builder(storage.clone())
        .save_backoff_min(Duration::from_millis(1))
        .save_backoff_max(Duration::from_millis(2))
        .partitions(1.try_into().expect("not zero"))
}

/// Counters by text.
pub(crate) fn counters(
    keeper: &SafeKeeper,
    config: CheckpointingConfigBuilder,
) -> PePrototype<String, Counter> {
    counted(keeper, "counter", config)
}

/// Counters under a name of their own.
pub(crate) fn counted(
    keeper: &SafeKeeper,
    name: &str,
    config: CheckpointingConfigBuilder,
) -> PePrototype<String, Counter> {
    keeper
        .prototype(name)
        .config(config.build().expect("the configuration is sound"))
        .create(|_| Counter { count: 0, handle: 7 })
        .build()
        .expect("the prototype fits the store")
}

/// Scripted states by text.
pub(crate) fn scripted(
    keeper: &SafeKeeper,
    config: CheckpointingConfigBuilder,
) -> PePrototype<String, Scripted> {
    keeper
        .prototype("scripted")
        .config(config.build().expect("the configuration is sound"))
        .create(|_| Scripted::default())
        .build()
        .expect("the prototype fits the store")
}
