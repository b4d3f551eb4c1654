//! `verify` notices every changed byte, and names it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use checkpoint::storage::conformance;
use checkpoint::{LogDamage, LogDamageKind, LogStorage, SaveOutcome, StateStorage, StateVersion};
use checkpoint_tests::Quota;

use super::{hints, id, segments, store};

/// Overwritten, removed and compacted states in several segments.
fn used(root: &std::path::Path) -> LogStorage {
    let builder = LogStorage::builder(root).segment_bytes(9_000).background_compaction(false);
    let storage = builder.open().unwrap();
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
            // A version byte of a newer library cannot be told from a changed one: it is an error.
            if let Ok(report) = storage.verify(|_| {}) {
                let name = path.file_name().unwrap().to_str().unwrap();
                let is_here = |damage: &LogDamage| damage.file.ends_with(name);
                assert!(report.damages.iter().any(is_here), "byte {at} of {name} was not noticed");
            }
            file.write_all_at(&byte, at).unwrap();
            if path.extension().is_some() {
                // A hint that was found damaged is not looked at again, but made anew.
                storage.compact().unwrap();
            }
        }
    }
    assert!(storage.verify(|_| {}).unwrap().damages.is_empty());
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
