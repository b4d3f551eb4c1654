//! Damage of one copy in a file of the store's own is told, hides nothing, and is made good (C1,
//! C3).

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::{
    Epoch, LogDamage, LogDamageKind, LogStorage, StateStorage, StorageError, StorageErrorKind,
};
use checkpoint_tests::simulation::{Fate, Left, Machine};

use super::{own_files, payload, segments, store};

const SECTOR_BYTES: usize = 4096;

/// A log of two segments with a value in its metadata, and its last epoch.
fn closed(root: &Path) -> Epoch {
    let mut last = Epoch(0);
    for sequence in 1..=2 {
        let storage = LogStorage::open(root).unwrap();
        let expected = storage.metadata("m").unwrap().map(|found| found.version);
        storage.put_metadata("m", expected, b"value").unwrap();
        store(&storage, &format!("k{sequence}"), sequence, b"state");
        storage.open_epoch(0).unwrap();
        last = storage.open_epoch(0).unwrap();
    }
    assert_eq!(segments(root).len(), 2);
    last
}

#[track_caller]
fn check_content(storage: &LogStorage) {
    for key in ["k1", "k2"] {
        assert_eq!(payload(storage, key).as_deref(), Some(&b"state"[..]), "{key}");
    }
    assert_eq!(&*storage.metadata("m").unwrap().unwrap().bytes, b"value");
}

fn damages(storage: &LogStorage) -> Vec<(LogDamageKind, String, u64)> {
    let told = |damage: &LogDamage| (damage.kind, damage.file.clone(), damage.offset);
    let verified = storage.verify(|_| {}).unwrap().damages;
    storage.open_report().damages.iter().chain(&verified).map(told).collect()
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    own_files(root).into_iter().map(read).collect()
}

#[test]
fn a_lost_sector_of_either_copy_is_told_and_hides_nothing_and_is_made_good() {
    for name in ["store", "epoch", "manifest", "meta/06d"] {
        for (copy, fill) in [(0, 0x00), (0, 0xFF), (1, 0x00), (1, 0xFF)] {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().join("state");
            let last = closed(&root);
            let path = root.join(name);
            let mut bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.len(), 2 * SECTOR_BYTES, "{name}");
            bytes[copy * SECTOR_BYTES..][..SECTOR_BYTES].fill(fill);
            fs::write(&path, &bytes).unwrap();
            let context = format!("copy {copy} of {name} filled with {fill}");
            let is_told = |storage: &LogStorage| {
                damages(storage).iter().any(|(kind, file, offset)| {
                    let is_in_copy = usize::try_from(*offset).unwrap() / SECTOR_BYTES == copy;
                    *kind == LogDamageKind::Copy && file == name && is_in_copy
                })
            };
            // A reader leaves it as it is.
            let reader = LogStorage::open_read_only(&root).unwrap();
            assert!(is_told(&reader), "{context}: {:?}", damages(&reader));
            check_content(&reader);
            assert_eq!(fs::read(&path).unwrap(), bytes, "{context}");
            // A backup does not copy damage.
            let backup = directory.path().join("backup");
            reader.backup(&backup, |_| {}).unwrap();
            let backed_up = LogStorage::open(&backup).unwrap();
            assert_eq!(damages(&backed_up), [], "{context}");
            check_content(&backed_up);
            // Whoever writes makes it good, or when it is used.
            let storage = LogStorage::open(&root).unwrap();
            assert!(is_told(&storage), "{context}: {:?}", damages(&storage));
            check_content(&storage);
            assert_eq!(storage.verify(|_| {}).unwrap().damages, [], "{context}");
            store(&storage, "k3", 3, b"more");
            assert!(storage.open_epoch(0).unwrap() > last, "{context}");
            drop(storage);
            let storage = LogStorage::open(&root).unwrap();
            assert_eq!(damages(&storage), [], "{context}");
            check_content(&storage);
        }
    }
}

