//! `verify` notices every changed byte, and names it (C1).

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use checkpoint::storage::conformance;
use checkpoint::{
    LogDamage, LogDamageKind, LogStorage, SaveOutcome, StateStorage, StateVersion, StorageErrorKind,
};
use checkpoint_tests::Quota;
use rustix::io::Errno;

use super::{hints, id, own_files, segments, store};
use crate::file_system::files_that_fail::FilesThatFail;

/// Overwritten, removed and compacted states in several segments.
fn used(root: &Path) -> LogStorage {
    let builder = LogStorage::builder(root).segment_bytes(9_000).background_compaction(false);
    let storage = builder.open().unwrap();
    for name in ["m", "n"] {
        storage.put_metadata(name, None, b"value").unwrap();
    }
    for round in 1..=40_u64 {
        for key in 0..60_u64 {
            if key < 5 || round < 15 {
                let bytes = usize::try_from(key * 170 % 3_000).unwrap();
                store(&storage, &format!("k{key}"), round * 100 + key, &vec![b'x'; bytes]);
            }
        }
        if round == 20 {
            let removed = conformance::tombstone(&id("k9"), StateVersion::new(1, round * 100 + 99));
            let outcome = conformance::save(&storage, &[removed]).pop().unwrap();
            assert!(matches!(outcome, SaveOutcome::Stored), "{outcome:?}");
            assert!(storage.compact().unwrap() > 0);
        }
    }
    storage
}

#[test]
fn a_sound_log_has_no_damage_and_progress_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let storage = used(directory.path());
    let mut told = Vec::new();
    let report = storage.verify(|progress| told.push(progress)).unwrap();
    assert!(report.damages.is_empty(), "{:?}", report.damages);
    assert!(report.records > 50 && report.bytes == storage.stats().disk_bytes);
    assert_eq!(told.first().map(|first| first.bytes_done), Some(0));
    assert!(told.is_sorted_by_key(|progress| progress.bytes_done));
    assert_eq!(
        told.last().map(|last| (last.bytes_done, last.bytes)),
        Some((report.bytes, report.bytes))
    );
}

#[test]
fn every_changed_byte_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let storage = used(directory.path());
    storage.compact().unwrap();
    // The hints first: of a segment that was found damaged none is made.
    let mut paths = hints(directory.path());
    assert!(!paths.is_empty());
    paths.extend(own_files(directory.path()));
    paths.extend(segments(directory.path()));
    let total: u64 = paths.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(total > 64 << 10, "{total}");
    let step = usize::try_from(total / Quota::HOSTILE_INPUTS.get()).unwrap().max(1);
    let mut at_all = 0;
    for path in &paths {
        for at in 0..fs::metadata(path).unwrap().len() {
            at_all += 1;
            if at_all % step != 0 {
                continue;
            }
            // A hint that was made anew is another file.
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1 << (at % 8)], at).unwrap();
            let report = storage.verify(|_| {}).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_here = |damage: &LogDamage| damage.file.ends_with(name);
            assert!(report.damages.iter().any(is_here), "byte {at} of {name} was not noticed");
            let is_copy = |damage: &LogDamage| (damage.offset, damage.bytes) == (at, 1);
            let is_own = own_files(directory.path()).contains(path);
            assert!(!is_own || report.damages.iter().any(is_copy), "byte {at} of {name}");
            file.write_all_at(&byte, at).unwrap();
            if path.extension().is_some() {
                // A hint that was found damaged is not looked at again, but made anew.
                storage.compact().unwrap();
            }
        }
    }
    assert!(storage.verify(|_| {}).unwrap().damages.is_empty());
}

