//! Sealed records of every version of the format, which are never rewritten, only added to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, Compression, FetchVersion, InMemoryStorage, SafeKeeperBuilder, StateStorage,
};

use crate::sealing::{ZSTD, dictionary, keys, over, put, record, store, text, texts};
use crate::support::{FAIL_SAFE, manual};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/sealed/v1").join(name)
}

/// Names of the files, and how they were made.
fn ways() -> Vec<(&'static str, Compression, bool, bool)> {
    vec![
        ("lz4", Compression::Lz4, false, false),
        ("zstd", ZSTD, false, false),
        ("zstd-dictionary", ZSTD, true, false),
        ("encrypted", Compression::None, false, true),
        ("lz4-encrypted", Compression::Lz4, false, true),
        ("zstd-dictionary-encrypted", ZSTD, true, true),
    ]
}

fn builder(storage: &Arc<dyn StateStorage>, is_encrypted: bool) -> SafeKeeperBuilder {
    if is_encrypted { over(storage).encryption(keys(7)) } else { over(storage) }
}

/// What is in the store beside the state: what it takes to open it.
const METADATA: [&str; 2] = ["dictionary", "encryption-key-00000007"];

/// Makes the files that are missing: one that is there is right, whatever the code says.
fn make(name: &str, compression: Compression, has_dictionary: bool, is_encrypted: bool) {
    let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
    let keeper = builder(&storage, is_encrypted).compression(compression).build().unwrap();
    let config = if has_dictionary { manual().dictionary(dictionary()) } else { manual() };
    store(&texts(&keeper, config), [("alice", text("alice").repeat(3))]);
    keeper.close(FAIL_SAFE).unwrap();
    std::fs::create_dir_all(path("")).unwrap();
    std::fs::write(path(&format!("{name}.ckp")), record(&*storage, "alice")).unwrap();
    let dictionary_name = format!("dictionary-{:016x}", dictionary().id());
    for (what, of) in METADATA.into_iter().zip([&*dictionary_name, METADATA[1]]) {
        if let Some(found) = storage.metadata(of).unwrap() {
            std::fs::write(path(&format!("{name}.{what}")), found.bytes).unwrap();
        }
    }
}

#[test]
fn golden_sealed_records_are_read_as_ever() {
    for (name, compression, has_dictionary, is_encrypted) in ways() {
        let file = path(&format!("{name}.ckp"));
        if !file.exists() && std::env::var_os("CHECKPOINT_GOLDEN").is_some() {
            make(name, compression, has_dictionary, is_encrypted);
        }
        let golden = std::fs::read(&file).unwrap_or_else(|err| {
            panic!("{}: {err}; set CHECKPOINT_GOLDEN=1 to add missing files", file.display())
        });
        let storage: Arc<dyn StateStorage> = Arc::new(InMemoryStorage::new());
        put(&*storage, golden.clone());
        let id = CheckpointId::new("texts", "alice").unwrap();
        assert_eq!(conformance::fetch(&*storage, &id, FetchVersion::Newest).unwrap(), Some(golden));
        // Under the name that its id gives it: the number in the record's key.
        for what in METADATA {
            let Ok(bytes) = std::fs::read(path(&format!("{name}.{what}"))) else { continue };
            let number = checkpoint::RecordHeader::parse(&bytes).unwrap().id.key;
            let hex =
                number.iter().rev().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            let of = if what == "dictionary" { format!("dictionary-{hex}") } else { what.into() };
            storage.put_metadata(&of, None, &bytes).unwrap();
        }
        // Without compression and without the dictionary: the record and the store say it all.
        let keeper = builder(&storage, is_encrypted).build().unwrap();
        let texts = texts(&keeper, manual());
        assert_eq!(texts.read("alice", String::clone).unwrap(), text("alice").repeat(3), "{name}");
    }
}

#[test]
fn every_golden_file_is_read() {
    let mut found: Vec<_> = std::fs::read_dir(path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut expected = Vec::new();
    for (name, _, has_dictionary, is_encrypted) in ways() {
        expected.push(format!("{name}.ckp"));
        expected.extend(has_dictionary.then(|| format!("{name}.{}", METADATA[0])));
        expected.extend(is_encrypted.then(|| format!("{name}.{}", METADATA[1])));
    }
    expected.sort();
    assert_eq!(found, expected);
}
