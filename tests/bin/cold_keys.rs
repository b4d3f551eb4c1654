//! Sends each of so many keys its first event while the states of all are in a store only.
//!
//! Arguments: how many keys, and how the storage answers:
//! - `at_once`: each event finds its state without waiting, so that there is no herd;
//! - `waiting`: nothing is answered before all events wait; then everything is;
//! - `late`: nothing is answered before all events have waited for too long;
//! - `refused`: as `waiting`, but no more may wait than have room in the queue.
//!
//! Events that got an error are sent once more when the storage answers. Prints `peak KIB`, the
//! most memory that was resident; `waiting N done N timed_out N refused N off N`, what became of
//! the first events; `calls N records N hanging N`, the most that the storage was asked at the same
//! time, and how many calls counted as hanging; and `events N wrong N`, all that have run, and how
//! many states are not what they must be.

use std::error::Error;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use checkpoint::storage::conformance;
use checkpoint::{
    CheckpointId, CheckpointingConfig, CheckpointingMode, FetchEntry, FetchOutcome, FetchVersion,
    InMemoryStorage, InputPositions, Overflow, PePrototype, ProcessError, ProcessFuture,
    RecordMeta, RecordView, RecordWriter, RestoreFailure, SafeKeeper, SaveOutcome, StateStorage,
    TestClock,
};
use checkpoint_tests::delegate_storage;

type State = [u64; 12];
type Event = ProcessFuture<u64, State, fn(&mut State), ()>;

const THREADS: usize = 2;
const REPLACEMENTS: usize = 1;
const QUEUE_SIZE: usize = 100;
const FETCHING_MAX_WAIT: Duration = Duration::from_secs(1);
const FETCHING_DISABLED: Duration = Duration::from_secs(10);
/// Whoever has waited for so long waits in vain.
const FAIL_SAFE: Duration = Duration::from_secs(120);

/// How many records are put into the store at once.
const BATCH: u64 = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [keys, what] = arguments.as_slice() else {
        return Err("usage: cold_keys KEYS at_once|waiting|late|refused".into());
    };
    let (keys, what) = (keys.parse::<u64>()?, what.as_str());
    let storage = Cold::new(filled(keys)?);
    let clock = Arc::new(TestClock::new());
    let overflow = if what == "refused" { Overflow::Reject } else { Overflow::Block };
    let keeper = SafeKeeper::builder(storage.clone())
        .clock(clock.clone())
        .fetching_max_threads(THREADS.try_into()?)
        .fetching_replacement_threads_max(REPLACEMENTS)
        .fetching_queue_size(QUEUE_SIZE.try_into()?)
        .fetching_max_wait(FETCHING_MAX_WAIT)
        .fetching_disabled_duration(FETCHING_DISABLED)
        .fetching_overflow(overflow)
        .build()?;
    let numbers = prototype(&keeper)?;
    let mut sent = Sent::default();
    if what == "at_once" {
        storage.answer_at_once();
    }
    // In every case, so that they are in what is measured every time.
    let mut events: Vec<_> = (0..keys).map(|key| Some(event(&numbers, key))).collect();
    let waiting = sent.poll(&mut events)?;
    let mut hanging = 0;
    if what != "at_once" {
        storage.wait_for_calls(THREADS)?;
        clock.advance(FETCHING_MAX_WAIT / 4);
        storage.wait_for_calls(THREADS + REPLACEMENTS)?;
        hanging = keeper.stats().fetches_hanging;
        match what {
            "late" => clock.advance(FETCHING_MAX_WAIT),
            _ => storage.answer(),
        }
        sent.finish(&mut events)?;
    }
    let done_first = sent.done;
    drop(events);
    storage.answer_at_once();
    clock.advance(FETCHING_DISABLED);
    for key in std::mem::take(&mut sent.failed) {
        numbers.process(key, add)?;
        sent.done += 1;
    }
    let mut out = io::stdout();
    writeln!(out, "peak {}", peak_kib()?)?;
    let Sent { done, timed_out, refused, off, .. } = sent;
    writeln!(
        out,
        "waiting {waiting} done {done_first} timed_out {timed_out} refused {refused} off {off}"
    )?;
    let (calls, records) = storage.most();
    writeln!(out, "calls {calls} records {records} hanging {hanging}")?;
    writeln!(out, "events {done} wrong {}", wrong(&numbers, keys)?)?;
    // Nothing of it is to be stored: that would be another measurement.
    std::process::exit(0);
}

fn prototype(keeper: &SafeKeeper) -> Result<PePrototype<u64, State>, Box<dyn Error>> {
    let config = CheckpointingConfig::builder(CheckpointingMode::None).build()?;
    Ok(keeper.prototype("numbers").config(config).create(|_| [0; 12]).build()?)
}

fn stored(key: u64) -> State {
    let mut state = [0; 12];
    state[11] = key + 1;
    state
}

fn event(numbers: &PePrototype<u64, State>, key: u64) -> Event {
    numbers.process_async(key, add)
}

fn add(state: &mut State) {
    state[0] += 1;
}

/// How many states are not what was stored and one event.
fn wrong(numbers: &PePrototype<u64, State>, keys: u64) -> Result<u64, ProcessError> {
    let mut wrong = 0;
    for key in 0..keys {
        let mut expected = stored(key);
        expected[0] += 1;
        wrong += u64::from(numbers.read(key, |state| *state)? != expected);
    }
    Ok(wrong)
}