/// Whatever becomes of a file, it is in the report, and so is what is wrong with the others.
#[track_caller]
fn check_told(harm: impl Fn(&Path), kind: LogDamageKind, of: &[&str]) {
    for name in of {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        let storage = used(&root);
        let sound = storage.verify(|_| {}).unwrap();
        let name = match *name {
            "the first segment" => format!("segments/{}", name_of(&segments(&root)[0])),
            name => name.to_owned(),
        };
        harm(&root.join(&name));
        // Damage in the last segment, too.
        let last = segments(&root).pop().unwrap();
        let mut bytes = fs::read(&last).unwrap();
        bytes[100] ^= 1;
        fs::write(&last, bytes).unwrap();
        let mut done = 0;
        let report = storage.verify(|progress| done = progress.bytes_done).unwrap();
        assert_eq!((done, report.bytes), (sound.bytes, sound.bytes));
        assert!(report.records * 2 > sound.records, "{name}: {report:?}");
        let kinds_of = |name: &str| {
            let damages = report.damages.iter().filter(|found| found.file == name);
            damages.map(|found| found.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds_of(&name), [kind], "{name}: {:?}", report.damages);
        assert!(!kinds_of(&format!("segments/{}", name_of(&last))).is_empty(), "{name}");
        let shown = report.damages.iter().map(ToString::to_string).collect::<String>();
        assert!(shown.contains(&name), "{shown}");
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_missing_file_is_told_and_the_others_are_read() {
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let of = ["store", "epoch", "manifest", "the first segment"];
    check_told(remove, LogDamageKind::Missing, &of);
    let replace = |path: &Path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    };
    check_told(replace, LogDamageKind::Missing, &of);
    check_told(|path| fs::remove_dir_all(path).unwrap(), LogDamageKind::Missing, &["meta"]);
}

#[test]
fn a_file_of_which_no_copy_is_whole_is_told_and_the_others_are_read() {
    let damage = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let half = bytes.len() / 2;
        bytes[10] ^= 1;
        bytes[half + 10] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    check_told(damage, LogDamageKind::OwnFile, &["store", "epoch", "manifest", "meta/06d"]);
    // Whole, but of another value.
    let exchange = |path: &Path| {
        fs::copy(path.with_file_name("06d"), path).unwrap();
    };
    check_told(exchange, LogDamageKind::OwnFile, &["meta/06e"]);
}

#[test]
fn a_segment_that_looks_like_one_of_another_version_is_told_and_the_others_are_read() {
    let change = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        // One of the two would be known to be damage.
        bytes[4] += 1;
        bytes[20] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    check_told(change, LogDamageKind::Unreadable, &["the first segment"]);
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_the_others_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    drop(used(&root));
    let files = FilesThatFail::new(&root);
    let script = files.script();
    let builder = LogStorage::builder(&root).background_compaction(false);
    let storage = builder.open_over(Arc::new(files)).unwrap();
    let sound = storage.verify(|_| {}).unwrap();
    let first = format!("segments/{}", name_of(&segments(&root)[0]));
    for file in ["store", "epoch", "manifest", "meta/06d", &first] {
        for operation in ["open_file", "read_at"] {
            script.fail_all(&format!("{operation} {file}"), Errno::IO);
            let mut report = storage.verify(|_| {}).unwrap();
            script.heal();
            // The hint has the segment's name, with something behind it.
            report.damages.retain(|damage| damage.kind != LogDamageKind::Hint);
            let [damage] = &*report.damages else { panic!("{file}: {:?}", report.damages) };
            assert_eq!((&*damage.file, damage.kind), (file, LogDamageKind::Unreadable));
            assert_eq!(report.records < sound.records, file == first, "{file}");
        }
        // That says nothing of the file.
        script.fail_all(&format!("open_file {file}"), Errno::MFILE);
        let err = storage.verify(|_| {}).unwrap_err();
        script.heal();
        assert_eq!(err.kind(), StorageErrorKind::Unavailable, "{err}");
        assert!(err.to_string().contains(file), "{err}");
    }
    assert_eq!(storage.verify(|_| {}).unwrap(), sound);
}

#[test]
fn whose_record_is_damaged_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let storage = LogStorage::open(directory.path()).unwrap();
    store(&storage, "a", 1, b"first");
    store(&storage, "b", 2, b"second");
    let path = &segments(directory.path())[0];
    let bytes = fs::read(path).unwrap();
    let at = bytes.windows(5).position(|found| found == b"first").unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"F", at as u64).unwrap();
    let report = storage.verify(|_| {}).unwrap();
    let [damage] = &*report.damages else { panic!("{report:?}") };
    assert_eq!((damage.kind, &damage.id), (LogDamageKind::Record, &Some(id("a"))));
    assert!(damage.to_string().contains("of p/a"), "{damage}");
    // A newer state is not concerned.
    store(&storage, "a", 3, b"third");
    assert!(storage.may_contain(&id("a")) && super::payload(&storage, "a").is_some());
}
