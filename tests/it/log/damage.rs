//! Each changed byte of a log that was closed is noticed, and hides its own state only (P7, C1,
//! C4).

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, FetchVersion, LogDamage, LogStorage, LogStorageBuilder, RecordView, SaveOutcome,
    StateStorage, StateVersion, StorageError, StorageErrorKind,
};
use checkpoint_tests::Quota;
use checkpoint_tests::simulation::{Fate, Machine};

use super::{fetch, id, segments, store};
use crate::processes::show;

const KEYS: &[&str] = &["a", "b", "c", "d"];

/// Whether the state of a key is as it was stored; an error if it is anything else.
fn is_as_stored(storage: &LogStorage, key: &str) -> Result<(), Box<dyn Error>> {
    let bytes = fetch(storage, key)?.ok_or("absent")?;
    let record = RecordView::parse(&bytes)?.of(id(key).as_ref())?;
    if record.payload() == key.as_bytes().repeat(9) { Ok(()) } else { Err("another".into()) }
}

#[test]
fn every_changed_byte_is_noticed_and_concerns_one_state() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = LogStorage::open(&root).unwrap();
    for (key, sequence) in KEYS.iter().zip(1..) {
        store(&storage, key, sequence, b"older");
        store(&storage, key, sequence + 10, &key.as_bytes().repeat(9));
    }
    drop(storage);
    let path = segments(&root)[0].clone();
    let sound = fs::read(&path).unwrap();
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&path, &changed).unwrap();
        let copy = directory.path().join("copy");
        let copied = std::process::Command::new("cp").arg("-a").args([&root, &copy]).status();
        assert!(copied.unwrap().success());
        let storage = LogStorage::open(&copy).unwrap();
        let report = storage.open_report();
        let is_told = report.cut.is_some() || !report.damages.is_empty();
        assert!(is_told, "byte {at} was not noticed");
        let wrong: Vec<_> =
            KEYS.iter().filter_map(|key| Some((key, is_as_stored(&storage, key).err()?))).collect();
        assert!(wrong.len() <= 1, "byte {at}: {wrong:?}");
        for (key, err) in wrong {
            let place = segments(&copy)[0].display().to_string();
            assert!(err.to_string().contains(&place), "byte {at}, {key}: {err}");
        }
        drop(storage);
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn a_damaged_state_is_not_replaced_by_an_older_one_and_can_be_stored_anew() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = LogStorage::builder(&root).older_versions_max(3).open().unwrap();
    store(&storage, "a", 1, b"older");
    store(&storage, "a", 2, b"newer");
    drop(storage);
    let path = &segments(&root)[0];
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(5).position(|found| found == b"newer").unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    let storage = LogStorage::open(&root).unwrap();
    assert_eq!(fetch(&storage, "a").unwrap_err().kind(), StorageErrorKind::Corrupt);
    assert!(storage.may_contain(&id("a")) && !storage.may_contain(&id("b")));
    store(&storage, "a", 3, b"anew");
    assert!(fetch(&storage, "a").unwrap().is_some());
}

/// Of one batch, too.
#[test]
fn a_damaged_state_is_not_replaced_by_an_older_one_of_the_same_batch() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let storage = LogStorage::open(&root).unwrap();
    let record = |sequence, payload: &[u8]| {
        conformance::record(&id("a"), StateVersion::new(1, sequence), payload)
    };
    let outcomes = conformance::save(&storage, &[record(2, b"newer"), record(1, b"older")]);
    assert!(matches!(outcomes[0], SaveOutcome::Stored), "{outcomes:?}");
    drop(storage);
    let path = &segments(&root)[0];
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(5).position(|found| found == b"newer").unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    let storage = LogStorage::open(&root).unwrap();
    assert_eq!(fetch(&storage, "a").unwrap_err().kind(), StorageErrorKind::Corrupt);
}

/// C4: its checksums are right, and it is called like the one that was there.
#[test]
fn a_segment_of_another_store_is_not_taken_for_one_of_this() {
    let directory = tempfile::tempdir().unwrap();
    let roots = ["one", "another"].map(|name| directory.path().join(name));
    for root in &roots {
        let storage = LogStorage::open(root).unwrap();
        store(&storage, "a", 1, root.to_str().unwrap().as_bytes());
        store(&storage, "b", 2, b"state");
    }
    fs::copy(&segments(&roots[1])[0], &segments(&roots[0])[0]).unwrap();
    let storage = LogStorage::open(&roots[0]).unwrap();
    let report = storage.open_report();
    assert!(!report.damages.is_empty(), "{report:?}");
    for key in ["a", "b"] {
        let found = fetch(&storage, key);
        assert!(found.is_err(), "{key}: {found:?}");
    }
}

