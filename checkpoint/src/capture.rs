//! States that were captured: encoded under their shard's lock, on their way to a storage.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::clock::Timestamp;
use crate::prototype_index::PrototypeIndex;
use crate::record::{RecordKind, RecordWriter, Sealer, Sealing, StateVersion};
use crate::save_error::{SaveError, SaveFailure};
use crate::storage::RecordPlace;
use crate::wait::Signal;

/// Finds a PE in its shard again: the hash of its key and a number that is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeHandle {
    pub(crate) hash: u64,
    pub(crate) ticket: u64,
}

/// Answers manual requests: what became of the first capture at or after them.
pub(crate) type RequestSignal = Signal<Result<Option<StateVersion>, SaveError>>;

/// How much a batch takes, and how long a shard may be held for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureLimits {
    /// PEs in a batch.
    pub captures_max: usize,
    /// Bytes in a batch; a single state may be larger.
    pub bytes_max: usize,
    /// How long a shard's lock is held at a time, roughly.
    pub lock_time: Duration,
    /// How long a shard's lock is waited for.
    pub lock_wait: Duration,
}

impl Default for CaptureLimits {
    /// 4096 PEs, 4 MiB, 100 µs, 1 s.
    fn default() -> Self {
        Self {
            captures_max: 4096,
            bytes_max: 4 << 20,
            lock_time: Duration::from_micros(100),
            lock_wait: Duration::from_secs(1),
        }
    }
}

/// Collects captured states, their records one behind the other in one buffer.
#[derive(Debug, Default)]
pub struct CaptureBatch {
    limits: CaptureLimits,
    bytes: Vec<u8>,
    captures: Vec<Capture>,
    failures: Vec<CaptureFailure>,
    // Of the prototypes whose states are compressed or encrypted.
    sealings: Vec<(PrototypeIndex, Arc<Sealing>)>,
}

/// One captured state or removal.
pub struct Capture {
    pub(crate) prototype: PrototypeIndex,
    pub(crate) shard: usize,
    pub(crate) pe: PeHandle,
    pub(crate) place: RecordPlace,
    pub(crate) writer: RecordWriter,
    /// Events that the capture covers and no stored version does.
    pub(crate) events: u32,
    /// When the oldest of them was counted: see `Exposure`.
    pub(crate) generation: u32,
    pub(crate) captured_at: Timestamp,
    /// What is stored could not be restored: put it aside before replacing it.
    pub(crate) preserve: bool,
    /// It was to be encrypted and could not be: there is no record to be stored.
    pub(crate) is_unsealed: bool,
    pub(crate) asked: CaptureRequests,
}

/// Who asked for a capture and is told what becomes of it, if anybody did.
#[derive(Default)]
pub(crate) struct CaptureRequests(Option<Box<(CheckpointId, Vec<Arc<RequestSignal>>)>>);

impl CaptureRequests {
    pub(crate) fn new(requests: Vec<Arc<RequestSignal>>, id: CheckpointId) -> Self {
        Self((!requests.is_empty()).then(|| Box::new((id, requests))))
    }

    fn answer(&self, outcome: &Result<StateVersion, SaveFailure>) {
        let Some((id, requests)) = self.0.as_deref() else { return };
        for request in requests {
            request.finish(match outcome {
                Ok(version) => Ok(Some(*version)),
                Err(reason) => Err(SaveError::new(id.clone(), reason.clone())),
            });
        }
    }
}

impl Drop for CaptureRequests {
    /// Tells those who have no answer: the keeper has ended, and nobody will look at the result.
    fn drop(&mut self) {
        self.answer(&Err(SaveFailure::Unknown));
    }
}

/// A state that could not be captured.
pub(crate) struct CaptureFailure {
    pub(crate) prototype: PrototypeIndex,
    pub(crate) error: SaveError,
    pub(crate) asked: CaptureRequests,
}

impl Drop for CaptureFailure {
    /// Answers whoever asked for the capture, also where nobody looks at what failed: a framework
    /// of somebody else's does not see it.
    fn drop(&mut self) {
        self.asked.answer(&Err(self.error.reason().clone()));
    }
}

/// Whether a shard has more to capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaptureProgress {
    /// Nothing is due any more.
    Drained,
    /// The batch is full or the time is up; the shard is to be visited again.
    More,
    /// The shard's lock could not be had in time; the shard is to be visited again.
    Busy,
}

/// The result of a capture, for the prototype that made it.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub(crate) pe: PeHandle,
    pub(crate) version: StateVersion,
    pub(crate) events: u32,
    pub(crate) generation: u32,
    /// What could not be restored was put aside: the next capture need not see to it.
    pub(crate) was_put_aside: bool,
    pub(crate) outcome: SettlementOutcome,
}

/// How a capture ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SettlementOutcome {
    /// The storage has it.
    Stored,
    /// It is not stored; a new capture is to be made.
    GaveUp(SaveFailure),
    /// It is not stored and would not be if it were tried again: wait for the PE to change.
    Refused(SaveFailure),
}

impl CaptureBatch {
    /// Returns an empty batch.
    #[must_use]
    pub fn new(limits: CaptureLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Returns an empty batch that uses the memory of an old one.
    pub(crate) fn reusing(limits: CaptureLimits, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { limits, bytes, ..Self::default() }
    }

    /// Returns how much the batch takes.
    #[must_use]
    pub fn limits(&self) -> &CaptureLimits {
        &self.limits
    }

    /// Returns whether nothing more should be put in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.captures.len() >= self.limits.captures_max || self.bytes.len() >= self.limits.bytes_max
    }

