//! One save: captured states are given to the storage, and their outcomes collected.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::capture::{Capture, Settlement, SettlementOutcome};
use crate::checkpoint_id::CheckpointId;
use crate::clock::SystemClock;
use crate::quarantine::{QuarantineRoom, quarantine_id, quarantine_name};
use crate::record::{
    InputPositions, NoRandomness, RecordHeader, RecordKind, RecordMeta, RecordWriter, is_intact,
};
use crate::storage::{
    Completion, FetchEntry, FetchOutcome, FetchVersion, NEWEST_WHOLE, SaveBatch, SaveEntry,
    SaveOutcome, SaveReceiver, StateStorage, StorageError, StorageErrorKind,
};
use crate::sync::Mutex;
use crate::wait::Signal;

/// One save: gives captured states to the storage, as one batch.
///
/// What could not be restored is put aside before it is replaced, and what may have been stored by
/// an earlier attempt is looked up before it is stored again.
#[doc(alias = "org.apache.s4.core.ft.SaveStateTask")]
pub struct SaveStateTask {
    bytes: Arc<Vec<u8>>,
    savings: Vec<Saving>,
}

/// A capture on its way into the storage.
pub(crate) struct Saving {
    pub(crate) capture: Capture,
    pub(crate) attempts: u32,
    /// An attempt has ended without an answer: it may be stored.
    pub(crate) may_be_stored: bool,
    /// Why the last attempt failed.
    pub(crate) error: Option<Arc<StorageError>>,
    /// Where there is room for what it replaces, if that is limited.
    pub(crate) quarantine: Option<Arc<QuarantineRoom>>,
    /// What it is to replace was put aside by an earlier attempt, for good. It must not be read
    /// again: a storage whose last save may not be durable does not let it be.
    pub(crate) was_put_aside: bool,
}

impl Saving {
    pub(crate) fn settlement(&self, outcome: SettlementOutcome) -> Settlement {
        let settlement = self.capture.settlement(outcome);
        Settlement { was_put_aside: self.was_put_aside, ..settlement }
    }
}

/// A save that is not waited for any more.
pub(crate) struct Abandoned {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) savings: Vec<(Saving, Option<SaveOutcome>)>,
}

/// What came of a save: the captures, the outcome of each, and the bytes in which the records lie.
pub(crate) struct SavingResults {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) savings: Vec<Saving>,
    // One for each capture; none is missing.
    outcomes: Vec<Option<SaveOutcome>>,
}

impl SavingResults {
    /// Takes the outcomes, in the order of the captures.
    pub(crate) fn take_outcomes(&mut self) -> impl Iterator<Item = SaveOutcome> + use<> {
        std::mem::take(&mut self.outcomes).into_iter().flatten()
    }
}

impl SaveStateTask {
    pub(crate) fn new(bytes: Vec<u8>, captures: Vec<Capture>) -> Self {
        let saving = |capture| Saving {
            capture,
            attempts: 0,
            may_be_stored: false,
            error: None,
            quarantine: None,
            was_put_aside: false,
        };
        Self { bytes: Arc::new(bytes), savings: captures.into_iter().map(saving).collect() }
    }

    /// A later attempt, of what is left.
    pub(crate) fn again(bytes: Arc<Vec<u8>>, savings: Vec<Saving>) -> Self {
        Self { bytes, savings }
    }

    pub(crate) fn savings_mut(&mut self) -> &mut [Saving] {
        &mut self.savings
    }

    pub(crate) fn captures(&self) -> usize {
        self.savings.len()
    }

    /// How many bytes of memory the task keeps.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn into_parts(self) -> (Arc<Vec<u8>>, Vec<Saving>) {
        (self.bytes, self.savings)
    }

    /// Prepares a run whose outcomes are given to `done`, once, when there is one for each capture.
    pub(crate) fn prepare(
        self,
        done: impl FnOnce(SavingResults) + Send + 'static,
    ) -> Arc<SavingRun> {
        let outcomes = self.savings.iter().map(|_| None).collect();
        let missing = self.savings.len();
        let running = Running { bytes: self.bytes, savings: self.savings, outcomes, missing };
        Arc::new(SavingRun { running: Mutex::new(Some((running, Box::new(done)))) })
    }
}