/// J1: what a newer library wrote is told by its version, and stays.
#[test]
fn a_segment_of_a_newer_format_is_refused_by_its_version() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    store(&LogStorage::open(&root).unwrap(), "a", 1, b"state");
    let path = segments(&root)[0].clone();
    let mut newer = fs::read(&path).unwrap();
    newer[4] = 2;
    let checksum = crc32c::crc32c(&newer[..60]);
    newer[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, &newer).unwrap();
    let err = LogStorage::open(&root).unwrap_err();
    assert_eq!(err.kind(), StorageErrorKind::UnsupportedVersion, "{err}");
    assert!(err.to_string().contains("of format version 2"), "{err}");
    assert!(err.to_string().contains(path.to_str().unwrap()), "{err}");
    assert_eq!(fs::read(&path).unwrap(), newer);
}

const ROOT: &str = "/simulated";
/// The mark of a closed log.
pub(super) const END_BYTES: usize = 44;

/// A store with everything in it that there is, and what must be found there.
pub(super) struct Sound {
    pub(super) machine: Machine,
    pub(super) newest: BTreeMap<CheckpointId, Option<Vec<u8>>>,
    /// All that was ever stored.
    pub(super) ever: BTreeMap<CheckpointId, Vec<Vec<u8>>>,
    metadata: BTreeMap<&'static str, Vec<u8>>,
}

fn builder() -> LogStorageBuilder {
    LogStorage::builder(ROOT)
        .segment_bytes(6_000)
        .older_versions_max(2)
        .background_compaction(false)
}

pub(super) fn open(machine: &Machine) -> Result<LogStorage, StorageError> {
    builder().open_over(machine.start(Fate::default()))
}

/// States of all sizes, older versions, removals, several segments, compacted ones, several
/// openings, epochs of two partitions, metadata.
pub(super) fn sound() -> Sound {
    let machine = Machine::new(5);
    let (mut newest, mut metadata) = (BTreeMap::new(), BTreeMap::new());
    let mut ever: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for opening in 1..=3_u64 {
        let log = open(&machine).unwrap();
        log.open_epoch(0).unwrap();
        log.open_epoch(7).unwrap();
        for round in 0..6_u64 {
            let mut batch = Vec::new();
            for key in 0..32_u64 {
                // Some are overwritten again and again, others once.
                if key < 4 || key % 6 == round && opening == key % 3 + 1 {
                    let id = id(&format!("k{key}"));
                    let version = StateVersion::new(opening, round * 100 + key);
                    let bytes = usize::try_from(key * key * 9 + round).unwrap();
                    let is_removed = key % 11 == 3 && round % 2 == 1;
                    let record = match is_removed {
                        true => conformance::tombstone(&id, version),
                        false => conformance::record(&id, version, &vec![b'a'; bytes]),
                    };
                    ever.entry(id.clone()).or_default().push(record.clone());
                    newest.insert(id, Some(record.clone()));
                    batch.push(record);
                }
            }
            let outcomes = conformance::save(&log, &batch);
            assert!(outcomes.iter().all(|told| matches!(told, SaveOutcome::Stored)));
        }
        for name in ["m", "another"] {
            let expected = log.metadata(name).unwrap().map(|found| found.version);
            let bytes = format!("{name} {opening}").repeat(20).into_bytes();
            log.put_metadata(name, expected, &bytes).unwrap();
            metadata.insert(name, bytes);
        }
        if opening == 2 {
            assert!(log.compact().unwrap() > 0);
        }
    }
    newest.insert(id("never"), None);
    let log = open(&machine).unwrap();
    assert!(log.open_report().closed);
    assert!(log.stats().segments >= 4, "{:?}", log.stats());
    for (id, expected) in &newest {
        assert_eq!(&conformance::fetch(&log, id, FetchVersion::Newest).unwrap(), expected);
    }
    Sound { machine, newest, ever, metadata }
}

/// What became of a changed byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Noticed {
    InTheReport,
    ByWhoeverReads,
    ByVerify,
    No,
}

