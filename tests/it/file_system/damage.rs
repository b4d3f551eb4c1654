//! Damaged files (T8): whatever became of one, an event gets an error, never a PE that starts
//! empty, and the file stays as it is.
//!
//! `record::mutations` tries every mutation on the record alone; here each byte gets a few, since
//! the way through a file and a keeper is longer.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use checkpoint::storage::conformance;
use checkpoint::{
    FetchVersion, PePrototype, ProcessError, RecordErrorKind, RestoreFailure, SafeKeeper,
    StateStorage, StateVersion, StorageErrorKind, encode_state,
};

use super::{id, open, state_path};

type States = PePrototype<String, Vec<u8>>;

struct Fixture {
    directory: tempfile::TempDir,
    keeper: SafeKeeper,
    states: States,
}

fn state_of(key: &str) -> Vec<u8> {
    key.bytes().cycle().take(1_500).collect()
}

/// A keeper that is not told of too many failures, over a store whose states nobody has read yet.
fn open_keeper(root: &Path) -> (SafeKeeper, States) {
    let keeper = SafeKeeper::builder(open(root))
        .fetching_max_consecutive_failures_before_disabling(u32::MAX.try_into().unwrap())
        .build()
        .unwrap();
    let states = keeper.prototype("p").create(|_: &String| Vec::new()).build().unwrap();
    (keeper, states)
}

fn fixture(keys: &[String]) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let (keeper, states) = open_keeper(&root);
    for key in keys {
        states.process(key.as_str(), |state| *state = state_of(key)).unwrap();
    }
    keeper.close(crate::support::FAIL_SAFE).unwrap();
    drop((keeper, states));
    let (keeper, states) = open_keeper(&root);
    Fixture { directory, keeper, states }
}

impl Fixture {
    fn path(&self, key: &str) -> PathBuf {
        state_path(&self.directory.path().join("state"), key)
    }

    /// Has an event meet these bytes in place of a key's file.
    #[track_caller]
    fn check_refused(
        &self,
        key: &str,
        bytes: &[u8],
        mutation: impl Fn() -> String,
    ) -> RestoreFailure {
        let path = self.path(key);
        fs::write(&path, bytes).unwrap();
        let reason = match self.states.process(key, |_| ()) {
            Err(ProcessError::Restore(error)) => error.reason().clone(),
            other => panic!("unnoticed: {}: {other:?}", mutation()),
        };
        let left = fs::read(&path).unwrap();
        assert!(left == bytes, "the file was changed: {}", mutation());
        reason
    }

    /// Ends with the file as it was: nothing of the damage is remembered.
    #[track_caller]
    fn check_restored(&self, key: &str, sound: &[u8]) {
        fs::write(self.path(key), sound).unwrap();
        assert_eq!(self.states.read(key, Vec::clone).unwrap(), state_of(key));
        assert_eq!(self.keeper.stats().stored, 0);
    }
}

#[track_caller]
fn check_is_record_error(reason: &RestoreFailure, mutation: impl Fn() -> String) {
    assert!(matches!(reason, RestoreFailure::Record(_)), "{}: {reason}", mutation());
}

/// C1, C2, J1.
#[test]
fn a_file_with_any_changed_byte_or_cut_off_anywhere_is_an_error_of_its_event() {
    let fixture = fixture(&["a".to_owned()]);
    let sound = fs::read(fixture.path("a")).unwrap();
    for at in 0..sound.len() {
        for change in [0x01, 0x80, sound[at].max(1)] {
            let mut bytes = sound.clone();
            bytes[at] ^= change;
            let mutation = || format!("byte {at} xor {change:#04x}");
            let reason = fixture.check_refused("a", &bytes, mutation);
            check_is_record_error(&reason, mutation);
        }
        let mutation = || format!("cut to {at}");
        let reason = fixture.check_refused("a", &sound[..at], mutation);
        check_is_record_error(&reason, mutation);
    }
    fixture.check_restored("a", &sound);
}

/// C3, C5, C6.
#[test]
fn a_file_with_damaged_sectors_or_more_than_a_record_is_an_error_of_its_event() {
    let fixture = fixture(&["a".to_owned(), "b".to_owned()]);
    let [sound, foreign] = ["a", "b"].map(|key| fs::read(fixture.path(key)).unwrap());
    let mut damaged = Vec::new();
    for start in (0..sound.len()).step_by(512) {
        let end = (start + 512).min(sound.len());
        for fill in [&[0; 512], &[0xFF; 512], &foreign[..512], &foreign[512..1024]] {
            damaged.push([&sound[..start], &fill[..end - start], &sound[end..]].concat());
        }
    }
    for behind in [&b"\0"[..], &sound, &foreign, &[0; 4096]] {
        damaged.push([&sound, behind].concat());
        damaged.push([behind, &sound].concat());
    }
    for (number, bytes) in damaged.iter().enumerate().filter(|(_, bytes)| **bytes != sound) {
        let mutation = || format!("mutation {number}");
        let reason = fixture.check_refused("a", bytes, mutation);
        check_is_record_error(&reason, mutation);
    }
    fixture.check_restored("a", &sound);
}

