//! Brings everything that is stored of a prototype under the present key and compression.
//!
//! A PE that is in memory is captured once more, as if it had changed. For one that is not, a
//! placeholder holds its place, as during a fetch, so that nobody restores, saves or removes it
//! meanwhile; its record is opened, sealed anew and saved as a new version. Neither its state nor
//! its schema is looked at.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use thiserror::Error;

use crate::capture::PeHandle;
use crate::checkpoint_id::CheckpointId;
use crate::checkpoint_ticket::CheckpointTicket;
use crate::prototype::entry::{Arrival, Flags, Slot};
use crate::prototype::inner::Inner;
use crate::prototype::key::Key;
use crate::prototype::pe_prototype::{Hindrance, PePrototype};
use crate::prototype::requests::{AskedBy, Requested};
use crate::prototype::table::Obstacle;
use crate::record::{RecordHeader, RecordMeta, RecordView, RecordWriter, Sealer, StateVersion};
use crate::reentrancy;
use crate::restore_error::RestoreFailure;
use crate::save_error::{SaveError, SaveFailure};
use crate::state::Checkpointable;
use crate::storage::{
    FetchEntry, FetchOutcome, FetchVersion, SaveBatch, SaveOutcome, StateStorage, StorageError,
    StorageErrorKind,
};
use crate::sync::Mutex;
use crate::wait::Signal;

/// How many ids are kept at a time: the bound of the memory that a rewrite needs for them.
const IDS_MAX: usize = 16 * 1024;
/// How many records are read and saved together.
const RECORDS_MAX: usize = 64;
/// How many failures a report names.
const FAILURES_MAX: usize = 10_000;

/// How far a [rewrite](PePrototype::rewrite) has come.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RewriteReport {
    /// PEs whose records were sealed as they should be.
    pub as_wanted: u64,
    /// PEs that were stored anew.
    pub rewritten: u64,
    /// PEs that could not be.
    pub failed: u64,
    /// Which those are, and why: the first 10,000.
    pub failures: Vec<RewriteError>,
    /// Whether all that is stored was looked at.
    pub is_complete: bool,
}

/// Says what of a PE could not be stored anew, and why. What is stored is untouched.
#[derive(Debug, Clone, Error)]
#[error("cannot rewrite what is stored of {id}")]
pub struct RewriteError {
    id: CheckpointId,
    #[source]
    reason: RewriteFailure,
}

