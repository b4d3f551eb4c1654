//! Each byte of a whole store of files is changed, one at a time, to several values (C1, T8): it is
//! made good, or an error of the one state that it belongs to.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, DefaultFileSystemStateStorage, Epoch, FetchVersion, RecordView, SaveOutcome,
    StateStorage, StateVersion,
};
use checkpoint_tests::Quota;
use checkpoint_tests::simulation::{Fate, Machine};

use super::id;
use crate::processes::show;

/// Of files of each kind, if the quota is that of CI.
const CHANGES: usize = 10_000;

/// A store with everything in it that there is, and what must be found there.
struct Sound {
    machine: Machine,
    contents: BTreeMap<String, Vec<u8>>,
    newest: BTreeMap<CheckpointId, Vec<u8>>,
    metadata: BTreeMap<&'static str, Vec<u8>>,
    last_epoch: Epoch,
}

fn open(machine: &Machine) -> DefaultFileSystemStateStorage {
    let files = machine.start(Fate::default());
    DefaultFileSystemStateStorage::builder("/simulated").open_over(files).unwrap()
}

/// States of all sizes, removals, two values of the metadata, and several epochs.
fn sound() -> Sound {
    let machine = Machine::new(5);
    let (mut newest, mut metadata) = (BTreeMap::new(), BTreeMap::new());
    let mut last_epoch = Epoch(0);
    for opening in 1..=2_u64 {
        let storage = open(&machine);
        for partition in [0, 7] {
            last_epoch = storage.open_epoch(partition).unwrap();
        }
        for key in 0..12_u64 {
            let id = id(&format!("k{key}"));
            let version = StateVersion::new(opening, key + 1);
            let bytes = usize::try_from(key * key * 9).unwrap();
            let record = match key % 5 {
                3 => conformance::tombstone(&id, version),
                _ => {
                    conformance::record(&id, version, &vec![u8::try_from(opening).unwrap(); bytes])
                }
            };
            let outcomes = conformance::save(&storage, std::slice::from_ref(&record));
            assert!(matches!(outcomes[0], SaveOutcome::Stored), "{outcomes:?}");
            newest.insert(id, record);
        }
        for name in ["m", "another"] {
            let expected = storage.metadata(name).unwrap().map(|found| found.version);
            let bytes = format!("{name} {opening}").repeat(20).into_bytes();
            storage.put_metadata(name, expected, &bytes).unwrap();
            metadata.insert(name, bytes);
        }
    }
    let contents = machine.contents();
    Sound { machine, contents, newest, metadata, last_epoch }
}

/// What kind of file it is.
fn kind(path: &str) -> &str {
    match path.split_once('/') {
        None => path,
        Some(("meta", _)) => "meta",
        Some(_) => "state",
    }
}

impl Sound {
    /// All that can be changed in files of a kind: where, and by which bits.
    fn changes(&self, of: &str) -> Vec<(&str, usize, u8)> {
        let files = self.contents.iter().filter(|(path, _)| kind(path) == of);
        files
            .flat_map(|(path, bytes)| {
                bytes.iter().enumerate().map(move |(at, byte)| (path, at, byte))
            })
            .flat_map(|(path, at, byte)| {
                // One bit, all of them, and the value that a lost sector has.
                [1 << (at % 8), 0xFF, (*byte).max(1)].map(|bits| (path.as_str(), at, bits))
            })
            .collect()
    }

    /// Checks a copy with this change: returns how many states were missed, all with an error.
    fn check(&self, (path, at, bits): (&str, usize, u8), of: &str) -> usize {
        let context = format!("byte {at} of {path} xor {bits:#04x}");
        let copy = self.machine.copy(0);
        copy.damage(path, |bytes| bytes[at] ^= bits);
        let storage = open(&copy);
        let mut missed = Vec::new();
        for (id, expected) in &self.newest {
            assert!(storage.may_contain(id), "{context}: {id} is gone");
            match conformance::fetch(&storage, id, FetchVersion::Newest) {
                Ok(Some(found)) if found == *expected => {}
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
        let mut ids = Vec::new();
        let listed = storage.ids("p", &mut |id| {
            ids.push(id);
            ControlFlow::Continue(())
        });
        let states: Vec<_> = self.newest.keys().collect();
        ids.sort_unstable();
        // What was removed may be listed or not; what is told besides is there.
        assert!(ids.iter().all(|id| states.contains(&id)), "{context}: {ids:?}");
        assert!(listed.is_ok() || of == "state", "{context}: {listed:?}");
        for (name, expected) in &self.metadata {
            let found = storage.metadata(name).unwrap_or_else(|err| panic!("{context}: {err}"));
            assert_eq!(found.unwrap().bytes, *expected, "{context}");
        }
        let epoch = storage.open_epoch(0).unwrap();
        assert!(epoch > self.last_epoch, "{context}: {epoch:?}");
        let left = &copy.contents()[path];
        match of {
            // It stays, for whoever looks into it.
            "state" => assert_eq!(left[at], self.contents[path][at] ^ bits, "{context}"),
            "lock" => assert_eq!(*left, self.contents[path], "{context}"),
            _ => {
                let (first, second) = left.split_at(left.len() / 2);
                assert!(first == second, "{context} was not made good");
            }
        }
        missed.len()
    }
}

/// Changes bytes in files of a kind; each change must make so many states unreadable.
#[track_caller]
fn check(of: &str, missed: usize) {
    let sound = sound();
    let all = sound.changes(of);
    // With the full quota it is every change, and with that of CI every one of the fewer.
    let count = match Quota::HOSTILE_INPUTS.get() {
        quota if quota >= 1_000_000 => all.len(),
        quota if quota >= 25_000 => CHANGES,
        quota => usize::try_from(quota / 4).unwrap(),
    };
    let mut step = (all.len() / count).max(1);
    if step > 1 && step.is_multiple_of(3) {
        // Else each byte would get the same of the three changes.
        step -= 1;
    }
    let changes: Vec<_> = all.iter().step_by(step).collect();
    assert!(
        !all.is_empty() && changes.len() >= all.len().min(count),
        "{} of {}",
        changes.len(),
        all.len()
    );
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(change) = changes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    assert_eq!(sound.check(**change, of), missed, "{change:?}");
                }
            });
        }
    });
    show(&format!("{} of {} changes in files of kind {of}", changes.len(), all.len()));
}

#[test]
fn t8_a_changed_byte_of_the_identity_is_made_good() {
    check("store", 0);
}

#[test]
fn t8_a_changed_byte_of_the_epoch_is_made_good() {
    check("epoch", 0);
}

#[test]
fn t8_a_changed_byte_of_the_metadata_is_made_good() {
    check("meta", 0);
}

/// Who has the lock says so anew.
#[test]
fn t8_a_changed_byte_of_the_lock_means_nothing() {
    check("lock", 0);
}

#[test]
fn t8_a_changed_byte_of_a_state_is_an_error_of_that_state_alone() {
    check("state", 1);
}
