//! Every way to seal, over every storage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::{
    Compression, DefaultFileSystemStateStorage, InMemoryStorage, LogStorage, SafeKeeperBuilder,
    StateStorage,
};

use crate::sealing::{ZSTD, dictionary, key, keys, over, record, sealed, store, text, texts};
use crate::support::{FAIL_SAFE, manual};

/// A way to seal: what the keeper is told, whether the prototype has a dictionary.
#[derive(Debug, Clone, Copy)]
struct Way {
    compression: Compression,
    has_dictionary: bool,
    is_encrypted: bool,
}

impl Way {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (compression, has_dictionary) in
            [(Compression::None, false), (Compression::Lz4, false), (ZSTD, false), (ZSTD, true)]
        {
            for is_encrypted in [false, true] {
                all.push(Self { compression, has_dictionary, is_encrypted });
            }
        }
        all
    }

    fn set(self, builder: SafeKeeperBuilder) -> SafeKeeperBuilder {
        let builder = builder.compression(self.compression);
        if self.is_encrypted { builder.encryption(keys(0x4B)) } else { builder }
    }

    fn config(self) -> checkpoint::CheckpointingConfigBuilder {
        if self.has_dictionary { manual().dictionary(dictionary()) } else { manual() }
    }
}

const KEYS: [&str; 3] = ["alice", "bob", ""];

#[track_caller]
fn check(way: Way, open: &dyn Fn() -> Arc<dyn StateStorage>) {
    let storage = open();
    let keeper = way.set(over(&storage)).build().unwrap();
    let of_keeper = texts(&keeper, way.config());
    store(&of_keeper, KEYS.map(|key| (key, text(key))));
    // A removal too, and a state of more than is encoded under a lock.
    store(&of_keeper, [("removed", text("")), ("large", text("large").repeat(2_000))]);
    of_keeper.remove("removed").unwrap().wait().unwrap();
    let compresses = way.compression != Compression::None;
    let key = way.is_encrypted.then_some(0x4B);
    assert_eq!(sealed(&*storage, "large"), (key, compresses), "{way:?}");
    let plain = text("large").len() * 2_000;
    let bytes = record(&*storage, "large").len();
    assert_eq!(bytes < plain / 20, compresses, "{way:?}: {bytes} of {plain} bytes");
    for key in KEYS {
        if way.has_dictionary {
            assert!(sealed(&*storage, key).1, "{way:?}: small states pay too");
        }
    }
    keeper.close(FAIL_SAFE).unwrap();
    drop((keeper, of_keeper, storage));

    // What is set now says nothing of what was stored; but for the key, which must be there.
    let storage = open();
    let builder = over(&storage);
    let builder = if way.is_encrypted { builder.encryption(keys(0x4B)) } else { builder };
    let keeper = builder.build().unwrap();
    let of_keeper = texts(&keeper, manual());
    for key in KEYS {
        assert_eq!(of_keeper.read(key, String::clone).unwrap(), text(key), "{way:?}");
    }
    assert_eq!(of_keeper.read("large", String::clone).unwrap(), text("large").repeat(2_000));
    assert_eq!(of_keeper.read("removed", String::clone).unwrap(), "");
    keeper.close(FAIL_SAFE).unwrap();
}

/// All files below a directory.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files.push(path);
        }
    }
    files
}

/// K5: what is in the files of a store.
#[track_caller]
fn check_files(way: Way, root: &Path) {
    let contains = |word: &[u8]| {
        let has =
            |path: &PathBuf| std::fs::read(path).unwrap().windows(word.len()).any(|w| w == word);
        files(root).iter().any(has)
    };
    assert!(files(root).len() > 4);
    // The dictionary is made of pieces of states: it is no way around the encryption.
    assert_eq!(contains(b"the words that all"), !way.is_encrypted, "{way:?}");
    assert_eq!(contains(b"canary of"), !way.is_encrypted, "{way:?}");
    assert!(!contains(&[0x4B; 8]), "{way:?}: the key");
}

#[test]
fn states_come_back_from_memory() {
    for way in Way::all() {
        let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
        check(way, &|| storage.clone());
    }
}

#[test]
fn states_come_back_from_files_and_are_not_in_them_in_the_clear() {
    for way in Way::all() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        check(way, &|| Arc::new(DefaultFileSystemStateStorage::open(&root).unwrap()));
        check_files(way, &root);
    }
}

#[test]
fn states_come_back_from_a_log_and_are_not_in_it_in_the_clear() {
    for way in Way::all() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        check(way, &|| Arc::new(LogStorage::open(&root).unwrap()));
        check_files(way, &root);
    }
}

/// A prototype may have a compression of its own; all are in one batch.
#[test]
fn prototypes_of_one_keeper_are_sealed_each_in_its_way() {
    let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
    let keeper = over(&storage).compression(Compression::Lz4).encryption(keys(1)).build().unwrap();
    let prototype = |name: &str, config: checkpoint::CheckpointingConfigBuilder| {
        let builder = keeper.prototype::<String, String>(name).config(config.build().unwrap());
        builder.create(|_| String::new()).build().unwrap()
    };
    let all = [
        ("lz4", prototype("lz4", manual())),
        ("zstd", prototype("zstd", manual().compression(ZSTD))),
        ("raw", prototype("raw", manual().compression(Compression::None))),
    ];
    for (name, texts) in &all {
        for n in 0..20 {
            texts.process(&format!("{n}"), |state| *state = text(name).repeat(100)).unwrap();
        }
    }
    keeper.close(FAIL_SAFE).unwrap();
    let bytes_of = |name: &str| {
        let id = checkpoint::CheckpointId::new(name, "7").unwrap();
        let newest = checkpoint::FetchVersion::Newest;
        let record = checkpoint::storage::conformance::fetch(&*storage, &id, newest);
        record.unwrap().unwrap().len()
    };
    let (lz4, zstd, raw) = (bytes_of("lz4"), bytes_of("zstd"), bytes_of("raw"));
    assert!(zstd < lz4 && lz4 * 10 < raw, "{zstd}, {lz4}, {raw} bytes");
    let keeper = over(&storage).encryption(keys(2).with_older(key(1))).build().unwrap();
    for (name, _) in all {
        let builder = keeper.prototype::<String, String>(name);
        let texts = builder.create(|_| String::new()).build().unwrap();
        assert_eq!(texts.read("7", String::clone).unwrap(), text(name).repeat(100));
    }
}

/// K12: one state, stored again and again, is never the same bytes.
#[test]
fn the_same_state_stored_twice_shows_no_likeness() {
    let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
    let keeper = over(&storage).encryption(keys(1)).build().unwrap();
    let texts = texts(&keeper, manual());
    let mut nonces = std::collections::HashSet::new();
    let mut payloads = std::collections::HashSet::new();
    for _ in 0..500 {
        store(&texts, [("alice", text("alice"))]);
        let record = record(&*storage, "alice");
        let view = checkpoint::RecordView::parse(&record).unwrap();
        let header_end = view.header().header_bytes() - 4;
        nonces.insert(record[header_end - 24..header_end].to_vec());
        payloads.insert(view.payload().to_vec());
    }
    assert_eq!((nonces.len(), payloads.len()), (500, 500));
}
