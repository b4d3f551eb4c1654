//! Whole parts of a log that was closed are lost, torn, misdirected, there twice, or too many: that
//! is noticed, and nothing older passes for what was stored (C2, C3, C5, C6).
//!
//! Single bytes are in `damage`, sectors of the store's own files in `own_files` too, and what is
//! torn at the end of a log that was not closed in `torn`.

use std::collections::BTreeMap;

use checkpoint::storage::conformance;
use checkpoint::{FetchVersion, RecordView, StorageErrorKind};
use checkpoint_tests::Quota;
use checkpoint_tests::simulation::Machine;

use super::damage::{END_BYTES, Sound, open, sound};

const SECTOR_BYTES: usize = 512;
const BATCH_MAGIC: &[u8] = b"\x89CKB";

struct Store {
    sound: Sound,
    contents: BTreeMap<String, Vec<u8>>,
    /// Whatever lies behind an intact end is known to be durable; without one, the last batches of
    /// this segment are as those of a process that was killed.
    last_segment: String,
}

impl Store {
    fn new() -> Self {
        let sound = sound();
        let contents = sound.machine.contents();
        let last = contents.keys().rfind(|path| is_segment(path)).unwrap().clone();
        Self { sound, contents, last_segment: last }
    }

    fn segments(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.contents.iter().filter(|(path, _)| is_segment(path))
    }

    /// Puts something in the place of a file. Returns how many states are missed.
    fn check(&self, path: &str, bytes: &[u8], context: &str) -> usize {
        let copy = self.sound.machine.copy(0);
        copy.damage(path, |content| bytes.clone_into(content));
        let sound = &self.contents[path];
        let has_end = bytes.len() == sound.len() && bytes.ends_with(&sound[end(sound)..]);
        let may_be_cut = path == self.last_segment && !has_end;
        let context = format!("{path}, {context}");
        self.check_opened(&copy, path, may_be_cut, &context)
    }

    /// How many bytes of a file count: what lies behind them is not read.
    fn counted(&self, path: &str) -> usize {
        let sound = &self.contents[path];
        // That a former opening was closed is nothing any more.
        if is_segment(path) && path != self.last_segment { end(sound) } else { sound.len() }
    }

    fn check_opened(&self, copy: &Machine, path: &str, may_be_cut: bool, context: &str) -> usize {
        // Of the store's own files one whole copy will do: there was no other once.
        let is_one_copy = RecordView::parse(&copy.contents()[path]).is_ok();
        let log = match open(copy) {
            Ok(log) => log,
            Err(err) => {
                // Nothing is made of what is left.
                assert!(err.to_string().contains(path), "{context}: {err}");
                let kinds = [StorageErrorKind::Corrupt, StorageErrorKind::InvalidStore];
                assert!(kinds.contains(&err.kind()), "{context}: {err}");
                return self.sound.newest.len();
            }
        };
        let report = log.open_report();
        let is_cut = may_be_cut && !report.closed;
        let mut missed = 0;
        for (id, expected) in &self.sound.newest {
            match conformance::fetch(&log, id, FetchVersion::Newest) {
                Ok(found) if found == *expected => continue,
                Ok(Some(found)) if !is_cut => {
                    // Whoever gets it checks it.
                    let parsed = RecordView::parse(&found).and_then(|view| view.of(id.as_ref()));
                    assert!(parsed.is_err(), "{context}: {id} is another");
                }
                Ok(Some(found)) => {
                    let was_stored = self.sound.ever[id].contains(&found);
                    assert!(was_stored, "{context}: {id} is what it never was");
                }
                Ok(None) => assert!(is_cut, "{context}: {id} is gone"),
                Err(err) => assert!(err.to_string().contains(path), "{context}: {err}"),
            }
            missed += 1;
        }
        let is_noticed = missed > 0
            || is_cut
            || is_one_copy
            || report.hints_unusable > 0
            || report.damages.iter().any(|damage| damage.file == path)
            || log.verify(|_| {}).unwrap().damages.iter().any(|damage| damage.file == path);
        assert!(is_noticed, "{context}, was not noticed");
        missed
    }
}

fn is_segment(path: &str) -> bool {
    path.starts_with("segments/") && !path.ends_with(".hint")
}

/// Where the mark of a log that was closed begins, if there is one.
fn end(segment: &[u8]) -> usize {
    let at = segment.len().saturating_sub(END_BYTES);
    let is_end = segment[at..].starts_with(BATCH_MAGIC) && segment[at + BATCH_MAGIC.len()] == 1;
    if is_end { at } else { segment.len() }
}