/// Why something could not be stored anew.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum RewriteFailure {
    /// What is stored cannot be opened.
    #[error("it cannot be opened")]
    Unreadable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The storage failed.
    #[error("the storage failed")]
    Storage(#[source] Arc<StorageError>),
    /// The PE is in memory, and its checkpoint failed.
    #[error("its checkpoint failed")]
    NotStored(#[source] Arc<SaveError>),
    /// Somebody has the PE, or a closure panicked in it.
    #[error("it is in use, or a closure panicked in it")]
    InUse,
    /// Its key is none of the prototype's type.
    #[error("its key is none of the prototype's")]
    NotAKey,
}

impl RewriteError {
    /// Returns the id of the PE.
    #[must_use]
    pub fn id(&self) -> &CheckpointId {
        &self.id
    }

    /// Returns why it could not be stored anew.
    #[must_use]
    pub fn reason(&self) -> &RewriteFailure {
        &self.reason
    }
}

impl RewriteReport {
    fn fail(&mut self, id: CheckpointId, reason: RewriteFailure) {
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(RewriteError { id, reason });
        }
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> PePrototype<K, P> {
    /// Stores every PE anew that is stored with another key or compression than it would be now.
    ///
    /// Completes the change of a key: once the report [is complete](RewriteReport::is_complete) and
    /// names no failure, the older keys are needed no more, but for older versions that the storage
    /// keeps and for what is in quarantine. PEs that are not in memory stay out of it. Events go
    /// on; one whose PE is just being stored anew waits for that. A PE in memory is stored as it is
    /// there, also if nobody has changed it: where its checkpoint had expired, that is a new one,
    /// and the age of its last event counts from when it was loaded. Takes memory for some thousand
    /// ids and for 64 records, as they were and as they are sealed, and the storage's time: it
    /// lists the ids once for each 16,384. The keys are the keeper's: an older one is needed for as
    /// long as any of its prototypes is not rewritten.
    ///
    /// `progress` is told how far it has come, every 64 PEs; if it breaks, the rewrite ends there.
    /// A later call passes over what is done. There is no async twin: it is work for a thread of
    /// its own.
    ///
    /// # Errors
    /// The ids cannot be listed, the keeper is closed, or the call came from inside an event or
    /// from one of the keeper's threads.
    pub fn rewrite(
        &self,
        mut progress: impl FnMut(&RewriteReport) -> ControlFlow<()>,
    ) -> Result<RewriteReport, StorageError> {
        let inner = &self.inner;
        let attempted = || format!("rewrite what is stored of `{}`", inner.name);
        let mut report = RewriteReport::default();
        if !reentrancy::may_wait() {
            return Err(StorageError::new(StorageErrorKind::Unsupported, attempted())
                .with_source(inner.reentrant()));
        }
        let mut after = None;
        loop {
            let storage = || {
                let storage = inner.storage().filter(|_| !inner.gate.is_closed());
                storage.ok_or_else(|| StorageError::new(StorageErrorKind::Closed, attempted()))
            };
            let ids = next_ids(&*storage()?, &inner.name, after.as_ref())?;
            for some in ids.chunks(RECORDS_MAX) {
                // Asked for again and again: a keeper that is closed gets its storage back.
                inner.rewrite_some(&*storage()?, some, &mut report);
                if progress(&report).is_break() {
                    return Ok(report);
                }
            }
            after = ids.last().cloned();
            if ids.len() < IDS_MAX {
                report.is_complete = true;
                return Ok(report);
            }
        }
    }
}

/// The first ids behind this one.
fn next_ids(
    storage: &dyn StateStorage,
    prototype: &str,
    after: Option<&CheckpointId>,
) -> Result<Vec<CheckpointId>, StorageError> {
    let mut first = BTreeSet::new();
    storage.ids(prototype, &mut |id| {
        if after.is_none_or(|after| id > *after) {
            first.insert(id);
            if first.len() > IDS_MAX {
                first.pop_last();
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(first.into_iter().collect())
}

/// A PE that is not in memory, whose place is held.
struct Held {
    id: CheckpointId,
    shard: usize,
    pe: PeHandle,
    arrival: Arc<Arrival>,
}

/// The places that are held; given back when it is dropped.
struct HeldPlaces<'a, K: Key, P: Checkpointable + Send + 'static> {
    inner: &'a Inner<K, P>,
    held: Vec<Held>,
}

/// How a PE is to be stored anew.
enum Way {
    /// Its place is held.
    Held(Held),
    /// It is in memory: the ticket tells when it is stored.
    Captured(CheckpointTicket),
    /// There is nothing to be done any more.
    Nothing,
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    fn rewrite_some(
        &self,
        storage: &dyn StateStorage,
        ids: &[CheckpointId],
        report: &mut RewriteReport,
    ) {
        let mut places = HeldPlaces { inner: self, held: Vec::new() };
        let mut tickets = Vec::new();
        for (id, record) in ids.iter().zip(fetch_all(storage, ids)) {
            match self.is_as_wanted(id, record) {
                Ok(true) => report.as_wanted += 1,
                Ok(false) => match self.way(id) {
                    Ok(Way::Held(held)) => places.held.push(held),
                    Ok(Way::Captured(ticket)) => tickets.push(ticket),
                    Ok(Way::Nothing) => report.as_wanted += 1,
                    Err(reason) => report.fail(id.clone(), reason),
                },
                Err(reason) => report.fail(id.clone(), reason),
            }
        }
        self.rewrite_held(storage, &places.held, report);
        drop(places);
        let deadline = self.deadline();
        for ticket in tickets {
            let outcome = ticket.wait_timeout(deadline.since(self.clock.now()));
            match outcome {
                Some(Ok(_)) => report.rewritten += 1,
                Some(Err(error)) => {
                    report.fail(ticket.id().clone(), RewriteFailure::NotStored(Arc::new(error)));
                }
                None => report.fail(ticket.id().clone(), RewriteFailure::InUse),
            }
        }
    }

    /// Whether a record is certainly sealed as it should be. One that is gone or was removed is.
    fn is_as_wanted(
        &self,
        id: &CheckpointId,
        record: FetchOutcome,
    ) -> Result<bool, RewriteFailure> {
        let Some(record) = record.map_err(storage_failed)? else { return Ok(true) };
        let header = RecordHeader::parse(&record).and_then(|header| header.of(id.as_ref()));
        header.map(|header| self.sealing.has_sealed(&header)).map_err(unreadable)
    }

    /// Holds the place of a PE that is not in memory, or has one that is captured.
    fn way(&self, id: &CheckpointId) -> Result<Way, RewriteFailure> {
        let key = K::from_key_bytes(id.key()).map_err(|_| RewriteFailure::NotAKey)?;
        let place = self.place(&key);
        let deadline = self.deadline();
        loop {
            let in_use = |_| RewriteFailure::InUse;
            let mut locked = self.lock_open(place.shard).map_err(in_use)?;
            let table = locked.table();
            let found = table.entries.find_mut(place.hash, |entry| entry.key == key);
            let Some(entry) = found else {
                let Obstacle::Fetch(pe, arrival) = table.obstacle(place.hash, &key) else {
                    unreachable!("there is no entry")
                };
                let hasher = |key: &K| self.hash(key);
                self.reserve_anyway();
                table.insert_placeholder(key, pe, arrival.clone(), hasher);
                return Ok(Way::Held(Held { id: id.clone(), shard: place.shard, pe, arrival }));
            };
            let (pe, flags) = (entry.handle(place.hash), entry.flags);
            let arrival = match &entry.slot {
                // The mark of its removal takes the place of what is stored.
                Slot::Gone => return Ok(Way::Nothing),
                Slot::Fetching(arrival) => arrival.clone(),
                Slot::Resident(_) | Slot::Out { .. } => {
                    if !flags.has_any(Flags::DIRTY.and(Flags::IN_FLIGHT)) {
                        table.mark_changed(pe, &self.triggers, || self.now(), |_, _| false);
                    }
                    let (ticket, request) = CheckpointTicket::new(id.clone(), self.clock.clone());
                    let asked = (&request, AskedBy::Flush);
                    return match table.request(pe, id, asked, &self.triggers, || self.now()) {
                        Requested::Waits => Ok(Way::Captured(ticket)),
                        Requested::Answered(_) => Ok(Way::Nothing),
                        Requested::Poisoned(_) => Err(RewriteFailure::InUse),
                    };
                }
            };
            drop(locked);
            // That it could not be restored is no hindrance: its place is free then.
            match self.wait(&key, Hindrance::Arrival(arrival, None), deadline) {
                Ok(()) | Err(crate::process_error::ProcessError::Restore(_)) => {}
                Err(_) => return Err(RewriteFailure::InUse),
            }
        }
    }

    /// Stores those anew whose places are held, all at once.
    fn rewrite_held(&self, storage: &dyn StateStorage, held: &[Held], report: &mut RewriteReport) {
        let ids: Vec<_> = held.iter().map(|held| held.id.clone()).collect();
        let mut bytes = Vec::new();
        let mut under_way = Vec::new();
        let mut sealer = self.sealing.sealer(held.len());
        for (held, record) in held.iter().zip(fetch_all(storage, &ids)) {
            let start = bytes.len();
            let sealed = self.sealed_anew(held, record, &mut sealer, &mut bytes);
            if !matches!(sealed, Ok(true)) {
                // Half a record may be there.
                bytes.truncate(start);
            }
            match sealed {
                Ok(true) => under_way.push(&held.id),
                Ok(false) => report.as_wanted += 1,
                Err(reason) => report.fail(held.id.clone(), reason),
            }
        }
        for (id, outcome) in under_way.into_iter().zip(save_all(storage, bytes)) {
            match outcome {
                SaveOutcome::Stored => report.rewritten += 1,
                SaveOutcome::NotStored(error) | SaveOutcome::Unknown(error) => {
                    report.fail(id.clone(), storage_failed(error));
                }
            }
        }
    }

    /// Appends a record as it should be sealed, under a new version; `false` if it is so already.
    fn sealed_anew(
        &self,
        held: &Held,
        record: FetchOutcome,
        sealer: &mut Sealer<'_>,
        sealed: &mut Vec<u8>,
    ) -> Result<bool, RewriteFailure> {
        let Some(record) = record.map_err(storage_failed)? else { return Ok(false) };
        let view = RecordView::parse(&record).and_then(|view| view.of(held.id.as_ref()));
        let view = view.map_err(unreadable)?;
        let header = view.header();
        if self.sealing.has_sealed(header) {
            return Ok(false);
        }
        let payload = self.open(&view).map_err(|reason| match reason {
            RestoreFailure::Sealed { error, .. } => RewriteFailure::Unreadable(error),
            other => unreachable!("opening does nothing that could be {other}"),
        })?;
        let partition = self.shard(held.shard).partition;
        let version = self.registration.sequences.draw(partition).map_err(|_| {
            let reason = SaveFailure::SequenceExhausted;
            RewriteFailure::NotStored(Arc::new(SaveError::new(held.id.clone(), reason)))
        })?;
        let meta = meta(header, partition, version);
        let mut plain = Vec::with_capacity(header.header_bytes() + payload.len() + 8);
        let writer = RecordWriter::begin(&mut plain, held.id.as_ref(), &meta);
        plain.extend_from_slice(&payload);
        writer.close(&mut plain);
        let done = sealer.seal(&plain, writer, sealed).map_err(|error| {
            let attempted = format!("encrypt the state of {}", held.id);
            let error =
                StorageError::new(StorageErrorKind::Unavailable, attempted).with_source(error);
            storage_failed(error)
        })?;
        let anew = sealed.get(done.start()..).unwrap_or_default();
        let anew = RecordHeader::parse(anew).map_err(unreadable)?;
        // It was tried before, and compression did not make it smaller.
        if Sealer::is_like(header, &anew) {
            return Ok(false);
        }
        Ok(true)
    }
}

/// What the header of a record says, under another version.
fn meta<'a>(header: &'a RecordHeader<'_>, partition: u32, version: StateVersion) -> RecordMeta<'a> {
    RecordMeta {
        kind: header.kind,
        partition,
        version,
        event_count: header.event_count,
        // Not the present time: the age of a state is that of its last event.
        captured_at: header.captured_at,
        idle: header.idle,
        fingerprint: header.fingerprint,
        positions: &header.positions,
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Drop for HeldPlaces<'_, K, P> {
    fn drop(&mut self) {
        for Held { shard, pe, arrival, .. } in std::mem::take(&mut self.held) {
            // Whoever waits there tries again, and finds nobody.
            let give_back = move |table: &mut crate::prototype::table::Table<K, P>| {
                if let Some(entry) = table.remove_entry(pe) {
                    table.aftermath().dropped.push(entry);
                }
                table.aftermath().arrivals.push((arrival, Ok(())));
            };
            drop(self.inner.ask(shard, give_back));
        }
    }
}

fn storage_failed(error: StorageError) -> RewriteFailure {
    RewriteFailure::Storage(Arc::new(error))
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> RewriteFailure {
    RewriteFailure::Unreadable(Arc::new(error))
}

/// Collects the answers to some requests, in their order.
struct Answers<T> {
    answers: Mutex<(Vec<Option<T>>, usize)>,
    done: Arc<Signal<()>>,
}

impl<T> Answers<T> {
    fn new(count: usize) -> Arc<Self> {
        let answers = Mutex::new(((0..count).map(|_| None).collect(), count));
        let new = Self { answers, done: Signal::new() };
        if count == 0 {
            new.done.finish(());
        }
        Arc::new(new)
    }

    fn put(&self, index: usize, answer: T) {
        let mut answers = self.answers.lock();
        if let Some(place @ None) = answers.0.get_mut(index) {
            *place = Some(answer);
            answers.1 -= 1;
        }
        if answers.1 == 0 {
            self.done.finish(());
        }
    }

    /// Waits until all are there. Each comes: what a storage drops is answered by that.
    fn wait(&self) -> Vec<T> {
        self.done.wait(&crate::clock::SystemClock::new(), None);
        std::mem::take(&mut self.answers.lock().0).into_iter().flatten().collect()
    }
}

fn fetch_all(storage: &dyn StateStorage, ids: &[CheckpointId]) -> Vec<FetchOutcome> {
    let answers = Answers::new(ids.len());
    let entry = |(index, id): (usize, &CheckpointId)| {
        let answers = answers.clone();
        FetchEntry::new(id.clone(), FetchVersion::Newest, move |outcome| {
            answers.put(index, outcome);
        })
    };
    let entries = ids.iter().enumerate().map(entry).collect::<Vec<_>>();
    contain("fetch", || storage.fetch(entries));
    answers.wait()
}

/// Saves the records that lie in `bytes`, and returns what became of each.
fn save_all(storage: &dyn StateStorage, bytes: Vec<u8>) -> Vec<SaveOutcome> {
    let answers = Arc::new(Mutex::new(None::<Arc<Answers<SaveOutcome>>>));
    let told = answers.clone();
    let put = move |index, outcome| {
        let answers = told.lock().clone();
        if let Some(answers) = answers {
            answers.put(index, outcome);
        }
    };
    let Ok(batch) = SaveBatch::of_records(bytes, put) else {
        unreachable!("the records were made here")
    };
    let collected = Answers::new(batch.entries().len());
    *answers.lock() = Some(collected.clone());
    if !batch.entries().is_empty() {
        contain("save", || storage.save(batch));
    }
    collected.wait()
}

/// A panic drops what the storage has not kept, which answers it.
fn contain(called: &str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!(target: "checkpoint", called, "the storage panicked in a rewrite");
    }
}
