//! Opens a log whose segments hold any bytes: errors, or what is there; what is saved then is
//! found, and the log opens again.

#![no_main]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, FetchVersion, LogStorage, RecordHeader, RecordView, SaveOutcome, StateStorage,
    StateVersion,
};
use checkpoint_fuzz::{MemoryFiles, log_id, open_log, sealed, sealed_batch};
use libfuzzer_sys::fuzz_target;

/// What the segments of the log are called: the last one is open, the others are full.
const SEGMENTS: [&str; 3] = ["segments/00000001", "segments/00000002", "segments/00000003"];

/// No segment is made longer than this.
const SEGMENT_BYTES_MAX: usize = 16 << 10;

fuzz_target!(|bytes: &[u8]| {
    let files = MemoryFiles::default();
    for (path, content) in template() {
        files.put(path, content);
    }
    let mut rest = bytes;
    while change(&files, &mut rest).is_some() {}
    let Ok(log) = open_log(&files) else { return };
    check(&log);
    let id = log_id("fuzz");
    let record = conformance::record(&id, StateVersion::new(u64::MAX, u64::MAX), b"state");
    let stored = conformance::save(&log, std::slice::from_ref(&record)).pop();
    drop(log);
    let Some(SaveOutcome::Stored) = stored else { return };
    match open_log(&files) {
        Ok(log) => {
            check(&log);
            match conformance::fetch(&log, &id, FetchVersion::Newest) {
                Ok(Some(found)) => assert!(found == record),
                other => panic!("stored, but: {other:?}"),
            }
        }
        Err(err) => panic!("it was open, and does not open again: {err}"),
    }
});

/// A log of three segments, the last of which was not closed.
fn template() -> &'static [(String, Vec<u8>)] {
    static LOG: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    LOG.get_or_init(|| {
        let files = MemoryFiles::default();
        let log = match open_log(&files) {
            Ok(log) => log,
            Err(err) => panic!("a new log cannot be opened: {err}"),
        };
        for sequence in 1..=6_u64 {
            let keys = [sequence % 2, 2 + sequence % 3];
            let records: Vec<_> = keys
                .iter()
                .filter_map(|key| CheckpointId::new("p", key.to_string()).ok())
                .map(|id| match sequence {
                    4 => conformance::tombstone(&id, StateVersion::new(1, sequence)),
                    _ => conformance::record(&id, StateVersion::new(1, sequence), &[7; 60]),
                })
                .collect();
            drop(conformance::save(&log, &records));
        }
        // So that the directories are there.
        files.put("meta/x", b"");
        files.put("temp/x", b"");
        let content = |path: String| (path.clone(), files.get(&path).unwrap_or_default());
        let all: Vec<_> = files.paths().into_iter().map(content).collect();
        assert!(SEGMENTS.iter().all(|segment| all.iter().any(|(path, _)| path == segment)));
        all
    })
}

/// Takes a change from the input, and does it: which segment, what to it, where, and with which
/// bytes. Whatever is written can be given the right checksums.
fn change(files: &MemoryFiles, rest: &mut &[u8]) -> Option<()> {
    let ([place, what, low, high, count], behind) = rest.split_first_chunk::<5>()?;
    let (bytes, behind) = behind.split_at(usize::from(*count).min(behind.len()));
    *rest = behind;
    let path = SEGMENTS.get(usize::from(place % 3))?;
    let mut content = files.get(path)?;
    let at = usize::from(u16::from_le_bytes([*low, *high])).min(content.len());
    match what % 8 {
        0 => content.truncate(at),
        1 => {
            for (byte, by) in content.iter_mut().skip(at).zip(bytes) {
                *byte ^= by;
            }
        }
        2 => drop(content.splice(at..at, bytes.iter().copied())),
        3 => drop(content.splice(at..(at + bytes.len()).min(content.len()), bytes.iter().copied())),
        4 => content.extend_from_slice(bytes),
        // A whole record.
        5 => content.extend(sealed(bytes)?),
        // The head of the batch that begins there is made right.
        6 => content = sealed_batch(&content, at)?,
        // What is in one segment is in another too.
        _ => {
            let of = files.get(SEGMENTS.get(usize::from(place / 3 % 3))?)?;
            content.extend_from_slice(of.get(at..)?);
        }
    }
    // What is appended to itself again and again would fill the memory.
    content.truncate(SEGMENT_BYTES_MAX);
    files.put(path, &content);
    Some(())
}

fn check(log: &LogStorage) {
    let mut ids = BTreeSet::new();
    // An error hides none of the others.
    log.ids("p", &mut |id| {
        assert_eq!(id.prototype(), "p");
        assert!(ids.insert(id), "an id is listed twice");
        ControlFlow::Continue(())
    })
    .ok();
    for id in &ids {
        assert!(log.may_contain(id));
        if let Ok(found) = conformance::fetch(log, id, FetchVersion::Newest) {
            let Some(record) = found else { panic!("{id} is listed, and absent") };
            match RecordHeader::parse(&record) {
                Ok(header) => assert_eq!(header.id, id.as_ref()),
                Err(err) => panic!("{id} is listed with a bad header: {err}"),
            }
            // It was read whole when the log was opened.
            assert!(RecordView::parse(&record).is_ok());
        }
        log.versions(id).ok();
        conformance::fetch(log, id, FetchVersion::Before(StateVersion::new(9, 9))).ok();
    }
    log.verify(|_| {}).ok();
    log.compact().ok();
}