impl fmt::Debug for SaveStateTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaveStateTask({} captures, {} bytes)", self.savings.len(), self.bytes.len())
    }
}

/// A save that is with the storage.
pub(crate) struct SavingRun {
    // Taken when all outcomes are there, or when nobody waits for them any more.
    running: Mutex<Option<(Running, Done)>>,
}

type Done = Box<dyn FnOnce(SavingResults) + Send>;

struct Running {
    bytes: Arc<Vec<u8>>,
    savings: Vec<Saving>,
    outcomes: Vec<Option<SaveOutcome>>,
    missing: usize,
}

impl SavingRun {
    /// Gives the captures to the storage. Returns when the storage has them; the outcomes may come
    /// later.
    pub(crate) fn run(self: &Arc<Self>, storage: &dyn StateStorage) {
        let (bytes, work) = {
            let running = self.running.lock();
            let Some((running, _)) = &*running else { return };
            // With what tells the outcome, so that a panic leaves none without one.
            let work = running.savings.iter().enumerate().map(|(index, saving)| {
                let receiver: Arc<dyn SaveReceiver> = self.clone();
                (Work::of(saving), Completion::new(receiver, index))
            });
            (running.bytes.clone(), work.collect::<Vec<_>>())
        };
        let mut entries = Vec::with_capacity(work.len());
        for (index, (work, completion)) in work.into_iter().enumerate() {
            match work.before_saving(storage, &bytes) {
                ControlFlow::Continue(place) => {
                    if work.preserve {
                        self.was_put_aside(index);
                    }
                    entries.push(SaveEntry::new(place, completion));
                }
                ControlFlow::Break(outcome) => completion.complete(outcome),
            }
        }
        if !entries.is_empty() {
            storage.save(SaveBatch::new(bytes, entries));
        }
    }

    fn was_put_aside(&self, index: usize) {
        if let Some((running, _)) = &mut *self.running.lock()
            && let Some(saving) = running.savings.get_mut(index)
        {
            saving.was_put_aside = true;
        }
    }

    /// Stops waiting, and returns what there is: some captures may have an outcome already.
    pub(crate) fn abandon(&self) -> Option<Abandoned> {
        let (running, _) = self.running.lock().take()?;
        let Running { bytes, savings, outcomes, .. } = running;
        Some(Abandoned { bytes, savings: savings.into_iter().zip(outcomes).collect() })
    }
}

impl SaveReceiver for SavingRun {
    fn completed(&self, index: usize, outcome: SaveOutcome) {
        let finished = {
            let mut guard = self.running.lock();
            let Some((running, _)) = &mut *guard else { return };
            if let Some(place @ None) = running.outcomes.get_mut(index) {
                *place = Some(outcome);
                running.missing -= 1;
            }
            if running.missing == 0 { guard.take() } else { None }
        };
        if let Some((running, done)) = finished {
            let Running { bytes, savings, outcomes, .. } = running;
            done(SavingResults { bytes, savings, outcomes });
        }
    }
}

/// What has to be known of a capture while the storage has it.
struct Work {
    place: crate::storage::RecordPlace,
    preserve: bool,
    is_unsealed: bool,
    may_be_stored: bool,
    quarantine: Option<Arc<QuarantineRoom>>,
}

impl Work {
    fn of(saving: &Saving) -> Self {
        Self {
            place: saving.capture.place.clone(),
            preserve: saving.capture.preserve && !saving.was_put_aside,
            is_unsealed: saving.capture.is_unsealed,
            may_be_stored: saving.may_be_stored,
            quarantine: saving.quarantine.clone(),
        }
    }

