//! Dictionaries: kept in the store, so that no restart and no change of settings loses one.

use std::sync::Arc;

use checkpoint::{
    Compression, InMemoryStorage, InvalidConfig, RegisterError, StateStorage, UnsealError,
    ZstdDictionary,
};

use crate::sealing::{
    ZSTD, dictionary, key, keys, not_opened, over, put, record, store, text, texts,
};
use crate::support::{FAIL_SAFE, manual};

fn storage() -> Arc<dyn StateStorage> {
    Arc::new(InMemoryStorage::new())
}

fn metadata_name() -> String {
    format!("dictionary-{:016x}", dictionary().id())
}

#[test]
fn a_program_with_another_dictionary_or_none_finds_the_one_in_the_store() {
    let storage = storage();
    let keeper = over(&storage).compression(ZSTD).build().unwrap();
    let with = texts(&keeper, manual().dictionary(dictionary()));
    store(&with, [("alice", text("alice"))]);
    let bytes = record(&*storage, "alice").len();
    keeper.close(FAIL_SAFE).unwrap();
    let other = ZstdDictionary::new(b"another one".to_vec()).unwrap();
    for config in [manual(), manual().dictionary(other).compression(ZSTD)] {
        let keeper = over(&storage).build().unwrap();
        let texts = texts(&keeper, config);
        assert_eq!(texts.read("alice", String::clone).unwrap(), text("alice"));
    }
    // It was worth it.
    let storage = self::storage();
    let keeper = over(&storage).compression(ZSTD).build().unwrap();
    store(&texts(&keeper, manual()), [("alice", text("alice"))]);
    assert!(record(&*storage, "alice").len() > bytes + 15);
}

#[test]
fn a_dictionary_that_is_missing_is_an_error_of_its_own() {
    let (storage, without) = (storage(), storage());
    let keeper = over(&storage).compression(ZSTD).build().unwrap();
    store(&texts(&keeper, manual().dictionary(dictionary())), [("alice", text("alice"))]);
    let record = record(&*storage, "alice");
    put(&*without, record);
    let keeper = over(&without).build().unwrap();
    let config = manual().on_restore_error(checkpoint::OnRestoreError::StartEmpty);
    let of_keeper = texts(&keeper, config);
    let missing = UnsealError::MissingDictionary { dictionary: dictionary().id() };
    assert_eq!(not_opened(&of_keeper, "alice"), missing);
    drop((keeper, of_keeper));
    // Whoever still has it gives it back.
    let keeper = over(&without).build().unwrap();
    let of_keeper = texts(&keeper, manual().compression(ZSTD).dictionary(dictionary()));
    assert_eq!(of_keeper.read("alice", String::clone).unwrap(), text("alice"));
}

#[test]
fn a_dictionary_that_cannot_be_read_is_no_reason_to_start_without_the_states() {
    let storage = storage();
    let keeper = over(&storage).compression(ZSTD).build().unwrap();
    store(&texts(&keeper, manual().dictionary(dictionary())), [("alice", text("alice"))]);
    keeper.close(FAIL_SAFE).unwrap();
    let sound = storage.metadata(&metadata_name()).unwrap().unwrap();
    let version = storage.put_metadata(&metadata_name(), Some(sound.version), b"damaged").unwrap();
    let keeper = over(&storage).build().unwrap();
    let config = || manual().on_restore_error(checkpoint::OnRestoreError::StartEmpty);
    let of_keeper = texts(&keeper, config());
    match not_opened(&of_keeper, "alice") {
        UnsealError::UnreadableDictionary { dictionary: found, reason } => {
            assert!(found == dictionary().id() && !reason.is_empty());
        }
        other => panic!("{other:?}"),
    }
    storage.put_metadata(&metadata_name(), Some(version), &sound.bytes).unwrap();
    assert_eq!(of_keeper.read("alice", String::clone).unwrap(), text("alice"));
}

#[test]
fn a_start_without_keys_does_not_put_an_encrypted_dictionary_into_the_clear() {
    let storage = storage();
    let keeper = over(&storage).compression(ZSTD).encryption(keys(1)).build().unwrap();
    drop(texts(&keeper, manual().dictionary(dictionary())));
    keeper.close(FAIL_SAFE).unwrap();
    let encrypted = storage.metadata(&metadata_name()).unwrap().unwrap().bytes;
    let keeper = over(&storage).compression(ZSTD).build().unwrap();
    let config = manual().dictionary(dictionary()).build().unwrap();
    let builder = keeper.prototype::<String, String>("texts").config(config);
    let error = builder.create(|_| String::new()).build().unwrap_err();
    assert!(matches!(error, RegisterError::Storage { .. }), "{error:?}");
    assert_eq!(storage.metadata(&metadata_name()).unwrap().unwrap().bytes, encrypted);
    // What was refused has not taken the name.
    texts(&keeper, manual());
}

/// It is made of pieces of states: it is encrypted as they are, and with the key that they are.
#[test]
fn a_dictionary_in_the_store_is_encrypted_with_the_present_key() {
    let storage = storage();
    let clear = |storage: &dyn StateStorage| {
        let stored = storage.metadata(&metadata_name()).unwrap().unwrap().bytes;
        stored.windows(9).any(|bytes| bytes == b"the words")
    };
    let open = |keys: Option<_>, config| {
        let builder = over(&storage).compression(ZSTD);
        let keeper = match keys {
            Some(keys) => builder.encryption(keys),
            None => builder,
        };
        let keeper = keeper.build().unwrap();
        let texts = texts(&keeper, config);
        (keeper, texts)
    };
    let with = || manual().dictionary(dictionary());
    drop(open(None, with()));
    assert!(clear(&*storage));
    drop(open(Some(keys(1)), with()));
    assert!(!clear(&*storage));
    let (keeper, of_keeper) = open(Some(keys(2).with_older(key(1))), with());
    store(&of_keeper, [("alice", text("alice"))]);
    drop((keeper, of_keeper));
    // The first key is gone; the dictionary has moved on.
    let (_keeper, of_keeper) = open(Some(keys(2)), manual());
    assert_eq!(of_keeper.read("alice", String::clone).unwrap(), text("alice"));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for level in [23, -200_000] {
        let wrong = Compression::Zstd { level };
        let error = manual().compression(wrong).build().unwrap_err();
        assert!(matches!(error, InvalidConfig::Level { value, max: 22, .. } if value == level));
        let error = over(&storage()).compression(wrong).build().unwrap_err();
        assert!(matches!(error, checkpoint::BuildError::Settings(InvalidConfig::Level { .. })));
    }
    let keeper = over(&storage()).compression(Compression::Lz4).build().unwrap();
    let config = manual().dictionary(dictionary()).build().unwrap();
    let builder = keeper.prototype::<String, String>("texts").config(config);
    let error = builder.create(|_| String::new()).build().unwrap_err();
    assert!(matches!(error, RegisterError::Unsupported { .. }), "{error:?}");
}
