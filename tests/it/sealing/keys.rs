//! Keys: the wrong one, none, several, and what becomes of a PE meanwhile (K13).

use std::error::Error;
use std::sync::Arc;

use checkpoint::{
    BuildError, EncryptionKey, EncryptionKeys, InMemoryStorage, OnRestoreError, ProcessError,
    RestoreFailure, StateStorage, UnsealError,
};

use crate::sealing::{
    key, keys, not_opened, over, put, record, sealed, store, stored, text, texts, with_checksums,
};
use crate::support::{FAIL_SAFE, manual};

const POLICIES: [OnRestoreError; 3] =
    [OnRestoreError::Fail, OnRestoreError::StartEmpty, OnRestoreError::Previous];

fn storage() -> Arc<dyn StateStorage> {
    Arc::new(InMemoryStorage::new().keeping_versions(3))
}

/// A missing key is neither "absent" nor damage: no policy has the PE start with something else.
#[test]
fn a_pe_whose_key_is_missing_starts_with_nothing_else_whatever_the_policy() {
    for policy in POLICIES {
        let storage = storage();
        // An older version that could be read.
        stored(over(&storage), "alice", "plain");
        stored(over(&storage).encryption(keys(7)), "alice", &text("alice"));
        let before = record(&*storage, "alice");
        for builder in [over(&storage), over(&storage).encryption(keys(8))] {
            let keeper = builder.build().unwrap();
            let texts = texts(&keeper, manual().on_restore_error(policy));
            assert_eq!(not_opened(&texts, "alice"), UnsealError::MissingKey { key: 7 });
            let error = texts.process("alice", |state| state.push('!')).unwrap_err();
            let ProcessError::Restore(error) = error else { panic!("{error:?}") };
            // The error names the PE; its cause, the key.
            assert!(error.to_string().contains("texts/alice"), "{error}");
            let cause = error.source().unwrap().to_string();
            assert!(cause.contains("key 7"), "{cause}");
            // Others are not held up by it.
            texts.process("bob", |state| state.push('!')).unwrap();
            keeper.close(FAIL_SAFE).unwrap();
            assert!(keeper.quarantined("texts").is_err());
        }
        assert_eq!(record(&*storage, "alice"), before, "{policy:?}");
        let keeper = over(&storage).encryption(keys(7)).build().unwrap();
        let texts = texts(&keeper, manual().on_restore_error(policy));
        assert_eq!(texts.read("alice", String::clone).unwrap(), text("alice"));
    }
}

#[test]
fn another_key_under_the_same_number_is_found_before_anything_is_encrypted_with_it() {
    let storage = storage();
    let another = || EncryptionKey::new(7, [8; 32]);
    stored(over(&storage).encryption(keys(7)), "alice", "state");
    let refused = |keys: EncryptionKeys| over(&storage).encryption(keys).build().unwrap_err();
    let error = refused(EncryptionKeys::new(another()));
    assert!(matches!(error, BuildError::WrongKey { key: 7 }), "{error:?}");
    let error = refused(keys(8).with_older(another()));
    assert!(matches!(error, BuildError::WrongKey { key: 7 }), "{error:?}");
    let error = refused(keys(8).with_older(key(7)).with_older(another()));
    assert!(matches!(error, BuildError::KeyTwice { key: 7 }), "{error:?}");
    // The right one is taken, also as an older one, and after another keeper has used it.
    let nine = || keys(9).with_older(key(7));
    for keys in [keys(7), nine(), keys(7).with_older(key(9)), nine()] {
        stored(over(&storage).encryption(keys), "bob", "state");
    }
}

/// A record of another store, or one that somebody has made up, under a key of the right number.
#[test]
fn a_record_that_the_key_does_not_open_is_told_from_damage() {
    for policy in POLICIES {
        let (storage, other) = (storage(), storage());
        let foreign = EncryptionKeys::new(EncryptionKey::new(7, [8; 32]));
        stored(over(&other).encryption(foreign), "alice", "state");
        put(&*storage, record(&*other, "alice"));
        let keeper = over(&storage).encryption(keys(7)).build().unwrap();
        let texts = texts(&keeper, manual().on_restore_error(policy));
        assert_eq!(not_opened(&texts, "alice"), UnsealError::WrongKey { key: 7 });
    }
}