#[test]
fn a_file_of_which_no_copy_is_whole_is_refused_and_stays() {
    for name in ["store", "epoch", "manifest"] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        closed(&root);
        let path = root.join(name);
        let mut bytes = fs::read(&path).unwrap();
        for copy in 0..2 {
            bytes[copy * SECTOR_BYTES + 30] ^= 1;
        }
        fs::write(&path, &bytes).unwrap();
        let before = segments(&root);
        for _ in 0..2 {
            let opened = [LogStorage::open(&root), LogStorage::open_read_only(&root)];
            for err in opened.map(Result::unwrap_err) {
                assert_eq!(err.kind(), StorageErrorKind::Corrupt, "{err}");
                assert!(err.to_string().contains(path.to_str().unwrap()), "{err}");
                assert!(err.source().is_some(), "{err}");
            }
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(segments(&root), before);
    }
}

/// The value is an error, and it is the only one.
#[test]
fn a_value_of_the_metadata_of_which_no_copy_is_whole_hides_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    closed(&root);
    let storage = LogStorage::open(&root).unwrap();
    storage.put_metadata("another", None, b"value").unwrap();
    let path = root.join("meta/06d");
    let bytes = vec![0xFF; 2 * SECTOR_BYTES];
    fs::write(&path, &bytes).unwrap();
    let check = |err: StorageError| {
        assert_eq!(err.kind(), StorageErrorKind::Corrupt, "{err}");
        assert!(err.to_string().contains(path.to_str().unwrap()), "{err}");
    };
    check(storage.metadata("m").unwrap_err());
    check(storage.put_metadata("m", None, b"newer").unwrap_err());
    assert!(storage.metadata("another").unwrap().is_some());
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

/// One that was written before there were two copies gets the second when it is opened to be
/// written, and no sooner.
#[test]
fn a_single_copy_gets_a_second_one() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    closed(&root);
    for (path, bytes) in contents(&root) {
        let (_, behind) = checkpoint::RecordView::parse_prefix(&bytes).unwrap();
        fs::write(&path, &bytes[..bytes.len() - behind.len()]).unwrap();
    }
    let single = contents(&root);
    let reader = LogStorage::open_read_only(&root).unwrap();
    assert_eq!(damages(&reader), []);
    check_content(&reader);
    drop(reader);
    assert_eq!(contents(&root), single);
    let storage = LogStorage::open(&root).unwrap();
    assert_eq!(damages(&storage), []);
    check_content(&storage);
    for (path, bytes) in contents(&root) {
        assert_eq!(bytes.len(), 2 * SECTOR_BYTES, "{}", path.display());
        assert_eq!(bytes[..SECTOR_BYTES], bytes[SECTOR_BYTES..], "{}", path.display());
        assert!(bytes.starts_with(&single[&path][..4]), "{}", path.display());
    }
}

#[test]
fn power_lost_while_a_copy_is_made_good_loses_nothing() {
    let open = |machine: &Machine, fate| {
        LogStorage::builder("/simulated")
            .background_compaction(false)
            .open_over(machine.start(fate))
    };
    let sound = Machine::new(3);
    for sequence in 1..=2 {
        let storage = open(&sound, Fate::default()).unwrap();
        store(&storage, &format!("k{sequence}"), sequence, b"state");
        if sequence == 1 {
            storage.put_metadata("m", None, b"value").unwrap();
        }
    }
    let last = open(&sound, Fate::default()).unwrap().open_epoch(0).unwrap();
    for name in ["store", "epoch", "manifest", "meta/06d"] {
        for copy in 0..2 {
            let damaged = sound.copy(1);
            damaged.damage(name, |bytes| bytes[copy * SECTOR_BYTES..][..SECTOR_BYTES].fill(0));
            for off_after in 0.. {
                let machine = damaged.copy(off_after);
                let fate = Fate { off_after: Some(off_after), ..Fate::default() };
                let opened = open(&machine, fate).and_then(|storage| storage.metadata("m"));
                let was_on = machine.is_on();
                for left in [Left::All, Left::Synced, Left::Drawn] {
                    let crashed = machine.copy(off_after);
                    crashed.crash(left);
                    let storage = open(&crashed, Fate::default()).unwrap();
                    check_content(&storage);
                    assert!(storage.open_epoch(0).unwrap() > last);
                    drop(storage);
                    assert_eq!(damages(&open(&crashed, Fate::default()).unwrap()), []);
                }
                if was_on {
                    opened.unwrap();
                    assert!(off_after > 10, "{off_after}");
                    break;
                }
            }
        }
    }
}