impl Sound {
    /// Checks a copy of which one byte was changed: it opens, nothing wrong is read, and at most
    /// one state is missed.
    fn check(&self, copy: &Machine, path: &str, context: &str) -> Noticed {
        let log = open(copy).unwrap_or_else(|err| panic!("{context}: {err}"));
        let mut missed = Vec::new();
        for (id, expected) in &self.newest {
            match conformance::fetch(&log, id, FetchVersion::Newest) {
                Ok(found) if found == *expected => {}
                Ok(Some(found)) => {
                    // Whoever gets it checks it.
                    let parsed = RecordView::parse(&found).and_then(|view| view.of(id.as_ref()));
                    assert!(parsed.is_err(), "{context}: {id} is another");
                    missed.push(id);
                }
                Ok(None) => panic!("{context}: {id} is gone"),
                Err(err) => {
                    assert!(err.to_string().contains(path), "{context}: {err}");
                    missed.push(id);
                }
            }
        }
        assert!(missed.len() <= 1, "{context}: {missed:?}");
        let report = log.open_report();
        let names_it = |damage: &LogDamage| damage.file == path;
        let noticed = if report.cut.is_some() || report.hints_unusable > 0 {
            Noticed::InTheReport
        } else if !report.damages.is_empty() {
            assert!(report.damages.iter().all(names_it), "{context}: {:?}", report.damages);
            Noticed::InTheReport
        } else if !missed.is_empty() {
            Noticed::ByWhoeverReads
        } else {
            let damages = log.verify(|_| {}).unwrap().damages;
            assert!(damages.iter().all(names_it), "{context}: {damages:?}");
            if damages.is_empty() { Noticed::No } else { Noticed::ByVerify }
        };
        for (name, expected) in &self.metadata {
            let found = log.metadata(name).unwrap_or_else(|err| panic!("{context}: {err}"));
            assert_eq!(found.unwrap().bytes, *expected, "{context}");
        }
        noticed
    }
}

#[test]
fn every_changed_byte_of_a_whole_store_is_noticed_and_hides_one_state_at_most() {
    let sound = sound();
    let contents = sound.machine.contents();
    let total: u64 = contents.values().map(|bytes| bytes.len() as u64).sum();
    assert!(total >= 64 << 10, "{total} bytes: {:?}", contents.keys());
    let is_segment = |path: &&String| path.starts_with("segments/") && !path.ends_with(".hint");
    let last_segment = contents.keys().rfind(is_segment).unwrap();
    // With the quotas of CI it is every byte.
    let quota = Quota::HOSTILE_INPUTS.get();
    let step = if quota >= 25_000 { 1 } else { usize::try_from(total / quota).unwrap().max(1) };
    let bytes: Vec<(&str, usize)> = contents
        .iter()
        .flat_map(|(path, bytes)| (0..bytes.len()).map(|at| (path.as_str(), at)))
        .step_by(step)
        .collect();
    let next = AtomicUsize::new(0);
    let seen: Mutex<BTreeMap<(&str, Noticed), u64>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((path, at)) = bytes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let copy = sound.machine.copy(0);
                    copy.damage(path, |bytes| bytes[*at] ^= 1 << (at % 8));
                    let context = format!("byte {at} of {path}");
                    let noticed = sound.check(&copy, path, &context);
                    let is_end = path.starts_with("segments/")
                        && path != last_segment
                        && *at + END_BYTES >= contents[*path].len();
                    // Who has the lock says so anew, and a former end does not count.
                    let may_be_missed = *path == "lock" || is_end;
                    assert!(noticed != Noticed::No || may_be_missed, "{context} was not noticed");
                    if *path == "lock" {
                        assert_eq!(copy.contents()[*path], contents[*path], "{context}");
                    }
                    let kind = path.split('/').next().unwrap();
                    *seen.lock().unwrap().entry((kind, noticed)).or_default() += 1;
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    show(&format!("{} of {total} bytes were changed: {seen:?}", bytes.len()));
    for kind in ["segments", "manifest", "store", "epoch", "meta", "lock"] {
        assert!(seen.keys().any(|(of, _)| *of == kind), "{kind}: {seen:?}");
    }
    // What opening reads it tells, and `verify` what is read when it is asked for.
    for (kind, noticed) in seen.keys() {
        match *kind {
            "manifest" | "store" | "epoch" => assert_eq!(*noticed, Noticed::InTheReport, "{kind}"),
            "meta" => assert_eq!(*noticed, Noticed::ByVerify, "{kind}"),
            _ => {}
        }
    }
}
