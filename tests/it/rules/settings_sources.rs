//! Every parameter of S4 can be set in code, from a file and from the environment.

use std::time::Duration;

use checkpoint::{BuildError, InMemoryStorage, Overflow, SafeKeeper, SafeKeeperSettings};

use crate::support::{FaultyStorage, settings};

/// S4's parameters under their names here, each with a value that is no default.
const PARAMETERS: [(&str, &str); 13] = [
    ("storage_max_threads", "3"),
    ("storage_max_outstanding_requests", "4"),
    ("serialization_max_threads", "5"),
    ("serialization_max_outstanding_requests", "6"),
    ("max_serialization_lock_time_ms", "7"),
    ("fetching_max_threads", "8"),
    ("fetching_max_wait_ms", "9"),
    ("fetching_queue_size", "10"),
    ("fetching_max_consecutive_failures_before_disabling", "11"),
    ("fetching_disabled_duration_ms", "12"),
    ("save_attempts_max", "13"),
    ("partitions", "14"),
    ("log_keys", "true"),
];

#[track_caller]
fn check(settings: &SafeKeeperSettings) {
    assert_eq!(settings.storage_max_threads.get(), 3);
    assert_eq!(settings.storage_max_outstanding_requests.get(), 4);
    assert_eq!(settings.serialization_max_threads.get(), 5);
    assert_eq!(settings.serialization_max_outstanding_requests.get(), 6);
    assert_eq!(settings.max_serialization_lock_time_ms, 7);
    assert_eq!(settings.fetching_max_threads.get(), 8);
    assert_eq!(settings.fetching_max_wait_ms, 9);
    assert_eq!(settings.fetching_queue_size.get(), 10);
    assert_eq!(settings.fetching_max_consecutive_failures_before_disabling.get(), 11);
    assert_eq!(settings.fetching_disabled_duration_ms, 12);
    assert_eq!(settings.save_attempts_max.get(), 13);
    assert_eq!(settings.partitions.get(), 14);
    assert!(settings.log_keys);
    assert_eq!(settings.serialization_overflow, Overflow::CallerRuns);
    // What is not said stays as it is.
    assert_eq!(settings.storage_overflow, SafeKeeperSettings::default().storage_overflow);
}

#[test]
fn every_parameter_can_be_read_from_toml() {
    let mut file = "serialization_overflow = \"caller_runs\"\n".to_owned();
    for (name, value) in PARAMETERS {
        file.push_str(&format!("{name} = {value}\n"));
    }
    check(&toml::from_str(&file).unwrap());
    let unknown = toml::from_str::<SafeKeeperSettings>("storage_max_thread = 3");
    assert!(unknown.unwrap_err().to_string().contains("storage_max_thread"));
    assert!(toml::from_str::<SafeKeeperSettings>("storage_max_threads = 0").is_err());
}

#[test]
fn every_parameter_can_be_read_from_the_environment() {
    let named = |(name, value): (&str, &str)| {
        (format!("CHECKPOINT_{}", name.to_uppercase()), value.to_owned())
    };
    let overflow = [("serialization_overflow", "caller_runs")];
    let variables = PARAMETERS.into_iter().chain(overflow).map(named);
    check(&envy::prefixed("CHECKPOINT_").from_iter(variables).unwrap());
}

#[test]
fn the_defaults_are_s4s_where_the_docs_say_so() {
    let settings = SafeKeeperSettings::default();
    assert_eq!(settings.storage_max_threads.get(), 2);
    assert_eq!(settings.serialization_max_threads.get(), 1);
    assert_eq!(settings.serialization_max_outstanding_requests.get(), 1000);
    assert_eq!(settings.max_serialization_lock_time_ms, 1000);
    assert_eq!(settings.fetching_max_threads.get(), 1);
    assert_eq!(settings.fetching_max_wait_ms, 1000);
    assert_eq!(settings.fetching_queue_size.get(), 100);
    assert_eq!(settings.fetching_max_consecutive_failures_before_disabling.get(), 10);
}

#[test]
fn settings_outside_their_limits_are_refused_by_build() {
    let storage = FaultyStorage::new();
    let threads = |n: usize| settings(&storage).storage_max_threads(n.try_into().unwrap()).build();
    assert!(threads(256).is_ok());
    assert!(threads(257).is_err());
    let wait = |ms| settings(&storage).fetching_max_wait(Duration::from_millis(ms)).build();
    assert!(wait(0).is_err());
    assert!(wait(1).is_ok());
    let backoff = |ms| settings(&storage).save_backoff_min(Duration::from_millis(ms)).build();
    assert!(backoff(0).is_err());
    assert!(backoff(2).is_ok());
    assert!(backoff(3).is_err(), "the least wait is above the longest");
}

#[test]
fn every_setting_has_its_limits_and_is_named_beyond_them() {
    for (name, most) in [
        ("storage_max_threads", 256),
        ("serialization_max_threads", 256),
        ("fetching_max_threads", 256),
        ("fetching_replacement_threads_max", 256),
        ("partitions", 4096),
    ] {
        let build = |value: u64| {
            let settings = toml::from_str(&format!("{name} = {value}")).unwrap();
            SafeKeeper::builder(InMemoryStorage::new()).settings(settings).stepped().build()
        };
        assert!(build(most).is_ok(), "{name}");
        let Err(BuildError::Settings(error)) = build(most + 1) else {
            panic!("{name} may be {}", most + 1);
        };
        assert!(error.to_string().starts_with(&format!("{name} is {}", most + 1)), "{error}");
    }
}