/// A store with a state for each key. Only the first of them came by a keeper, so that none has to
/// be in memory: they would be in what is measured.
fn filled(keys: u64) -> Result<InMemoryStorage, Box<dyn Error>> {
    let storage = InMemoryStorage::new();
    let keeper = SafeKeeper::builder(storage.clone()).build()?;
    let numbers = prototype(&keeper)?;
    numbers.process(0, |state| *state = stored(0))?;
    keeper.close(FAIL_SAFE)?;
    let id = |key: u64| CheckpointId::new("numbers", key.to_be_bytes());
    let first = conformance::fetch(&storage, &id(0)?, FetchVersion::Newest)?.ok_or("not stored")?;
    let first = RecordView::parse(&first)?;
    let header = first.header();
    let meta = RecordMeta {
        kind: header.kind,
        partition: header.partition,
        version: header.version,
        event_count: 1,
        captured_at: header.captured_at,
        idle: header.idle,
        fingerprint: header.fingerprint,
        positions: &InputPositions::none(),
    };
    let mut next = 1;
    while next < keys {
        let end = keys.min(next + BATCH);
        let mut records = Vec::new();
        let zeros = [0; size_of::<State>() - size_of::<u64>()];
        for key in next..end {
            let mut record = Vec::new();
            let writer = RecordWriter::begin(&mut record, id(key)?.as_ref(), &meta);
            // As `stored` says.
            record.extend_from_slice(&zeros);
            record.extend_from_slice(&(key + 1).to_le_bytes());
            writer.finish(&mut record);
            records.push(record);
        }
        let outcomes = conformance::save(&storage, &records);
        if !outcomes.iter().all(|outcome| matches!(outcome, SaveOutcome::Stored)) {
            return Err("the store cannot be filled".into());
        }
        next = end;
    }
    Ok(storage)
}

/// What became of the events that were sent.
#[derive(Default)]
struct Sent {
    done: u64,
    timed_out: u64,
    refused: u64,
    off: u64,
    failed: Vec<u64>,
}

impl Sent {
    /// Polls each event that has not ended, once; returns how many wait.
    fn poll(&mut self, events: &mut [Option<Event>]) -> Result<u64, Box<dyn Error>> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut waiting = 0;
        for (key, place) in (0..).zip(events) {
            let Some(event) = place else { continue };
            match Pin::new(event).poll(&mut context) {
                Poll::Pending => waiting += 1,
                Poll::Ready(result) => {
                    self.ended(key, result)?;
                    *place = None;
                }
            }
        }
        Ok(waiting)
    }

    /// Waits until each event has ended.
    fn finish(&mut self, events: &mut [Option<Event>]) -> Result<(), Box<dyn Error>> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        for (key, place) in (0..).zip(events) {
            let Some(mut event) = place.take() else { continue };
            let result = loop {
                match Pin::new(&mut event).poll(&mut context) {
                    Poll::Ready(result) => break result,
                    Poll::Pending => thread::park_timeout(FAIL_SAFE),
                }
            };
            self.ended(key, result)?;
        }
        Ok(())
    }

    fn ended(&mut self, key: u64, result: Result<(), ProcessError>) -> Result<(), ProcessError> {
        let err = match result {
            Ok(()) => {
                self.done += 1;
                return Ok(());
            }
            Err(err) => err,
        };
        let ProcessError::Restore(restore) = &err else { return Err(err) };
        match restore.reason() {
            RestoreFailure::TimedOut { .. } => self.timed_out += 1,
            RestoreFailure::Overloaded => self.refused += 1,
            RestoreFailure::FetchingDisabled { .. } => self.off += 1,
            _ => return Err(err),
        }
        self.failed.push(key);
        Ok(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn peak_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(number.parse()?)
}

/// A storage that answers fetches when it is told to, and counts what it is asked meanwhile. A
/// clone is the same storage.
#[derive(Debug, Clone)]
struct Cold {
    inner: InMemoryStorage,
    asked: Arc<(Mutex<Asked>, Condvar)>,
}

#[derive(Debug, Default)]
struct Asked {
    answers: bool,
    answers_at_once: bool,
    calls: usize,
    calls_max: usize,
    records: usize,
    records_max: usize,
}

impl Cold {
    fn new(inner: InMemoryStorage) -> Self {
        Self { inner, asked: Arc::default() }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self) {
        self.asked().answers = true;
        self.asked.1.notify_all();
    }

    fn answer_at_once(&self) {
        self.asked().answers_at_once = true;
        self.answer();
    }

    fn wait_for_calls(&self, calls: usize) -> Result<(), &'static str> {
        let waits = |asked: &mut Asked| asked.calls < calls;
        let waited = self.asked.1.wait_timeout_while(self.asked(), FAIL_SAFE, waits);
        match waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            true => Err("the storage is not asked"),
            false => Ok(()),
        }
    }

    /// The most calls and records at the same time.
    fn most(&self) -> (usize, usize) {
        let asked = self.asked();
        (asked.calls_max, asked.records_max)
    }
}

impl StateStorage for Cold {
    delegate_storage!(
        self => self.inner;
        capabilities, save, may_contain, prefetch, fetch_many, ids, versions, open_epoch, metadata,
        put_metadata,
    );

    fn fetch(&self, entries: Vec<FetchEntry>) {
        let count = entries.len();
        let mut asked = self.asked();
        asked.calls += 1;
        asked.records += count;
        asked.calls_max = asked.calls_max.max(asked.calls);
        asked.records_max = asked.records_max.max(asked.records);
        self.asked.1.notify_all();
        let waited = self.asked.1.wait_while(asked, |asked| !asked.answers);
        drop(waited);
        self.inner.fetch(entries);
        let mut asked = self.asked();
        asked.calls -= 1;
        asked.records -= count;
    }

    fn fetch_now(&self, id: &CheckpointId) -> Option<FetchOutcome> {
        let answers = self.asked().answers_at_once;
        if answers { self.inner.fetch_now(id) } else { None }
    }
}
