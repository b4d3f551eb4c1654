//! Keys and states are nobody's business but the application's (K5, K6, rule 17): no event of
//! `tracing` has either, unless the application asks for its keys, and no error has a state.

use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use checkpoint::{
    CheckpointingConfigBuilder, DefaultFileSystemStateStorage,
    FileSystemBackendCheckpointingModule, InMemoryStorage, OnPanic, OnRestoreError, PePrototype,
    Pool, ProcessError, SafeKeeper, SafeKeeperBuilder, SafeKeeperSettings, StorageErrorKind,
    TestClock,
};

use crate::file_system::state_path_of;
use crate::support::{FaultyStorage, FetchFault, Log, SaveFault, manual};

const KEY: &str = "canary-key";
const STATE: &str = "canary-state";
const SECOND: Duration = Duration::from_secs(1);

/// Checks that a text has the canary in no form that bytes are printed in.
#[track_caller]
fn check_absent(text: &str, canary: &str) {
    let each = |form: fn(u8) -> String, between: &str| {
        canary.bytes().map(form).collect::<Vec<_>>().join(between)
    };
    let forms = [
        canary.to_owned(),
        each(|byte| format!("{byte:02x}"), ""),
        each(|byte| format!("{byte:02X}"), ""),
        each(|byte| byte.to_string(), ", "),
        each(|byte| format!("%{byte:02X}"), ""),
    ];
    for form in forms {
        assert!(!text.contains(&form), "{canary} is told in:\n{text}");
    }
}

#[track_caller]
fn check_log(log: &str, expected: &[&str]) {
    check_absent(log, KEY);
    check_absent(log, STATE);
    // What was logged nothing of has told nothing either.
    for message in expected {
        assert!(log.contains(message), "{message:?} is not in:\n{log}");
    }
}

type States = PePrototype<String, String>;

/// A keeper that is stepped: what it logs, it logs in this thread.
fn stepped(builder: SafeKeeperBuilder) -> SafeKeeper {
    builder.stepped().clock(Arc::new(TestClock::new())).build().unwrap()
}

fn states(keeper: &SafeKeeper, config: CheckpointingConfigBuilder) -> States {
    let builder = keeper.prototype("states").config(config.build().unwrap());
    builder.create(|_: &String| String::new()).build().unwrap()
}

fn run_until_idle(keeper: &SafeKeeper) {
    let pools = [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing];
    while pools.into_iter().any(|pool| keeper.step(pool)) {}
}

/// Sends an event to the key, and steps the keeper until it was processed.
fn change<P: checkpoint::Checkpointable + Send + 'static>(
    keeper: &SafeKeeper,
    prototype: &PePrototype<String, P>,
    change: impl FnOnce(&mut P),
) -> Result<(), ProcessError> {
    let mut event = pin!(prototype.process_async(KEY, change));
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(answer) = event.as_mut().poll(&mut context) {
            return answer;
        }
        run_until_idle(keeper);
    }
}

fn to_canary(state: &mut String) {
    STATE.clone_into(state);
}

/// A storage with one state, which nobody has read.
fn stored() -> InMemoryStorage {
    let storage = InMemoryStorage::new();
    let keeper = stepped(SafeKeeper::builder(storage.clone()));
    change(&keeper, &states(&keeper, manual()), to_canary).unwrap();
    keeper.close(SECOND).unwrap();
    storage
}

#[test]
fn results_of_saves_are_logged_without_key_and_state() {
    for (fault, expected) in [
        (None, "checkpoint stored"),
        (Some(SaveFault::NotStored(StorageErrorKind::Unavailable)), "the storage failed too often"),
        (Some(SaveFault::NotStored(StorageErrorKind::Unsupported)), "the storage refused it"),
        (Some(SaveFault::Panic), "the storage panicked in `save`"),
    ] {
        let storage = FaultyStorage::new().knowing_absence();
        if let Some(fault) = fault {
            storage.on_save(usize::MAX, fault);
        }
        let log = Log::of(|| {
            let once = 1.try_into().unwrap();
            let keeper = stepped(SafeKeeper::builder(storage).save_attempts_max(once));
            let states = states(&keeper, manual());
            change(&keeper, &states, to_canary).unwrap();
            drop(states.checkpoint(KEY).unwrap());
            run_until_idle(&keeper);
            drop(states.remove(KEY).unwrap());
            drop(keeper.close(Duration::ZERO));
        });
        check_log(&log, &[expected, "key_hash="]);
    }
}

#[test]
fn a_writer_that_was_fenced_is_logged_without_key_and_state() {
    let storage = InMemoryStorage::new();
    let log = Log::of(|| {
        let stale = stepped(SafeKeeper::builder(storage.clone()));
        let of_stale = states(&stale, manual());
        let owner = stepped(SafeKeeper::builder(storage.clone()));
        change(&stale, &of_stale, to_canary).unwrap();
        drop(of_stale.checkpoint(KEY).unwrap());
        run_until_idle(&stale);
        drop(owner);
        stale.close(Duration::ZERO).unwrap_err();
    });
    check_log(&log, &["another writer has taken over"]);
}