    /// Returns what was captured.
    #[must_use]
    pub fn captures(&self) -> &[Capture] {
        &self.captures
    }

    /// Compresses and encrypts what is to be, and computes the checksums of all records. Until then
    /// they are none: to be called once, before any record is stored, and where it may take a
    /// while.
    ///
    /// Where the system gives no random numbers, nothing can be encrypted: such captures
    /// [have no record](Capture::has_record) then, and are to end as one that the storage refused.
    pub fn seal(&mut self) {
        if !self.sealings.is_empty() {
            return self.seal_each();
        }
        for capture in &self.captures {
            capture.writer.seal(&mut self.bytes, capture.place.record.end);
        }
    }

    /// The same where some records change their length.
    fn seal_each(&mut self) {
        /// Sections and a tag: more than they have.
        const ADDED_BYTES_MAX: usize = 96;
        let plain = std::mem::take(&mut self.bytes);
        let mut sealed = Vec::with_capacity(plain.len() + self.captures.len() * ADDED_BYTES_MAX);
        let nothing = Sealing::default();
        for of_prototype in self.captures.chunk_by_mut(|a, b| a.prototype == b.prototype) {
            let prototype = of_prototype.first().map(|capture| capture.prototype);
            let known = self.sealings.iter().find(|(of, _)| Some(*of) == prototype);
            let sealing = known.map_or(&nothing, |(_, sealing)| sealing);
            let mut sealer = sealing.sealer(of_prototype.len());
            for capture in of_prototype {
                let start = sealed.len();
                let record = plain.get(..capture.place.record.end).unwrap_or_default();
                match sealer.seal(record, capture.writer, &mut sealed) {
                    Ok(writer) => capture.writer = writer,
                    Err(_) => {
                        sealed.truncate(start);
                        Sealer::give_up(record, capture.writer, &mut sealed);
                        capture.is_unsealed = true;
                    }
                }
                capture.place.move_to(start..sealed.len());
            }
        }
        self.bytes = sealed;
    }

    /// Says how the states of a prototype are sealed.
    pub(crate) fn seal_by(&mut self, prototype: PrototypeIndex, sealing: &Arc<Sealing>) {
        if !self.sealings.iter().any(|(known, _)| *known == prototype) {
            self.sealings.push((prototype, sealing.clone()));
        }
    }

    /// Returns the bytes of all records.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the batch apart.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Vec<Capture>, Vec<CaptureFailure>) {
        (self.bytes, self.captures, self.failures)
    }

    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn give_bytes(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    pub(crate) fn push(&mut self, capture: Capture) {
        self.captures.push(capture);
    }

    pub(crate) fn fail(&mut self, failure: CaptureFailure) {
        self.failures.push(failure);
    }
}

impl Capture {
    /// Returns the shard of the PE, for [`settle`](crate::CheckpointSource::settle).
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Returns the id of the PE; `bytes` are those of its batch.
    ///
    /// # Panics
    /// Panics if the bytes are those of another batch.
    #[must_use]
    pub fn id<'a>(&self, bytes: &'a [u8]) -> CheckpointIdRef<'a> {
        self.place.id_in(bytes)
    }

    /// Returns the record, once it is sealed; `bytes` are those of its batch.
    ///
    /// # Panics
    /// Panics if the bytes are those of another batch.
    #[must_use]
    pub fn record<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.place.record_in(bytes)
    }

    /// Returns whether there is a record to be stored, once the batch is sealed. If not, what lies
    /// in its place must not be.
    #[must_use]
    pub fn has_record(&self) -> bool {
        !self.is_unsealed
    }

    /// Returns whether this is a state or a removal.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        self.place.kind
    }

    /// Returns the version.
    #[must_use]
    pub fn version(&self) -> StateVersion {
        self.place.version
    }

    /// Returns how this capture ended, for the prototype; answers the manual requests that wait for
    /// it. If this is never called, they are told that nobody knows.
    #[must_use]
    pub fn settle(&self, outcome: SettlementOutcome) -> Settlement {
        self.answer(&outcome);
        self.settlement(outcome)
    }

    /// Answers the manual requests; whoever goes on after that must find the PE as the outcome left
    /// it, so the prototype is to be told first.
    pub(crate) fn answer(&self, outcome: &SettlementOutcome) {
        self.asked.answer(&match outcome {
            SettlementOutcome::Stored => Ok(self.version()),
            SettlementOutcome::GaveUp(reason) | SettlementOutcome::Refused(reason) => {
                Err(reason.clone())
            }
        });
    }

    pub(crate) fn settlement(&self, outcome: SettlementOutcome) -> Settlement {
        Settlement {
            pe: self.pe,
            version: self.version(),
            events: self.events,
            generation: self.generation,
            was_put_aside: false,
            outcome,
        }
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("prototype", &self.prototype)
            .field("shard", &self.shard)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CaptureFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaptureFailure({})", self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_for_a_capture_is_told_once_and_also_if_nobody_looks_at_it() {
        let id = CheckpointId::new("p", [1]).unwrap();
        let signals = [Signal::new(), Signal::new()];
        let [told, dropped] = signals.each_ref().map(|signal: &Arc<RequestSignal>| {
            CaptureRequests::new(vec![signal.clone()], id.clone())
        });
        told.answer(&Ok(StateVersion::new(1, 2)));
        drop((told, dropped, CaptureRequests::new(Vec::new(), id.clone())));
        let [told, dropped] = signals.map(|signal| signal.result().unwrap());
        assert_eq!(told.unwrap(), Some(StateVersion::new(1, 2)));
        let error = dropped.unwrap_err();
        assert!(*error.id() == id && matches!(error.reason(), SaveFailure::Unknown));
    }
}