/// Where the batches of a segment begin, and where the last one ends.
fn batches(segment: &[u8]) -> Vec<usize> {
    let is_head = |at: &usize| {
        let offset = u64::try_from(*at).unwrap().to_le_bytes();
        segment[*at..].starts_with(BATCH_MAGIC) && segment[*at + 16..].starts_with(&offset)
    };
    let heads = (0..segment.len().saturating_sub(24)).filter(is_head);
    heads.chain([segment.len()]).collect()
}

/// C2.
#[test]
fn a_file_cut_off_anywhere_is_noticed_and_nothing_older_is_read() {
    let store = Store::new();
    let total: usize = store.contents.values().map(Vec::len).sum();
    let lengths_max = usize::try_from(Quota::HOSTILE_INPUTS.get() / 4).unwrap();
    let step = (total / lengths_max).max(1);
    let mut missed = BTreeMap::new();
    for (path, sound) in store.contents.iter().filter(|(path, _)| *path != "lock") {
        for length in (0..store.counted(path)).step_by(step) {
            let misses = store.check(path, &sound[..length], &format!("cut to {length}"));
            *missed.entry(path.as_str()).or_insert(0) += misses;
        }
    }
    for (path, misses) in missed {
        assert!(misses > 0 || !is_segment(path), "nothing is missed without {path}");
    }
}

/// C3: sectors that were lost, or written over with those of another file.
#[test]
fn a_sector_of_something_else_is_noticed_and_nothing_older_is_read() {
    let store = Store::new();
    let foreign: Vec<u8> = store.segments().flat_map(|(_, bytes)| bytes[64..].to_vec()).collect();
    for (path, sound) in store.contents.iter().filter(|(path, _)| *path != "lock") {
        for start in (0..sound.len()).step_by(SECTOR_BYTES) {
            let end = (start + SECTOR_BYTES).min(sound.len());
            // From all over the other segments, and what lies in them.
            let other = &foreign[(start * 7) % (foreign.len() - SECTOR_BYTES)..];
            for fill in [&[0; SECTOR_BYTES], &[0xFF; SECTOR_BYTES], &other[..SECTOR_BYTES]] {
                let fill = &fill[..end - start];
                let bytes = [&sound[..start], fill, &sound[end..]].concat();
                if bytes != *sound {
                    store.check(
                        path,
                        &bytes,
                        &format!("{start} to {end} filled: {:?}", &fill[..4]),
                    );
                }
            }
        }
    }
}

/// C5: a segment counts up to where its batches end; any other file as a whole.
#[test]
fn what_lies_behind_the_end_of_a_file_is_never_read() {
    let store = Store::new();
    for (path, sound) in store.contents.iter().filter(|(path, _)| *path != "lock") {
        for behind in [&b"\0"[..], &[0xFF; 4096], sound, &sound[sound.len() / 2..]] {
            let bytes = [sound, behind].concat();
            let context = format!("{path}, {} bytes behind", behind.len());
            if is_segment(path) {
                let copy = store.sound.machine.copy(0);
                copy.damage(path, |content| *content = bytes);
                let log = open(&copy).unwrap();
                for (id, expected) in &store.sound.newest {
                    let found = conformance::fetch(&log, id, FetchVersion::Newest).unwrap();
                    assert_eq!(found, *expected, "{context}: {id}");
                }
                let report = log.open_report();
                assert!(report.closed && report.damages.is_empty(), "{context}: {report:?}");
                assert_eq!(log.verify(|_| {}).unwrap().damages, [], "{context}");
            } else {
                assert_eq!(store.check(path, &bytes, &context), 0, "{context}");
            }
        }
    }
}

/// C6: a hole below what is known to be durable is no torn end, and a batch counts once, in its
/// place.
#[test]
fn a_batch_that_is_missing_or_there_twice_is_noticed_and_nothing_older_is_read() {
    let store = Store::new();
    let mut checked = 0;
    for (path, sound) in store.segments() {
        let batches = batches(sound);
        assert!(batches.len() >= 2, "{path}: {batches:?}");
        for (number, two) in batches.windows(2).enumerate() {
            let (before, batch, behind) =
                (&sound[..two[0]], &sound[two[0]..two[1]], &sound[two[1]..]);
            let zeros = vec![0; batch.len()];
            let changes = [
                ("is missing", [before, &[], behind].concat()),
                ("is a hole", [before, &zeros, behind].concat()),
                ("is there twice", [before, batch, batch, behind].concat()),
                ("is at the end too", [sound, batch].concat()),
                ("is in the place of all behind it", [before, batch, before].concat()),
            ];
            for (what, bytes) in changes {
                // The last batch of a segment is in its place all the same.
                if !bytes.starts_with(&sound[..store.counted(path)]) {
                    store.check(path, &bytes, &format!("batch {number} {what}"));
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 50, "{checked}");
}
