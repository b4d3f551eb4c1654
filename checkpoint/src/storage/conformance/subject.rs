//! The storage under test, and how the checks talk to it.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, UNIX_EPOCH};

use crate::checkpoint_id::CheckpointId;
use crate::record::{
    InputPositions, RecordHeader, RecordKind, RecordMeta, RecordWriter, StateVersion,
};
use crate::storage::conformance::{DEADLINE, Harness, Verdict};
use crate::storage::{
    FetchEntry, FetchOutcome, FetchVersion, SaveBatch, SaveOutcome, StateStorage, StorageErrorKind,
};

/// What a check returns: it passed, or another verdict.
pub(super) type Checked<T = ()> = Result<T, Verdict>;

pub(super) struct Subject {
    // There is none only while it is being reopened.
    storage: Option<Arc<dyn StateStorage>>,
    harness: Arc<dyn Harness>,
    pub(super) deadline: Duration,
}

impl Subject {
    pub(super) fn new(harness: Arc<dyn Harness>, deadline: Duration) -> Self {
        Self { storage: Some(harness.fresh()), harness, deadline }
    }

    pub(super) fn storage(&self) -> &Arc<dyn StateStorage> {
        match &self.storage {
            Some(storage) => storage,
            None => unreachable!("a check goes on only if its storage was reopened"),
        }
    }

    pub(super) fn reopen(&mut self) -> Checked {
        if let Some(storage) = self.storage.take() {
            self.storage = self.harness.reopen(storage);
        }
        match self.storage {
            Some(_) => Ok(()),
            None => Err(Verdict::Skipped("the harness cannot reopen".to_owned())),
        }
    }

    pub(super) fn save(&self, records: &[Vec<u8>]) -> Checked<Vec<SaveOutcome>> {
        save_within(&**self.storage(), records, self.deadline).map_err(Verdict::Failed)
    }

    /// Saves one record, which must be stored.
    pub(super) fn store(&self, record: &[u8]) -> Checked {
        self.store_all(&[record.to_vec()])
    }

    /// Saves records in one batch; all must be stored.
    pub(super) fn store_all(&self, records: &[Vec<u8>]) -> Checked {
        for (index, outcome) in self.save(records)?.iter().enumerate() {
            if !matches!(outcome, SaveOutcome::Stored) {
                return failed(&format!("saving entry {index} of the batch"), "Stored", outcome);
            }
        }
        Ok(())
    }

    /// Saves one record, which must be refused for this reason.
    pub(super) fn refused(&self, record: &[u8], reason: StorageErrorKind) -> Checked {
        let outcomes = self.save(&[record.to_vec()])?;
        match outcomes.first() {
            Some(SaveOutcome::NotStored(err)) if err.kind() == reason => Ok(()),
            found => failed("saving", &format!("NotStored({reason:?})"), &found),
        }
    }

    pub(super) fn fetch(
        &self,
        ids: &[CheckpointId],
        version: FetchVersion,
    ) -> Checked<Vec<FetchOutcome>> {
        fetch_within(&**self.storage(), ids, version, self.deadline).map_err(Verdict::Failed)
    }

    /// Fetches a version of one id, which must be this record, byte for byte, or absent.
    pub(super) fn expect_version(
        &self,
        id: &CheckpointId,
        version: FetchVersion,
        expected: Option<&[u8]>,
    ) -> Checked {
        let what = format!("fetching {id} ({version:?})");
        match self.fetch(std::slice::from_ref(id), version)?.into_iter().next() {
            Some(Ok(found)) if found.as_deref() == expected => Ok(()),
            Some(Ok(found)) => failed(&what, &shown(expected), &Shown(shown(found.as_deref()))),
            other => failed(&what, &shown(expected), &other),
        }
    }

    /// Fetches the newest record of an id, by each way there is.
    pub(super) fn expect(&self, id: &CheckpointId, expected: Option<&[u8]>) -> Checked {
        self.expect_version(id, FetchVersion::Newest, expected)?;
        if let Some(now) = self.storage().fetch_now(id) {
            match now {
                Ok(found) if found.as_deref() == expected => {}
                Ok(found) => {
                    let found = Shown(shown(found.as_deref()));
                    return failed(&format!("fetch_now of {id}"), &shown(expected), &found);
                }
                Err(err) => {
                    return failed(&format!("fetch_now of {id}"), &shown(expected), &err);
                }
            }
        }
        if expected.is_some() && !self.storage().may_contain(id) {
            return failed(&format!("may_contain of {id}, which is stored"), "true", &false);
        }
        Ok(())
    }