    /// Does what must be done before a record may be saved; `Break` if that has settled the matter.
    fn before_saving(
        &self,
        storage: &dyn StateStorage,
        bytes: &[u8],
    ) -> ControlFlow<SaveOutcome, crate::storage::RecordPlace> {
        if self.is_unsealed {
            let attempted = format!("encrypt the state of {}", self.place.id_in(bytes));
            let error = StorageError::new(StorageErrorKind::Unavailable, attempted);
            return ControlFlow::Break(SaveOutcome::NotStored(error.with_source(NoRandomness)));
        }
        // The checksum was computed when the state was encoded: memory that went bad since is
        // noticed.
        if !is_intact(self.place.record_in(bytes)) {
            let id = self.place.id_in(bytes);
            let attempted = format!("save {id}: its record was damaged in memory");
            let error = StorageError::new(StorageErrorKind::Broken, attempted);
            return ControlFlow::Break(SaveOutcome::NotStored(error));
        }
        // If that cannot be found out, it is sent again, which is always safe: the same version is
        // the same record, and one that is older than what is stored is refused by the storage
        // itself.
        if self.may_be_stored && self.is_stored(storage, bytes).unwrap_or(false) {
            return ControlFlow::Break(SaveOutcome::Stored);
        }
        if self.preserve
            && let Err(error) = self.put_aside(storage, bytes)
        {
            return ControlFlow::Break(SaveOutcome::NotStored(error));
        }
        ControlFlow::Continue(self.place.clone())
    }

    /// Whether this very version is stored. A newer one is another writer's: the storage is to say
    /// so.
    fn is_stored(&self, storage: &dyn StateStorage, bytes: &[u8]) -> Result<bool, StorageError> {
        let id = self.place.id_in(bytes).to_owned();
        let Some(stored) = fetch_now(storage, id)? else { return Ok(false) };
        // What is damaged is replaced: the version to be saved is newer than whatever it was.
        Ok(RecordHeader::parse(&stored).is_ok_and(|header| header.version == self.place.version))
    }