#[test]
fn failed_restores_are_logged_without_key_and_state() {
    let damaged = FetchFault::Changed(Arc::new(|mut record| {
        *record.last_mut().unwrap() ^= 1;
        record
    }));
    for fault in [damaged, FetchFault::Failed(StorageErrorKind::Unavailable), FetchFault::Panic] {
        let storage = FaultyStorage::over(stored());
        storage.on_fetch(1, fault);
        let log = Log::of(|| {
            let keeper = stepped(SafeKeeper::builder(storage.clone()));
            let states = states(&keeper, manual().on_restore_error(OnRestoreError::StartEmpty));
            change(&keeper, &states, to_canary).unwrap();
            keeper.close(SECOND).unwrap();
        });
        check_log(&log, &["cannot restore: starting with the factory's value", "key_hash="]);
    }
}

#[test]
fn panics_are_logged_without_key_and_state() {
    let storage = stored();
    let log = Log::of(|| {
        let keeper = stepped(SafeKeeper::builder(storage.clone()));
        let states = keeper
            .prototype("states")
            .config(manual().on_panic(OnPanic::Reload).build().unwrap())
            .create(|_: &String| String::new())
            .on_remove(|_, _| panic!("the hook was told to panic"))
            .build()
            .unwrap();
        let event = || states.process(KEY, |_: &mut String| panic!("the event was told to panic"));
        assert!(catch_unwind(AssertUnwindSafe(event)).is_err());
        assert_eq!(states.read(KEY, String::clone).unwrap(), STATE);
        drop(states.remove(KEY).unwrap());
        keeper.close(SECOND).unwrap();
    });
    check_log(&log, &["a closure panicked in a PE", "on_remove panicked"]);
}

#[test]
fn a_keeper_that_is_dropped_with_changes_logs_how_many_and_not_which() {
    let storage = FaultyStorage::new().knowing_absence();
    storage.on_save(usize::MAX, SaveFault::NotStored(StorageErrorKind::Unsupported));
    let log = Log::of(|| {
        let keeper = stepped(SafeKeeper::builder(storage));
        let states = states(&keeper, manual());
        change(&keeper, &states, to_canary).unwrap();
        drop(keeper);
    });
    check_log(&log, &["a keeper was dropped without being closed", "failed=1"]);
}

#[test]
fn a_damaged_file_that_is_replaced_is_logged_without_key_and_state() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let open = || {
        let keeper =
            stepped(SafeKeeper::builder(DefaultFileSystemStateStorage::open(&root).unwrap()));
        let states = states(&keeper, manual().on_restore_error(OnRestoreError::StartEmpty));
        (keeper, states)
    };
    let log = Log::of(|| {
        let (keeper, states) = open();
        change(&keeper, &states, to_canary).unwrap();
        keeper.close(SECOND).unwrap();
        drop((keeper, states));
        let path = state_path_of(&root, "states", KEY);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        bytes[10] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (keeper, states) = open();
        change(&keeper, &states, to_canary).unwrap();
        keeper.close(SECOND).unwrap();
    });
    check_log(&log, &["created a store", "a damaged checkpoint is replaced"]);
}

/// All events that are about one PE, over the storage that has one of its own.
#[test]
fn an_application_that_asks_for_it_finds_ids_in_the_log_and_no_states() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = SafeKeeperSettings::default();
    settings.filesystem_storage_root_path = directory.path().join("store");
    settings.log_keys = true;
    let module = FileSystemBackendCheckpointingModule::with_settings(settings);
    let clock = Arc::new(TestClock::new());
    let open = |config| {
        let keeper = module.open().unwrap().stepped().clock(clock.clone()).build().unwrap();
        let states = states(&keeper, config);
        (keeper, states)
    };
    let log = Log::of(|| {
        let (keeper, of_keeper) = open(manual());
        change(&keeper, &of_keeper, to_canary).unwrap();
        keeper.close(SECOND).unwrap();
        drop((keeper, of_keeper));
        let path = state_path_of(module.root(), "states", KEY);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        bytes[10] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (keeper, of_keeper) = open(manual().on_restore_error(OnRestoreError::StartEmpty));
        change(&keeper, &of_keeper, to_canary).unwrap();
        keeper.close(SECOND).unwrap();
        drop((keeper, of_keeper));
        let config = manual().expire_after(SECOND).on_panic(OnPanic::Reload);
        let (keeper, of_keeper) = open(config);
        clock.advance(SECOND);
        change(&keeper, &of_keeper, to_canary).unwrap();
        let event = || of_keeper.process(KEY, |_| panic!("the event was told to panic"));
        assert!(catch_unwind(AssertUnwindSafe(event)).is_err());
        change(&keeper, &of_keeper, to_canary).unwrap();
        keeper.close(SECOND).unwrap();
    });
    check_absent(&log, STATE);
    for message in [
        "checkpoint stored",
        "cannot restore",
        "a damaged checkpoint is replaced",
        "checkpoint expired",
        "a closure panicked in a PE",
    ] {
        let mut lines = log.lines().filter(|line| line.contains(message));
        let id = format!("id=\"states/{KEY}\"");
        assert!(lines.next().is_some_and(|line| line.contains(&id)), "{message}:\n{log}");
    }
    let refused = FaultyStorage::new().knowing_absence();
    refused.on_save(1, SaveFault::NotStored(StorageErrorKind::Unsupported));
    let log = Log::of(|| {
        let keeper = stepped(SafeKeeper::builder(refused).log_keys(true));
        let states = states(&keeper, manual());
        change(&keeper, &states, to_canary).unwrap();
        drop(keeper.close(SECOND));
    });
    let mut lines = log.lines().filter(|line| line.contains("checkpoint not stored"));
    assert!(lines.next().is_some_and(|line| line.contains(KEY)), "{log}");
}