    /// Lists the ids of a prototype, sorted.
    pub(super) fn ids(&self, prototype: &str) -> Checked<Vec<CheckpointId>> {
        let mut ids = Vec::new();
        let listed = self.storage().ids(prototype, &mut |id| {
            ids.push(id);
            ControlFlow::Continue(())
        });
        if let Err(err) = listed {
            failed(&format!("listing the ids of {prototype:?}"), "success", &err)?;
        }
        ids.sort();
        Ok(ids)
    }

    /// Lists the ids of a prototype, which must be these.
    pub(super) fn expect_ids(&self, prototype: &str, mut expected: Vec<CheckpointId>) -> Checked {
        expected.sort();
        equal(&format!("listing the ids of {prototype:?}"), &expected, &self.ids(prototype)?)
    }
}

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
        Err(why) => panic!("{why}"),
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
    match fetch_within(storage, std::slice::from_ref(id), version, DEADLINE)
        .map(|mut all| all.pop())
    {
        Ok(Some(outcome)) => outcome,
        Ok(None) => unreachable!("one was asked for"),
        Err(why) => panic!("{why}"),
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
        event_count: version.sequence.0,
        // A full second, so that storages that keep it apart need not keep it exactly.
        captured_at: UNIX_EPOCH + Duration::from_secs(1_767_225_600),
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

fn save_within(
    storage: &dyn StateStorage,
    records: &[Vec<u8>],
    deadline: Duration,
) -> Result<Vec<SaveOutcome>, String> {
    let (tx, rx) = mpsc::channel();
    let batch = SaveBatch::of_records(records.concat(), move |index, outcome| {
        // Nobody listens any more if the deadline has passed.
        drop(tx.send((index, outcome)));
    });
    let batch = batch.map_err(|err| format!("these are no records: {err}"))?;
    storage.save(batch);
    let mut outcomes: Vec<Option<SaveOutcome>> = records.iter().map(|_| None).collect();
    for _ in records {
        let Ok((index, outcome)) = rx.recv_timeout(deadline) else { break };
        if let Some(place) = outcomes.get_mut(index) {
            *place = Some(outcome);
        }
    }
    let missing = outcomes.iter().filter(|outcome| outcome.is_none()).count();
    if missing > 0 {
        return Err(format!(
            "saving a batch of {}: expected an outcome of each entry, found {missing} without one \
             after {deadline:?}",
            records.len()
        ));
    }
    Ok(outcomes.into_iter().flatten().collect())
}

fn fetch_within(
    storage: &dyn StateStorage,
    ids: &[CheckpointId],
    version: FetchVersion,
    deadline: Duration,
) -> Result<Vec<FetchOutcome>, String> {
    let (tx, rx) = mpsc::channel();
    let entries = ids.iter().enumerate().map(|(index, id)| {
        let tx = tx.clone();
        // Nobody listens any more if the deadline has passed.
        FetchEntry::new(id.clone(), version, move |outcome| drop(tx.send((index, outcome))))
    });
    storage.fetch(entries.collect());
    let mut outcomes: Vec<Option<FetchOutcome>> = ids.iter().map(|_| None).collect();
    for _ in ids {
        let Ok((index, outcome)) = rx.recv_timeout(deadline) else { break };
        if let Some(place) = outcomes.get_mut(index) {
            *place = Some(outcome);
        }
    }
    match outcomes.iter().position(Option::is_none).and_then(|missing| ids.get(missing)) {
        Some(id) => Err(format!("fetching {id}: expected an answer, found none in {deadline:?}")),
        None => Ok(outcomes.into_iter().flatten().collect()),
    }
}

pub(super) fn equal<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Checked {
    if expected == found { Ok(()) } else { failed(what, &format!("{expected:?}"), found) }
}

/// Fails a check: of what, what was expected and what was found.
pub(super) fn failed(what: &str, expected: &str, found: &dyn Debug) -> Checked {
    Err(Verdict::Failed(format!("{what}: expected {expected}, found {found:?}")))
}

/// Shows a record by what identifies it, not by its bytes.
fn shown(record: Option<&[u8]>) -> String {
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

struct Shown(String);

impl Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