    /// Puts aside what is stored now, which could not be restored.
    fn put_aside(&self, storage: &dyn StateStorage, bytes: &[u8]) -> Result<(), StorageError> {
        let id = self.place.id_in(bytes).to_owned();
        let newest = fetch_now(storage, id.clone());
        let stored = match newest {
            // Something is damaged that may be newer: what is whole is the next best.
            Err(error) if error.kind() == StorageErrorKind::Corrupt => {
                fetch_version_now(storage, id.clone(), FetchVersion::Before(NEWEST_WHOLE))
            }
            newest => newest,
        };
        let stored = match stored {
            Err(error) if !error.kind().is_transient() => {
                // There are no bytes to be put aside, and waiting brings none.
                let key_hash = id.as_ref().key_hash();
                let prototype = id.prototype();
                tracing::warn!(
                    target: "checkpoint",
                    prototype,
                    key_hash,
                    "a checkpoint is replaced of which nothing can be read to be put aside"
                );
                return Ok(());
            }
            stored => stored?,
        };
        let Some(stored) = stored else { return Ok(()) };
        if RecordHeader::parse(&stored).is_ok_and(|header| header.version >= self.place.version) {
            return Ok(()); // An earlier attempt came so far.
        }
        let refuse = |kind| StorageError::new(kind, format!("put aside what is stored of {id}"));
        let aside = quarantine_id(&id, self.place.version)
            .map_err(|error| refuse(StorageErrorKind::Unsupported).with_source(error))?;
        let place = self.quarantine.as_deref().map(QuarantineRoom::enter);
        if let Some(place) = &place {
            let mut others = 0;
            let listed = storage.ids(&quarantine_name(id.prototype()), &mut |listed| {
                // An earlier attempt may have stored this very one.
                others += usize::from(listed != aside);
                ControlFlow::Continue(())
            });
            match listed {
                // There may be more that nobody can read: no reason not to put this one aside.
                Err(error) if error.kind() == StorageErrorKind::Corrupt => {}
                listed => listed?,
            }
            if !place.fits_beside(others) {
                return Err(refuse(StorageErrorKind::Overloaded).with_source(QuarantineFull));
            }
        }
        let record = quarantine_record(&aside, &self.place, bytes, &stored);
        save_and_wait(storage, record).map_err(|error| match error {
            Some(error) => error,
            None => refuse(StorageErrorKind::Broken),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the quarantine is full: discard some of what is in it")]
struct QuarantineFull;

fn quarantine_record(
    aside: &CheckpointId,
    place: &crate::storage::RecordPlace,
    bytes: &[u8],
    stored: &[u8],
) -> Vec<u8> {
    let captured_at = RecordHeader::parse(place.record_in(bytes))
        .map_or(std::time::UNIX_EPOCH, |header| header.captured_at);
    let mut record = Vec::with_capacity(stored.len() + 256);
    let meta = RecordMeta {
        kind: RecordKind::State,
        partition: place.partition,
        version: place.version,
        event_count: 0,
        captured_at,
        idle: std::time::Duration::ZERO,
        fingerprint: 0,
        positions: &InputPositions::default(),
    };
    let writer = RecordWriter::begin(&mut record, aside.as_ref(), &meta);
    record.extend_from_slice(stored);
    writer.finish(&mut record);
    record
}

/// Fetches a record and waits for the answer. For rare cases only: others have a pool of their own.
fn fetch_now(storage: &dyn StateStorage, id: CheckpointId) -> FetchOutcome {
    fetch_version_now(storage, id, FetchVersion::Newest)
}

fn fetch_version_now(
    storage: &dyn StateStorage,
    id: CheckpointId,
    version: FetchVersion,
) -> FetchOutcome {
    let answer = Signal::<Arc<Mutex<Option<FetchOutcome>>>>::new();
    let told = answer.clone();
    storage.fetch(vec![FetchEntry::new(id, version, move |outcome| {
        told.finish(Arc::new(Mutex::new(Some(outcome))));
    })]);
    let outcome = answer.wait(&SystemClock::new(), None).and_then(|outcome| outcome.lock().take());
    outcome.unwrap_or(Ok(None))
}

/// Saves a record and waits for the outcome; `None` if the storage broke its contract. For rare
/// cases only.
pub(crate) fn save_and_wait(
    storage: &dyn StateStorage,
    record: Vec<u8>,
) -> Result<(), Option<StorageError>> {
    let answer = Signal::<Arc<Mutex<Option<SaveOutcome>>>>::new();
    let told = answer.clone();
    let batch = SaveBatch::of_records(record, move |_, outcome| {
        told.finish(Arc::new(Mutex::new(Some(outcome))));
    });
    storage.save(batch.map_err(|_| None)?);
    let outcome = answer.wait(&SystemClock::new(), None).and_then(|outcome| outcome.lock().take());
    match outcome {
        Some(SaveOutcome::Stored) => Ok(()),
        Some(SaveOutcome::NotStored(error) | SaveOutcome::Unknown(error)) => Err(Some(error)),
        None => Err(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint_id::CheckpointIdRef;
    use crate::record::StateVersion;
    use crate::storage::{InMemoryStorage, RecordPlace};

    /// C12.
    #[test]
    fn a_record_that_was_damaged_in_memory_is_not_saved() {
        let version = StateVersion::new(1, 1);
        let positions = InputPositions::default();
        let meta = RecordMeta {
            kind: RecordKind::State,
            partition: 0,
            version,
            event_count: 1,
            captured_at: std::time::UNIX_EPOCH,
            idle: std::time::Duration::ZERO,
            fingerprint: 0,
            positions: &positions,
        };
        let mut bytes = Vec::new();
        let id = CheckpointIdRef { prototype: "p", key: b"k" };
        let writer = RecordWriter::begin(&mut bytes, id, &meta);
        bytes.extend_from_slice(b"a state");
        writer.finish(&mut bytes);
        let place = RecordPlace::new(0..bytes.len(), (1, 1), RecordKind::State, 0, version);
        let work = Work {
            place,
            preserve: false,
            is_unsealed: false,
            may_be_stored: false,
            quarantine: None,
        };
        let storage = InMemoryStorage::new();
        assert!(matches!(work.before_saving(&storage, &bytes), ControlFlow::Continue(_)));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x80;
            match work.before_saving(&storage, &damaged) {
                ControlFlow::Break(SaveOutcome::NotStored(error)) => {
                    assert_eq!(error.kind(), StorageErrorKind::Broken, "byte {at}: {error}");
                }
                _ => panic!("byte {at}: nobody noticed"),
            }
        }
    }
}
