//! Every type of Apache S4's package `org.apache.s4.core.ft` has its counterpart, under its name.
//!
//! That the names exist is checked by importing them; that S4's own are found in the documentation,
//! by reading the sources for `#[doc(alias)]`.

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::task::{CheckpointingTask, FetchTask, SaveStateTask, SerializeTask};
use checkpoint::{
    CheckpointId, Checkpointable, CheckpointingConfig, CheckpointingConfigBuilder,
    CheckpointingFramework, CheckpointingMode, InMemoryStorage, LoggingStorageCallbackFactory,
    NoOpCheckpointingFramework, PePrototype, SafeKeeper, SafeKeeperSettings, StateStorage,
    StorageCallback, StorageCallbackFactory, StorageResult, StorageResultCode,
};
#[cfg(unix)]
use checkpoint::{DefaultFileSystemStateStorage, FileSystemBackendCheckpointingModule};

/// A name that S4 uses and a Rust user may look for.
const ALIASES: &[&str] = &[
    "org.apache.s4.core.ProcessingElement",
    "org.apache.s4.core.ft.CheckpointId",
    "org.apache.s4.core.ft.CheckpointingConfig",
    "org.apache.s4.core.ft.CheckpointingConfig.Builder",
    "org.apache.s4.core.ft.CheckpointingConfig.CheckpointingMode",
    "org.apache.s4.core.ft.CheckpointingFramework",
    "org.apache.s4.core.ft.CheckpointingFramework.StorageResultCode",
    "org.apache.s4.core.ft.CheckpointingTask",
    "org.apache.s4.core.ft.DefaultFileSystemStateStorage",
    "org.apache.s4.core.ft.FetchTask",
    "org.apache.s4.core.ft.FileSystemBackendCheckpointingModule",
    "org.apache.s4.core.ft.LoggingStorageCallbackFactory",
    "org.apache.s4.core.ft.NoOpCheckpointingFramework",
    "org.apache.s4.core.ft.SafeKeeper",
    "org.apache.s4.core.ft.SaveStateTask",
    "org.apache.s4.core.ft.SerializeTask",
    "org.apache.s4.core.ft.StateStorage",
    "org.apache.s4.core.ft.StorageCallback",
    "org.apache.s4.core.ft.StorageCallbackFactory",
    // Methods and constants.
    "saveState",
    "fetchSerializedState",
    "isCheckpointable",
    "fetchState",
    "fetchStoredKeys",
    "storageOperationResult",
    "createStorageCallback",
    "checkpoint()",
    "onRemove",
    "onTime",
    "eventCount",
    "SUCCESS",
    "FAILURE",
    "NONE",
    "EVENT_COUNT",
    "TIME",
    "transient",
    // Parameters.
    "s4.checkpointing.storageMaxThreads",
    "s4.checkpointing.storageMaxOutstandingRequests",
    "s4.checkpointing.serializationMaxThreads",
    "s4.checkpointing.serializationMaxOutstandingRequests",
    "s4.checkpointing.maxSerializationLockTime",
    "s4.checkpointing.fetchingMaxThreads",
    "s4.checkpointing.fetchingMaxWaitMs",
    "s4.checkpointing.fetchingQueueSize",
    "s4.checkpointing.fetchingMaxConsecutiveFailuresBeforeDisabling",
    "s4.checkpointing.fetchingDisabledDurationMs",
    "s4.checkpointing.filesystem.storageRootPath",
];

/// Java's `transient`.
#[derive(Checkpointable)]
struct ProcessingElement {
    value: u64,
    #[transient]
    handle: Option<fn()>,
}

#[test]
fn every_type_of_s4_has_its_counterpart() {
    fn is_type<T: ?Sized>() {}
    is_type::<dyn CheckpointingFramework>();
    is_type::<NoOpCheckpointingFramework>();
    is_type::<SafeKeeper>();
    is_type::<dyn StateStorage>();
    is_type::<dyn StorageCallback>();
    is_type::<dyn StorageCallbackFactory>();
    is_type::<CheckpointId>();
    is_type::<CheckpointingConfig>();
    is_type::<CheckpointingConfigBuilder>();
    is_type::<CheckpointingTask>();
    is_type::<SerializeTask>();
    is_type::<SaveStateTask>();
    is_type::<FetchTask>();
    is_type::<SafeKeeperSettings>();
    #[cfg(unix)]
    is_type::<(DefaultFileSystemStateStorage, FileSystemBackendCheckpointingModule)>();
}

#[test]
fn every_mode_of_s4_has_its_counterpart() {
    let n = NonZeroU64::MIN;
    let interval = Duration::from_secs(1);
    for mode in [
        CheckpointingMode::None,
        CheckpointingMode::EventCount(n),
        CheckpointingMode::Time(interval),
        CheckpointingMode::EventCountOrTime { event_count: n, interval },
    ] {
        assert_eq!(CheckpointingConfig::builder(mode).build().unwrap().mode(), mode);
    }
}

#[test]
fn every_result_code_of_s4_has_its_counterpart() {
    struct Count;
    impl StorageCallback for Count {
        fn storage_operation_result(&self, result: &StorageResult<'_>) {
            assert!(matches!(result.code, StorageResultCode::Success | StorageResultCode::Failure));
        }
    }
    impl StorageCallbackFactory for Count {
        fn create_storage_callback(&self, _prototype: &str) -> Arc<dyn StorageCallback> {
            Arc::new(Self)
        }
    }
    for factory in [
        Arc::new(Count) as Arc<dyn StorageCallbackFactory>,
        Arc::new(LoggingStorageCallbackFactory::new()),
    ] {
        drop(factory.create_storage_callback("prototype"));
    }
}

#[test]
fn a_prototype_is_built_over_each_framework_by_the_same_call() {
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build().unwrap();
    let frameworks: [Arc<dyn CheckpointingFramework>; 2] =
        [keeper.framework(), Arc::new(NoOpCheckpointingFramework::new())];
    for framework in frameworks {
        let prototype = PePrototype::<String, ProcessingElement>::builder(framework, "element")
            .create(|_key| ProcessingElement { value: 0, handle: Some(|| {}) })
            .build()
            .unwrap();
        let (value, has_handle) =
            prototype.process("key", |pe| (pe.value, pe.handle.is_some())).unwrap();
        assert_eq!((value, has_handle), (0, true));
    }
}

#[test]
fn the_names_of_s4_are_found_in_the_documentation() {
    let mut sources = String::new();
    let mut pending = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/src")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let is_missing = |alias: &&&str| !sources.contains(&format!("#[doc(alias = \"{alias}\")]"));
    let missing: Vec<_> = ALIASES.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "no `#[doc(alias)]` for {missing:?}");
}
