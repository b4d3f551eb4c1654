//! A module beside `FileSystemBackendCheckpointingModule`, written outside the crate: nothing that
//! the library's own module does needs to be inside.

use std::time::Duration;

use checkpoint::{BuildError, InMemoryStorage, SafeKeeper, SafeKeeperSettings};
use serde::Deserialize;

const SECONDS: Duration = Duration::from_secs(20);

/// A keeper over a storage in memory that outlives it, from one file of settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InMemoryBackendCheckpointingModule {
    older_versions_max: u64,
    keeper: SafeKeeperSettings,
    #[serde(skip)]
    storage: InMemoryStorage,
}

impl InMemoryBackendCheckpointingModule {
    fn build(&self) -> Result<SafeKeeper, BuildError> {
        let storage = self.storage.clone().keeping_versions(self.older_versions_max);
        SafeKeeper::builder(storage).settings(self.keeper.clone()).build()
    }
}

#[test]
fn a_module_of_ones_own_wires_a_keeper_and_a_storage() {
    let module: InMemoryBackendCheckpointingModule = toml::from_str(
        "older_versions_max = 1\n\
         [keeper]\n\
         storage_max_threads = 2\n\
         partitions = 3\n",
    )
    .unwrap();
    for expected in 1..=3_u64 {
        let keeper = module.build().unwrap();
        assert_eq!(keeper.partitions(), 3);
        let numbers = keeper.prototype::<u64, u64>("numbers").create(|_| 0).build().unwrap();
        let number = numbers.process(7, |n| {
            *n += 1;
            *n
        });
        assert_eq!(number.unwrap(), expected);
        keeper.flush(SECONDS).unwrap();
        let versions = numbers.versions(7).unwrap();
        assert_eq!(versions.len() as u64, expected.min(2));
        keeper.close(SECONDS).unwrap();
    }
}

#[test]
fn what_is_wrong_with_the_settings_is_told_by_the_keeper() {
    let module: InMemoryBackendCheckpointingModule =
        toml::from_str("older_versions_max = 0\n[keeper]\nstorage_max_threads = 100000\n").unwrap();
    let error = module.build().unwrap_err();
    assert!(matches!(error, BuildError::Settings(_)), "{error}");
}
