//! Ids of any bytes (T9): each has a file of its own inside of the store, and comes back as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, DefaultFileSystemStateStorage, Durability, FetchVersion, SaveOutcome,
    StateStorage, StateVersion,
};
use checkpoint_tests::Quota;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::open;

/// Each id has a file, and prototypes have directories.
const IDS_MAX: u64 = 100_000;

/// Names that mean something to a file system, a shell, a terminal or this library.
const SPECIAL: &[&str] = &[
    "",
    ".",
    "..",
    "/",
    "../x",
    "../../etc/passwd",
    "a/../../b",
    "/etc/passwd",
    "\\",
    "..\\x",
    "C:\\x",
    "a\0b",
    "\0",
    "store",
    "epoch",
    "lock",
    "temp",
    "meta",
    "temp/0",
    "070",
    "0",
    "1",
    "\u{202E}gpj.exe",
    "\u{FEFF}",
    "e\u{301}",
    "\u{e9}",
    "CON",
    "nul",
    "a.",
    " a ",
    "-rf",
    "~",
    "$HOME",
    "*",
    "%2e%2e",
    "%00",
    "\u{1}quarantine/p",
    "\u{1}epoch",
    "\u{1}metadata",
];

fn key() -> impl Strategy<Value = Vec<u8>> {
    let of_length = select(vec![99_usize, 100, 101, 127, 200, 201, 254, 255, 256, 4_096, 65_536]);
    prop_oneof![
        select(SPECIAL).prop_map(|text| text.as_bytes().to_vec()),
        // All of C0.
        prop::collection::vec(0_u8..0x20, 1..20),
        prop::collection::vec(any::<u8>(), 0..130),
        any::<String>().prop_map(String::into_bytes),
        (any::<u8>(), of_length).prop_map(|(fill, length)| vec![fill; length]),
    ]
}

fn prototype() -> impl Strategy<Value = String> {
    let special: Vec<String> = SPECIAL
        .iter()
        .filter(|name| !name.is_empty() && !name.chars().any(char::is_control))
        .map(|name| (*name).to_owned())
        .collect();
    prop_oneof![
        select(special),
        "[^\\p{C}]{1,50}",
        (1_usize..=200).prop_map(|length| "n".repeat(length)),
        Just("\u{202E}\u{202D}".repeat(33)),
    ]
}

/// All that is below a directory, with modes; links are not followed.
fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, u32>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        found.insert(path.clone(), metadata.permissions().mode());
        if metadata.is_dir() {
            walk(&path, found);
        }
    }
}

fn record(id: &CheckpointId, sequence: u64) -> Vec<u8> {
    conformance::record(id, StateVersion::new(1, sequence), id.key())
}

fn check_inside(root: &Path) {
    let mut found = BTreeMap::new();
    walk(root, &mut found);
    for (path, mode) in &found {
        let is_directory = path.is_dir();
        assert_eq!(mode & 0o7777, if is_directory { 0o700 } else { 0o600 }, "{}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_own = ["store", "epoch", "lock", "temp", "meta"].contains(&name);
        let is_hex = name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        assert!(is_own || is_hex && name.len() <= 201, "{}", path.display());
    }
}

/// What surrounds the store: the parents of its directory, down to it.
fn decoy(top: &Path) -> BTreeMap<PathBuf, u32> {
    let mut found = BTreeMap::new();
    walk(top, &mut found);
    found.retain(|path, _| !path.starts_with(top.join("up/x/state")));
    found
}

/// K1, B10, B11.
#[test]
fn ids_of_any_bytes_have_files_of_their_own_inside_of_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    for decoy in ["up/x", "etc", "up/etc", "up/x/etc"] {
        fs::create_dir_all(top.join(decoy)).unwrap();
        fs::write(top.join(decoy).join("passwd"), "untouched").unwrap();
    }
    let root = top.join("up/x/state");
    let builder = DefaultFileSystemStateStorage::builder(&root);
    let storage = builder.durability(Durability::Process).open().unwrap();
    let before = decoy(top);
    let mut stored = BTreeMap::new();
    let ids = (prototype(), key());
    let mut runner = TestRunner::deterministic();
    for sequence in 1..=Quota::HOSTILE_INPUTS.get().min(IDS_MAX) {
        let (prototype, key) = ids.new_tree(&mut runner).unwrap().current();
        let id = CheckpointId::new(prototype, &key).unwrap();
        assert_eq!(id.to_text().parse::<CheckpointId>().unwrap(), id);
        let saved = conformance::save(&storage, &[record(&id, sequence)]).pop();
        assert!(matches!(saved, Some(SaveOutcome::Stored)), "{id}: {saved:?}");
        stored.insert(id, sequence);
    }
    // All of them, in the end: no file was used by two.
    for (id, sequence) in &stored {
        let found = conformance::fetch(&storage, id, FetchVersion::Newest).unwrap();
        assert!(found == Some(record(id, *sequence)), "{id}");
    }
    let prototypes: BTreeSet<&str> = stored.keys().map(CheckpointId::prototype).collect();
    for prototype in prototypes {
        let mut ids = BTreeSet::new();
        let visit = &mut |id| {
            assert!(ids.insert(id), "listed twice");
            ControlFlow::Continue(())
        };
        storage.ids(prototype, visit).unwrap();
        let expected = stored.keys().filter(|id| id.prototype() == prototype).cloned();
        assert_eq!(ids, expected.collect());
    }
    check_inside(&root);
    assert_eq!(decoy(top), before);
    for decoy in before.keys().filter(|path| path.is_file()) {
        assert_eq!(fs::read_to_string(decoy).unwrap(), "untouched");
    }
}

/// K1: names of metadata are users' texts, too.
#[test]
fn metadata_of_any_name_stays_inside_of_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    fs::create_dir_all(top.join("up/x")).unwrap();
    let root = top.join("up/x/state");
    let storage = open(&root);
    let before = decoy(top);
    for name in SPECIAL.iter().filter(|name| !name.is_empty()) {
        storage.put_metadata(name, None, name.as_bytes()).unwrap();
    }
    for name in SPECIAL.iter().filter(|name| !name.is_empty()) {
        assert_eq!(storage.metadata(name).unwrap().unwrap().bytes, name.as_bytes());
    }
    check_inside(&root);
    assert_eq!(decoy(top), before);
}