/// Nor are the keys of encryption, whatever goes wrong with them.
#[test]
fn encrypted_states_and_what_they_are_encrypted_with_are_told_nowhere() {
    use checkpoint::{EncryptionKey, EncryptionKeys, FetchVersion, StateStorage};

    let secret = *b"canary-secret of thirty-two byte";
    let keys = || EncryptionKeys::new(EncryptionKey::new(7, secret));
    let storage = FaultyStorage::new();
    let mut shown = String::new();
    let log = Log::of(|| {
        let builder = SafeKeeper::builder(storage.clone()).encryption(keys());
        write!(shown, "{builder:?} {:?}", keys()).unwrap();
        let keeper = stepped(builder);
        let of_keeper = states(&keeper, manual());
        change(&keeper, &of_keeper, to_canary).unwrap();
        storage.on_save(1, SaveFault::NotStored(StorageErrorKind::Unavailable));
        keeper.close(SECOND).unwrap_err();
        write!(shown, "{keeper:?} {of_keeper:?}").unwrap();
        let keeper = stepped(SafeKeeper::builder(storage.clone()).encryption(keys()));
        let of_keeper = states(&keeper, manual());
        change(&keeper, &of_keeper, to_canary).unwrap();
        keeper.close(SECOND).unwrap();
        // Without the key, with another one, and with one that the store knows to be another.
        for other in [None, Some(8), Some(7)] {
            let builder = SafeKeeper::builder(storage.clone());
            let other = other.map(|id| EncryptionKeys::new(EncryptionKey::new(id, [1; 32])));
            let builder = match other {
                Some(keys) => builder.encryption(keys),
                None => builder,
            };
            let keeper = match builder.stepped().clock(Arc::new(TestClock::new())).build() {
                Ok(keeper) => keeper,
                Err(error) => {
                    write!(shown, "{error} {error:?}").unwrap();
                    continue;
                }
            };
            let of_keeper = states(&keeper, manual().on_restore_error(OnRestoreError::StartEmpty));
            let error = change(&keeper, &of_keeper, to_canary).unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            write!(shown, "{error} {error:?} {cause:?}").unwrap();
        }
    });
    let id = checkpoint::CheckpointId::new("states", KEY).unwrap();
    let newest = FetchVersion::Newest;
    let record = checkpoint::storage::conformance::fetch(&storage.content(), &id, newest);
    let record = record.unwrap().unwrap();
    assert!(!record.windows(STATE.len()).any(|bytes| bytes == STATE.as_bytes()));
    assert!(shown.contains("MissingKey { key: 7 }") && shown.contains("WrongKey { key: 7 }"));
    assert!(storage.content().metadata("encryption-key-00000007").unwrap().is_some());
    for text in [&log, &shown] {
        check_absent(text, STATE);
        check_absent(text, "canary-secret");
    }
    check_log(&log, &["checkpoint stored"]);
}

/// Errors name the id, which is what one looks for; what is stored under it they do not tell.
#[test]
fn errors_and_values_under_debug_have_no_state() {
    let storage = FaultyStorage::over(stored());
    let mut shown = String::new();
    let builder = SafeKeeper::builder(storage.clone()).save_attempts_max(1.try_into().unwrap());
    let keeper = stepped(builder);
    // A type with another schema finds the state.
    let other = keeper.prototype("states").create(|_: &String| 0_u64).build().unwrap();
    let error = change(&keeper, &other, |_| ()).unwrap_err();
    write!(shown, "{error} {error:?}").unwrap();
    write!(shown, "{keeper:?} {other:?}").unwrap();
    let more = keeper.prototype("more").create(|_: &String| String::new()).build().unwrap();
    storage.on_save(usize::MAX, SaveFault::NotStored(StorageErrorKind::Unsupported));
    change(&keeper, &more, to_canary).unwrap();
    let ticket = more.checkpoint(KEY).unwrap();
    run_until_idle(&keeper);
    let report = keeper.close(Duration::ZERO).unwrap_err();
    write!(shown, "{ticket:?} {:?} {report} {report:?} {more:?}", ticket.outcome()).unwrap();
    assert!(shown.contains("Schema {") && shown.contains("Refused(") && shown.contains(KEY));
    check_absent(&shown, STATE);
}