/// C4.
#[test]
fn every_swap_of_two_of_a_hundred_files_is_an_error_of_both_events() {
    let keys: Vec<String> = (0..100).map(|number| format!("key {number}")).collect();
    let fixture = fixture(&keys);
    let files: Vec<Vec<u8>> = keys.iter().map(|key| fs::read(fixture.path(key)).unwrap()).collect();
    for (key, sound) in keys.iter().zip(&files) {
        for (other, foreign) in keys.iter().zip(&files).filter(|(other, _)| *other != key) {
            let mutation = || format!("the file of {other:?} in place of {key:?}");
            match fixture.check_refused(key, foreign, mutation) {
                RestoreFailure::Record(err) if err.kind() == RecordErrorKind::WrongId => {}
                reason => panic!("{}: {reason}", mutation()),
            }
        }
        fs::write(fixture.path(key), sound).unwrap();
    }
    for (key, sound) in keys.iter().zip(&files) {
        fixture.check_restored(key, sound);
    }
}

/// C1, C2: what looks at headers only says as much as they do, and never "absent".
#[test]
fn listings_of_a_damaged_file_are_errors_or_right() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = open(&root);
    super::store(&storage, super::record("a", 3, &[7; 100]));
    let path = state_path(&root, "a");
    let sound = fs::read(&path).unwrap();
    let check = |bytes: &[u8], mutation: &dyn Fn() -> String| {
        fs::write(&path, bytes).unwrap();
        if let Ok(versions) = storage.versions(&id("a")) {
            let versions: Vec<_> = versions.iter().map(|stored| stored.version).collect();
            assert_eq!(versions, [StateVersion::new(1, 3)], "{}", mutation());
        }
        let mut ids = BTreeSet::new();
        let listed = storage.ids("p", &mut |id| {
            ids.insert(id);
            ControlFlow::Continue(())
        });
        if listed.is_ok() {
            assert_eq!(ids, BTreeSet::from([id("a")]), "{}", mutation());
        }
        let version = FetchVersion::Before(StateVersion::new(9, 9));
        let fetched = conformance::fetch(&storage, &id("a"), version);
        assert!(!matches!(fetched, Ok(None)), "absent: {}", mutation());
    };
    for at in 0..sound.len() {
        for change in [0x01, 0x02, 0x10, 0x80, 0xFF] {
            let mut bytes = sound.clone();
            bytes[at] ^= change;
            check(&bytes, &|| format!("byte {at} xor {change:#04x}"));
        }
        check(&sound[..at], &|| format!("cut to {at}"));
    }
}

/// C4: a file that was moved to the directory of other keys.
#[test]
fn a_file_in_the_wrong_directory_is_not_listed_as_if_it_could_be_fetched() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    super::store(&open(&root), super::record("a", 1, b"state"));
    let path = state_path(&root, "a");
    let elsewhere = root.join("070/00");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&path, elsewhere.join(path.file_name().unwrap())).unwrap();
    let storage = open(&root);
    let mut ids = Vec::new();
    let listed = storage.ids("p", &mut |id| {
        ids.push(id);
        ControlFlow::Continue(())
    });
    assert_eq!(ids, []);
    super::check_error(&listed.unwrap_err(), StorageErrorKind::InvalidStore, &elsewhere);
}

/// J1: what a newer library wrote is told by its version, and stays.
#[test]
fn a_file_of_a_newer_format_is_refused_by_its_version_and_survives_the_keeper() {
    let fixture = fixture(&["a".to_owned()]);
    let mut newer = fs::read(fixture.path("a")).unwrap();
    newer[4] = 2;
    match fixture.check_refused("a", &newer, || "version 2".to_owned()) {
        RestoreFailure::Record(err) => {
            assert_eq!(err.kind(), RecordErrorKind::UnsupportedVersion { found: 2, max: 1 });
        }
        reason => panic!("{reason}"),
    }
    let path = fixture.path("a");
    fixture.keeper.close(crate::support::FAIL_SAFE).unwrap();
    assert_eq!(fs::read(path).unwrap(), newer);
}

/// C10: the record is sound and its state is not: an error that says where, and the file stays.
#[test]
fn a_sound_record_of_a_state_that_cannot_be_decoded_is_an_error_and_stays() {
    let fixture = fixture(&["a".to_owned()]);
    let sound = fs::read(fixture.path("a")).unwrap();
    let limits = checkpoint::StateLimits::DEFAULT;
    let state = encode_state(&state_of("a"), &limits).unwrap();
    // Resealed with a state that claims one element more than it has.
    let at = sound.len() - 4 - state.len();
    let mut bytes = sound.clone();
    bytes[at] += 1;
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    match fixture.check_refused("a", &bytes, || "another length".to_owned()) {
        RestoreFailure::Decode { error, .. } => assert_eq!(error.offset(), 0, "{error}"),
        reason => panic!("{reason}"),
    }
    let path = fixture.path("a");
    fixture.keeper.close(crate::support::FAIL_SAFE).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
}

/// K17: a file that is larger than a record may be is not read.
#[test]
fn a_file_of_a_terabyte_is_refused_without_reading_it() {
    let fixture = fixture(&["a".to_owned()]);
    let path = fixture.path("a");
    let sound = fs::read(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    match fixture.states.process("a", |_| ()) {
        Err(ProcessError::Restore(error)) => match error.reason() {
            RestoreFailure::Storage(err) => {
                assert!(matches!(err.kind(), StorageErrorKind::TooLarge { .. }), "{err}");
            }
            reason => panic!("{reason}"),
        },
        other => panic!("{other:?}"),
    }
    fixture.check_restored("a", &sound);
}
