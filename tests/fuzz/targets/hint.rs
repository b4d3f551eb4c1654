//! Opens a log whose hints hold any bytes, their checksums made right: nothing panics, whatever
//! they claim, and what is saved then is found when the log is opened again.
//!
//! What is found where a hint lies is for the keeper to check; that a hint which is wrong in any
//! byte is not believed is for the tests.

#![no_main]

use std::ops::ControlFlow;
use std::sync::OnceLock;

use checkpoint::storage::conformance;
use checkpoint::{CheckpointId, FetchVersion, LogStorage, SaveOutcome, StateStorage, StateVersion};
use checkpoint_fuzz::{MemoryFiles, log_id, open_log};
use libfuzzer_sys::fuzz_target;

/// No hint is made longer than this.
const HINT_BYTES_MAX: usize = 8 << 10;

fuzz_target!(|bytes: &[u8]| {
    let files = MemoryFiles::default();
    for (path, content) in template() {
        files.put(path, content);
    }
    let mut rest = bytes;
    while change(&files, &mut rest).is_some() {}
    let Ok(log) = open_log(&files) else { return };
    use_all(&log);
    let id = log_id("fuzz");
    let record = conformance::record(&id, StateVersion::new(u64::MAX, u64::MAX), b"state");
    let stored = conformance::save(&log, std::slice::from_ref(&record)).pop();
    drop(log);
    let Some(SaveOutcome::Stored) = stored else { return };
    match open_log(&files) {
        Ok(log) => match conformance::fetch(&log, &id, FetchVersion::Newest) {
            Ok(Some(found)) => assert!(found == record),
            other => panic!("stored, but: {other:?}"),
        },
        Err(err) => panic!("it was open, and does not open again: {err}"),
    }
});

/// A log of some segments, with a hint for each but the last.
fn template() -> &'static [(String, Vec<u8>)] {
    static LOG: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    LOG.get_or_init(|| {
        let files = MemoryFiles::default();
        let log = match open_log(&files) {
            Ok(log) => log,
            Err(err) => panic!("a new log cannot be opened: {err}"),
        };
        for sequence in 1..=9_u64 {
            let records: Vec<_> = [sequence % 4, 4 + sequence % 5]
                .into_iter()
                .map(|key| log_id(&key.to_string()))
                .map(|id| match sequence {
                    4 => conformance::tombstone(&id, StateVersion::new(1, sequence)),
                    _ => conformance::record(&id, StateVersion::new(1, sequence), &[7; 60]),
                })
                .collect();
            drop(conformance::save(&log, &records));
        }
        // Writes the hints.
        drop(log.compact());
        drop(log);
        files.put("meta/x", b"");
        files.put("temp/x", b"");
        let content = |path: String| (path.clone(), files.get(&path).unwrap_or_default());
        let all: Vec<_> = files.paths().into_iter().map(content).collect();
        assert!(hints(&all).count() >= 2, "there are no hints");
        all
    })
}

fn hints(files: &[(String, Vec<u8>)]) -> impl Iterator<Item = &str> {
    files.iter().map(|(path, _)| &**path).filter(|path| path.ends_with(".hint"))
}

/// Takes a change from the input, and does it: which hint, what to it, where, and with which bytes.
fn change(files: &MemoryFiles, rest: &mut &[u8]) -> Option<()> {
    let ([place, what, low, high, count], behind) = rest.split_first_chunk::<5>()?;
    let (bytes, behind) = behind.split_at(usize::from(*count).min(behind.len()));
    *rest = behind;
    let count = hints(template()).count();
    let path = hints(template()).nth(usize::from(*place) % count)?;
    let mut content = files.get(path)?;
    // Without its checksum.
    content.truncate(content.len().saturating_sub(4));
    let at = usize::from(u16::from_le_bytes([*low, *high])).min(content.len());
    match what % 5 {
        0 => content.truncate(at),
        1 => {
            for (byte, by) in content.iter_mut().skip(at).zip(bytes) {
                *byte ^= by;
            }
        }
        2 => drop(content.splice(at..at, bytes.iter().copied())),
        3 => content.extend_from_slice(bytes),
        // What one hint says, another one says too.
        _ => {
            let of = files.get(hints(template()).nth(usize::from(place / 16) % count)?)?;
            content.extend_from_slice(of.get(at..of.len().saturating_sub(4))?);
        }
    }
    content.truncate(HINT_BYTES_MAX);
    let checksum = crc32c::crc32c(&content);
    content.extend_from_slice(&checksum.to_le_bytes());
    files.put(path, &content);
    Some(())
}

fn use_all(log: &LogStorage) {
    let mut ids = Vec::new();
    log.ids("p", &mut |id| {
        ids.push(id);
        ControlFlow::Continue(())
    })
    .ok();
    for id in &ids {
        conformance::fetch(log, id, FetchVersion::Newest).ok();
        conformance::fetch(log, id, FetchVersion::Before(StateVersion::new(9, 9))).ok();
        log.versions(id).ok();
    }
    let refs: Vec<_> = ids.iter().map(CheckpointId::as_ref).collect();
    log.fetch_many(&refs, &mut |at, _| assert!(at < refs.len()));
    log.verify(|_| {}).ok();
    log.compact().ok();
}
