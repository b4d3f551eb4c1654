//! Records, and how to save and fetch them: for the checks, and for a storage's own tests.

use std::sync::mpsc;
use std::time::{Duration, UNIX_EPOCH};

use crate::checkpoint_id::CheckpointId;
use crate::record::{
    InputPositions, RecordHeader, RecordKind, RecordMeta, RecordWriter, StateVersion,
};
use crate::storage::conformance::DEADLINE;
use crate::storage::{
    FetchEntry, FetchOutcome, FetchVersion, SaveBatch, SaveOutcome, StateStorage,
};

/// Returns the record of a state, for tests of storages.
#[must_use]
pub fn record(id: &CheckpointId, version: StateVersion, payload: &[u8]) -> Vec<u8> {
    write(id, version, 0, RecordKind::State, payload)
}

/// Returns the record of a removal, for tests of storages.
#[must_use]
pub fn tombstone(id: &CheckpointId, version: StateVersion) -> Vec<u8> {
    write(id, version, 0, RecordKind::Tombstone, &[])
}

/// Saves records in one batch and returns their outcomes, for tests of storages.
///
/// # Panics
/// These are no records, or an outcome is missing after ten seconds.
#[must_use]
pub fn save(storage: &dyn StateStorage, records: &[Vec<u8>]) -> Vec<SaveOutcome> {
    match save_within(storage, records, DEADLINE) {
        Ok(outcomes) => outcomes,
        Err(missing) => panic!("{missing} of {} outcomes are missing", records.len()),
    }
}

/// Fetches a record and returns the answer, for tests of storages.
///
/// # Errors
/// Those of the storage.
///
/// # Panics
/// The answer is missing after ten seconds.
pub fn fetch(storage: &dyn StateStorage, id: &CheckpointId, version: FetchVersion) -> FetchOutcome {
    let answers = fetch_within(storage, std::slice::from_ref(id), version, DEADLINE);
    match answers.map(|mut all| all.pop()) {
        Ok(Some(outcome)) => outcome,
        Ok(None) => unreachable!("one was asked for"),
        Err(_) => panic!("the answer for {id} is missing"),
    }
}

pub(super) fn write(
    id: &CheckpointId,
    version: StateVersion,
    partition: u32,
    kind: RecordKind,
    payload: &[u8],
) -> Vec<u8> {
    let meta = RecordMeta {
        kind,
        partition,
        version,
        event_count: 0,
        captured_at: UNIX_EPOCH,
        idle: Duration::ZERO,
        fingerprint: 0,
        positions: &InputPositions::default(),
    };
    let mut bytes = Vec::new();
    let writer = RecordWriter::begin(&mut bytes, id.as_ref(), &meta);
    bytes.extend_from_slice(payload);
    writer.finish(&mut bytes);
    bytes
}

/// Saves one batch; the error is how many outcomes are missing after the deadline.
pub(super) fn save_within(
    storage: &dyn StateStorage,
    records: &[Vec<u8>],
    deadline: Duration,
) -> Result<Vec<SaveOutcome>, usize> {
    let (tx, rx) = mpsc::channel();
    let batch = SaveBatch::of_records(records.concat(), move |index, outcome| {
        // Nobody listens any more if the deadline has passed.
        drop(tx.send((index, outcome)));
    });
    let batch = batch.unwrap_or_else(|err| unreachable!("the kit writes whole records: {err}"));
    storage.save(batch);
    collect(records.len(), &rx, deadline)
}

/// Fetches in one call; the error is how many answers are missing after the deadline.
pub(super) fn fetch_within(
    storage: &dyn StateStorage,
    ids: &[CheckpointId],
    version: FetchVersion,
    deadline: Duration,
) -> Result<Vec<FetchOutcome>, usize> {
    let (tx, rx) = mpsc::channel();
    let entries = ids.iter().enumerate().map(|(index, id)| {
        let tx = tx.clone();
        // Nobody listens any more if the deadline has passed.
        FetchEntry::new(id.clone(), version, move |outcome| drop(tx.send((index, outcome))))
    });
    storage.fetch(entries.collect());
    collect(ids.len(), &rx, deadline)
}

fn collect<T>(
    count: usize,
    rx: &mpsc::Receiver<(usize, T)>,
    deadline: Duration,
) -> Result<Vec<T>, usize> {
    let mut all: Vec<Option<T>> = (0..count).map(|_| None).collect();
    for _ in 0..count {
        let Ok((index, outcome)) = rx.recv_timeout(deadline) else { break };
        if let Some(place) = all.get_mut(index) {
            *place = Some(outcome);
        }
    }
    match all.iter().filter(|outcome| outcome.is_none()).count() {
        0 => Ok(all.into_iter().flatten().collect()),
        missing => Err(missing),
    }
}

/// Shows a record by what identifies it, not by its bytes.
pub(super) fn shown(record: Option<&[u8]>) -> String {
    let Some(bytes) = record else { return "absent".to_owned() };
    match RecordHeader::parse(bytes) {
        Ok(header) => format!(
            "{:?} {} of {} ({} bytes, CRC {:08x})",
            header.kind,
            header.version,
            header.id,
            bytes.len(),
            crc32c::crc32c(bytes)
        ),
        Err(err) => format!("{} bytes that are no record ({err})", bytes.len()),
    }
}
