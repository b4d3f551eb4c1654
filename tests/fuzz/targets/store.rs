//! Opens a directory with any names and contents as a store of files: errors, or what is there;
//! nothing is listed that cannot be fetched, and nothing of others is touched.

#![no_main]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, DefaultFileSystemStateStorage, FetchVersion, RecordHeader, SaveOutcome,
    StateStorage, StateVersion, StorageError,
};
use checkpoint_fuzz::{MemoryFiles, sealed};
use libfuzzer_sys::fuzz_target;

/// The directory of prototype `p`.
const PROTOTYPE: &str = "070";

fuzz_target!(|bytes: &[u8]| {
    let files = MemoryFiles::default();
    for (path, content) in empty_store() {
        files.put(path, content);
    }
    let mut rest = bytes;
    while let Some((path, content)) = take_file(&mut rest) {
        files.put(&path, &content);
    }
    let foreign: Vec<_> = files.paths().into_iter().filter(|path| !may_change(path)).collect();
    let contents: Vec<_> = foreign.iter().map(|path| files.get(path)).collect();
    if let Ok(storage) = open(&files) {
        check(&storage);
    }
    for (path, content) in foreign.iter().zip(contents) {
        assert!(files.get(path) == content, "{path} was changed");
    }
});

fn open(files: &MemoryFiles) -> Result<DefaultFileSystemStateStorage, StorageError> {
    DefaultFileSystemStateStorage::builder("root").open_over(Arc::new(files.clone()))
}

fn empty_store() -> &'static [(String, Vec<u8>)] {
    static STORE: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    STORE.get_or_init(|| {
        let files = MemoryFiles::default();
        if let Err(err) = open(&files) {
            panic!("a new store cannot be opened: {err}");
        }
        // So that the directories are there.
        files.put("meta/x", b"");
        files.put("temp/x", b"");
        let content = |path: String| (path.clone(), files.get(&path).unwrap_or_default());
        files.paths().into_iter().map(content).collect()
    })
}

/// What opening, and saving the id that is saved here, may write.
fn may_change(path: &str) -> bool {
    let may = ["store", "epoch", "lock", "070/1e/066757a7a"].contains(&path);
    // One copy of a value may be damaged: the other one is put beside it again.
    may || path.starts_with("temp/") || path.starts_with("meta/")
}

/// Takes a file from the input: where it lies, the length of its name, whether it is to be sealed
/// as a record, and how much is in it.
fn take_file(rest: &mut &[u8]) -> Option<(String, Vec<u8>)> {
    let ([place, shard, name_bytes, content_bytes], behind) = rest.split_first_chunk::<4>()?;
    let (name, behind) = behind.split_at_checked(usize::from(*name_bytes % 32))?;
    let count = usize::from(*content_bytes).min(behind.len());
    let (content, behind) = behind.split_at(count);
    *rest = behind;
    let name: String =
        String::from_utf8_lossy(name).chars().filter(|c| *c != '/' && *c != '\0').collect();
    if name.is_empty() || name == "." || name == ".." {
        return None;
    }
    let path = match place % 8 {
        0 => format!("{PROTOTYPE}/{shard:02x}/{name}"),
        // The very place of a key.
        1 => format!("{PROTOTYPE}/{:02x}/{}", crc32c::crc32c(name.as_bytes()) & 0xFF, hex(&name)),
        2 => format!("meta/{name}"),
        3 => format!("meta/{}", hex(&name)),
        4 => format!("temp/{name}"),
        5 => match shard % 3 {
            0 => "store".to_owned(),
            1 => "epoch".to_owned(),
            _ => "lock".to_owned(),
        },
        6 => format!("{PROTOTYPE}/{name}"),
        _ => name,
    };
    // A path is a file or a directory.
    if ["meta", "temp", PROTOTYPE].contains(&path.as_str()) || path.len() == 6 {
        return None;
    }
    let content = match place & 0x80 {
        0 => content.to_vec(),
        _ => sealed(content).unwrap_or_default(),
    };
    Some((path, content))
}

fn hex(name: &str) -> String {
    name.bytes().fold("0".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn check(storage: &DefaultFileSystemStateStorage) {
    let mut ids = BTreeSet::new();
    // An error hides none of the others.
    storage
        .ids("p", &mut |id| {
            assert_eq!(id.prototype(), "p");
            assert!(ids.insert(id), "an id is listed twice");
            ControlFlow::Continue(())
        })
        .ok();
    for id in &ids {
        assert!(storage.may_contain(id));
        match conformance::fetch(storage, id, FetchVersion::Newest) {
            Ok(Some(record)) => match RecordHeader::parse(&record) {
                Ok(header) => assert_eq!(header.id, id.as_ref()),
                Err(err) => panic!("{id} is listed with a bad header: {err}"),
            },
            other => panic!("{id} is listed, but: {other:?}"),
        }
        assert_eq!(storage.versions(id).map(|versions| versions.len()).ok(), Some(1));
    }
    for name in ["m", "partitions"] {
        storage.metadata(name).ok();
        storage.put_metadata(name, None, b"value").ok();
    }
    let id = match CheckpointId::new("p", "fuzz") {
        Ok(id) => id,
        Err(err) => panic!("{err}"),
    };
    conformance::fetch(storage, &id, FetchVersion::Before(StateVersion::new(9, 9))).ok();
    let record = conformance::record(&id, StateVersion::new(u64::MAX, u64::MAX), b"state");
    if let Some(SaveOutcome::Stored) =
        conformance::save(storage, std::slice::from_ref(&record)).pop()
    {
        match conformance::fetch(storage, &id, FetchVersion::Newest) {
            Ok(Some(found)) => assert!(found == record),
            other => panic!("stored, but: {other:?}"),
        }
    }
}
