//! A keeper over the file system in one step, and its settings from a file.

use std::path::Path;
use std::time::Duration;

use checkpoint::{FileSystemBackendCheckpointingModule, PartitionKey, SafeKeeperSettings};

const SECONDS: Duration = Duration::from_secs(20);

#[test]
fn states_survive_the_keeper() {
    let directory = tempfile::tempdir().unwrap();
    let module = FileSystemBackendCheckpointingModule::new(directory.path().join("state"));
    for expected in 1..=3_u64 {
        let keeper = module.build().unwrap();
        let numbers = keeper.prototype::<u64, u64>("numbers").create(|_| 0).build().unwrap();
        let number = numbers.process(7, |n| {
            *n += 1;
            *n
        });
        assert_eq!(number.unwrap(), expected);
        keeper.close(SECONDS).unwrap();
    }
}

#[test]
fn settings_come_from_a_file() {
    let settings: SafeKeeperSettings = toml::from_str(
        "filesystem_storage_root_path = '/somewhere'\n\
         storage_max_threads = 3\n\
         storage_overflow = 'caller_runs'\n\
         fetching_max_wait_ms = 250\n",
    )
    .unwrap();
    let module = FileSystemBackendCheckpointingModule::with_settings(settings.clone());
    assert_eq!(module.root(), Path::new("/somewhere"));
    assert_eq!(settings.storage_max_threads.get(), 3);
    assert_eq!(settings.fetching_queue_size.get(), 100);
}

#[test]
fn a_misspelt_setting_is_told() {
    let error = toml::from_str::<SafeKeeperSettings>("storage_max_thread = 3").unwrap_err();
    assert!(error.to_string().contains("storage_max_thread"), "{error}");
    assert!(toml::from_str::<SafeKeeperSettings>("partitions = 0").is_err());
}

#[test]
fn each_partition_has_a_singleton_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let module = FileSystemBackendCheckpointingModule::new(directory.path().join("state"));
    for _ in 0..2 {
        let keeper = module.build().unwrap();
        let totals = keeper.singleton::<u64>("total").create(|_| 0).build().unwrap();
        for partition in 0..keeper.partitions() {
            let key = PartitionKey(partition);
            assert_eq!(totals.partition_of(key), partition);
            totals.process(key, |total| *total += u64::from(partition)).unwrap();
        }
        keeper.close(SECONDS).unwrap();
    }
    let keeper = module.build().unwrap();
    let totals = keeper.singleton::<u64>("total").create(|_| 0).build().unwrap();
    for partition in 0..keeper.partitions() {
        let total = totals.read(PartitionKey(partition), |total| *total).unwrap();
        assert_eq!(total, 2 * u64::from(partition));
    }
}