/// C4, T24: the state of one PE behind the header of another, with every checksum right.
#[test]
fn a_state_that_was_moved_to_another_pe_does_not_open() {
    let storage = storage();
    let keeper = over(&storage).encryption(keys(7)).build().unwrap();
    let all = texts(&keeper, manual());
    store(&all, [("alice", text("alice")), ("carol", text("carol"))]);
    keeper.close(FAIL_SAFE).unwrap();
    let mut moved = record(&*storage, "alice");
    // Both keys have five bytes. The version is one that is newer than carol's.
    let at = moved.windows(5).position(|bytes| bytes == b"alice").unwrap();
    moved[at..at + 5].copy_from_slice(b"carol");
    moved[32] = 200;
    put(&*storage, with_checksums(moved));
    let keeper = over(&storage).encryption(keys(7)).build().unwrap();
    let texts = texts(&keeper, manual().on_restore_error(OnRestoreError::StartEmpty));
    assert_eq!(not_opened(&texts, "carol"), UnsealError::WrongKey { key: 7 });
    assert_eq!(texts.read("alice", String::clone).unwrap(), text("alice"));
}

/// K13: written with the newest, read with any.
#[test]
fn keys_are_changed_while_states_move_on_as_they_are_saved() {
    let storage = storage();
    stored(over(&storage).encryption(keys(1)), "alice", "first");
    stored(over(&storage).encryption(keys(2).with_older(key(1))), "bob", "second");
    let three = || keys(3).with_older(key(2)).with_older(key(1));
    let keeper = over(&storage).encryption(three()).build().unwrap();
    let all = texts(&keeper, manual());
    assert_eq!(all.read("alice", String::clone).unwrap(), "first");
    assert_eq!(all.read("bob", String::clone).unwrap(), "second");
    all.process("alice", |state| state.push('!')).unwrap();
    keeper.close(FAIL_SAFE).unwrap();
    assert_eq!(sealed(&*storage, "alice"), (Some(3), false));
    assert_eq!(sealed(&*storage, "bob"), (Some(2), false));
    // A store that was not encrypted is, from now on.
    let storage = self::storage();
    stored(over(&storage), "alice", "plain");
    let strict = || over(&storage).encryption(keys(1).refusing_unencrypted());
    let keeper = strict().build().unwrap();
    assert_eq!(not_opened(&texts(&keeper, manual()), "alice"), UnsealError::NotEncrypted);
    drop(keeper);
    stored(over(&storage).encryption(keys(1)), "alice", "encrypted");
    let keeper = strict().build().unwrap();
    assert_eq!(texts(&keeper, manual()).read("alice", String::clone).unwrap(), "encrypted");
}

/// The way out of a PE whose key is lost, and back if it is found.
#[test]
fn what_is_put_aside_stays_encrypted_and_can_be_restored_with_its_key() {
    let storage = storage();
    stored(over(&storage).encryption(keys(7)), "alice", &text("alice"));
    let keeper = over(&storage).encryption(keys(8)).build().unwrap();
    let lost = texts(&keeper, manual());
    lost.reset("alice").unwrap().wait().unwrap();
    assert_eq!(lost.read("alice", String::clone).unwrap(), "");
    let aside = keeper.quarantined("texts").unwrap();
    let found = lost.restore_quarantined("alice", aside[0].replaced_by).unwrap_err();
    assert!(
        matches!(&found, ProcessError::Restore(error)
        if matches!(error.reason(), RestoreFailure::Sealed { .. })),
        "{found:?}"
    );
    keeper.close(FAIL_SAFE).unwrap();
    drop((keeper, lost));
    let keeper = over(&storage).encryption(keys(8).with_older(key(7))).build().unwrap();
    let texts = texts(&keeper, manual());
    texts.restore_quarantined("alice", aside[0].replaced_by).unwrap().wait().unwrap();
    assert_eq!(texts.read("alice", String::clone).unwrap(), text("alice"));
    assert_eq!(sealed(&*storage, "alice"), (Some(8), false));
}
