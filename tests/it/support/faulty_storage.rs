//! A storage in memory that fails, hangs, panics and loses answers when it is told to, and that
//! notes what it was asked.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use checkpoint::{
    CheckpointId, CheckpointIdRef, FetchEntry, FetchOutcome, FetchVersion, InMemoryStorage,
    MetadataVersion, SaveBatch, SaveEntry, SaveOutcome, StateStorage, StateVersion, StorageError,
    StorageErrorKind,
};
use checkpoint_tests::delegate_storage;

use crate::support::faults::Rules;
use crate::support::{FAIL_SAFE, FetchFault, Gate, SaveFault};

/// Each fault applies to the saves or fetches that come next, of one key or of any. A clone is the
/// same storage. It notes if one id ever has two unfinished saves: see [`FaultyStorage::check`].
#[derive(Clone)]
pub(crate) struct FaultyStorage {
    inner: InMemoryStorage,
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    saves: Rules<SaveFault>,
    fetches: Rules<FetchFault>,
    unfinished: HashSet<CheckpointId>,
    broken: Vec<String>,
    late: Vec<Tracked>,
    knows_absence: bool,
    inline_panics: usize,
    answers_many: bool,
    holds_many: Option<Gate>,
    metadata_fails: bool,
    metadata_is_put_unseen: bool,
    holds_metadata: Option<Gate>,
    killed: bool,
}

/// What a storage was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Calls of `save`.
    pub(crate) save_calls: usize,
    /// Records that were to be saved.
    pub(crate) saves: usize,
    /// Records that were to be fetched.
    pub(crate) fetches: usize,
    /// Saves by key.
    pub(crate) saves_of: HashMap<Vec<u8>, usize>,
    /// Fetches by key.
    pub(crate) fetches_of: HashMap<Vec<u8>, usize>,
    /// The versions that were stored, in order.
    pub(crate) stored: Vec<(CheckpointId, StateVersion)>,
}

impl Seen {
    pub(crate) fn saves_of(&self, key: &str) -> usize {
        self.saves_of.get(key.as_bytes()).copied().unwrap_or(0)
    }

    pub(crate) fn fetches_of(&self, key: &str) -> usize {
        self.fetches_of.get(key.as_bytes()).copied().unwrap_or(0)
    }
}

impl FaultyStorage {
    pub(crate) fn new() -> Self {
        Self::over(InMemoryStorage::new())
    }

    pub(crate) fn keeping_versions(older_versions_max: u64) -> Self {
        Self::over(InMemoryStorage::new().keeping_versions(older_versions_max))
    }

    pub(crate) fn over(inner: InMemoryStorage) -> Self {
        Self { inner, shared: Arc::default() }
    }

    /// Returns the storage that has what was stored.
    pub(crate) fn content(&self) -> InMemoryStorage {
        self.inner.clone()
    }

    /// Says from now on what it does not contain.
    pub(crate) fn knowing_absence(self) -> Self {
        self.lock().knows_absence = true;
        self
    }

    /// Has the next `times` saves of any key go wrong.
    pub(crate) fn on_save(&self, times: usize, fault: SaveFault) {
        self.lock().saves.add(None, times, fault);
    }

    /// Has the next `times` saves of `key` go wrong.
    pub(crate) fn on_save_of(&self, key: &str, times: usize, fault: SaveFault) {
        self.lock().saves.add(Some(key), times, fault);
    }

    /// Has the next `times` fetches of any key go wrong.
    pub(crate) fn on_fetch(&self, times: usize, fault: FetchFault) {
        self.lock().fetches.add(None, times, fault);
    }

    /// Has the next `times` fetches of `key` go wrong.
    pub(crate) fn on_fetch_of(&self, key: &str, times: usize, fault: FetchFault) {
        self.lock().fetches.add(Some(key), times, fault);
    }

    /// Has the next `times` inline fetches panic, on the thread that has the event.
    pub(crate) fn on_fetch_now_panic(&self, times: usize) {
        self.lock().inline_panics = times;
    }

    /// Has fetches of many at once answered for the first one, twice, and for one that there is
    /// not, and then panic.
    pub(crate) fn on_fetch_many_panic(&self) {
        self.lock().answers_many = true;
    }

    /// Has fetches of many at once wait at the gate, and then find what there is.
    pub(crate) fn on_fetch_many_hold(&self, gate: Gate) {
        self.lock().holds_many = Some(gate);
    }

    /// Ends all faults that have not happened yet.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.saves.clear();
        state.fetches.clear();
    }

    /// Has every metadata value fail that is put, or no more.
    pub(crate) fn fail_metadata(&self, fails: bool) {
        self.lock().metadata_fails = fails;
    }

    /// Has every metadata value be put and yet be said to have failed, or no more.
    pub(crate) fn put_metadata_unseen(&self, is_unseen: bool) {
        self.lock().metadata_is_put_unseen = is_unseen;
    }

    /// Has every metadata value wait at the gate that is put.
    pub(crate) fn hold_metadata(&self, gate: Gate) {
        self.lock().holds_metadata = Some(gate);
    }

    /// Nothing is stored or found from now on, as if the process had been killed.
    pub(crate) fn kill(&self) {
        self.lock().killed = true;
    }

    /// Stores and answers what was left for later.
    pub(crate) fn complete_late(&self) {
        let late = std::mem::take(&mut self.lock().late);
        for tracked in late {
            self.store(tracked);
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    /// Waits until it was asked what is waited for.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&Seen) -> bool) {
        let state = self.lock();
        let waited =
            self.shared.1.wait_timeout_while(state, FAIL_SAFE, |state| !condition(&state.seen));
        let (state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timed_out.timed_out(), "never: {what}; seen: {:?}", state.seen);
    }

    /// Fails if the keeper broke its side of the contract.
    #[track_caller]
    pub(crate) fn check(&self) {
        let state = self.lock();
        assert!(state.broken.is_empty(), "{:?}", state.broken);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.shared.1.notify_all();
        result
    }

    /// Counts a save and decides what becomes of it in one step: whoever saw it counted can
    /// complete it if it is left for later, which is why it is not returned then.
    fn begin(&self, tracked: Tracked) -> Option<(Tracked, Option<SaveFault>)> {
        self.change(|state| {
            state.seen.saves += 1;
            *state.seen.saves_of.entry(tracked.id.key().to_vec()).or_default() += 1;
            if !state.unfinished.insert(tracked.id.clone()) {
                state.broken.push(format!("two unfinished saves of {}", tracked.id));
            }
            match state.saves.take(tracked.id.key()) {
                Some(SaveFault::Late) => {
                    state.late.push(tracked);
                    None
                }
                fault => Some((tracked, fault)),
            }
        })
    }

    fn run(&self, tracked: Tracked, fault: Option<SaveFault>) {
        let killed = self.lock().killed;
        if killed {
            return tracked.complete(SaveOutcome::NotStored(error(StorageErrorKind::Closed)));
        }
        let unknown = || SaveOutcome::Unknown(error(StorageErrorKind::Unavailable));
        match fault {
            None => self.store(tracked),
            Some(SaveFault::NotStored(kind)) => {
                tracked.complete(SaveOutcome::NotStored(error(kind)));
            }
            Some(SaveFault::UnknownLanded) => {
                self.put(&tracked);
                tracked.complete(unknown());
            }
            Some(SaveFault::UnknownLost) => tracked.complete(unknown()),
            Some(SaveFault::Dropped) => drop(tracked),
            Some(SaveFault::Held(gate)) => {
                gate.pass();
                self.store(tracked);
            }
            Some(SaveFault::Late) => unreachable!("it is kept where it is decided"),
            Some(SaveFault::Panic) => panic!("the storage was told to panic"),
        }
    }

    fn store(&self, tracked: Tracked) {
        let killed = self.lock().killed;
        let outcome = match killed {
            true => SaveOutcome::NotStored(error(StorageErrorKind::Closed)),
            false => self.put(&tracked),
        };
        tracked.complete(outcome);
    }

    fn put(&self, tracked: &Tracked) -> SaveOutcome {
        let (tx, rx) = mpsc::channel();
        let batch = SaveBatch::of_records(tracked.record.clone(), move |_, outcome| {
            // The receiver waits below.
            drop(tx.send(outcome));
        });
        let batch = batch.expect("a record of the keeper's is whole");
        self.inner.save(batch);
        let outcome = rx.recv().expect("the storage answers before it returns");
        if matches!(outcome, SaveOutcome::Stored) {
            let version = tracked.entry.as_ref().map(SaveEntry::version).unwrap_or_default();
            self.change(|state| state.seen.stored.push((tracked.id.clone(), version)));
        }
        outcome
    }

    fn answer(&self, entry: FetchEntry) {
        let (killed, fault) = self.change(|state| {
            state.seen.fetches += 1;
            *state.seen.fetches_of.entry(entry.id().key().to_vec()).or_default() += 1;
            (state.killed, state.fetches.take(entry.id().key()))
        });
        if killed {
            return entry.complete(Err(error(StorageErrorKind::Closed)));
        }
        match fault {
            None => self.inner.fetch(vec![entry]),
            Some(FetchFault::Failed(kind)) => entry.complete(Err(error(kind))),
            Some(FetchFault::Held(gate)) => {
                gate.pass();
                self.inner.fetch(vec![entry]);
            }
            Some(FetchFault::HeldThenFailed(gate, kind)) => {
                gate.pass();
                entry.complete(Err(error(kind)));
            }
            Some(FetchFault::Changed(change)) => {
                let stored = fetched(&self.inner, entry.id(), entry.version());
                entry.complete(stored.map(|record| record.map(|record| change(record))));
            }
            Some(FetchFault::Dropped) => drop(entry),
            Some(FetchFault::Panic) => panic!("the storage was told to panic"),
        }
    }
}

/// An entry that is unfinished until this is gone.
struct Tracked {
    storage: FaultyStorage,
    id: CheckpointId,
    record: Vec<u8>,
    // Taken when it is completed.
    entry: Option<SaveEntry>,
}

impl Tracked {
    fn complete(mut self, outcome: SaveOutcome) {
        self.finish();
        if let Some(entry) = self.entry.take() {
            entry.complete(outcome);
        }
    }

    /// To be called before the keeper knows: its next save of the id may come at once.
    fn finish(&self) {
        self.storage.change(|state| state.unfinished.remove(&self.id));
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if self.entry.is_some() {
            self.finish();
        }
    }
}

fn error(kind: StorageErrorKind) -> StorageError {
    StorageError::new(kind, "do what a test forbids")
}

fn fetched(storage: &InMemoryStorage, id: &CheckpointId, version: FetchVersion) -> FetchOutcome {
    let (tx, rx) = mpsc::channel();
    storage.fetch(vec![FetchEntry::new(id.clone(), version, move |outcome| {
        // The receiver waits below.
        drop(tx.send(outcome));
    })]);
    rx.recv().expect("the storage answers before it returns")
}

impl StateStorage for FaultyStorage {
    delegate_storage!(
        self => self.inner;
        capabilities, prefetch, ids, versions, open_epoch, metadata,
    );

    fn save(&self, batch: SaveBatch) {
        self.change(|state| state.seen.save_calls += 1);
        let (bytes, entries) = batch.into_parts();
        let begun: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| {
                let id = entry.id_in(&bytes).to_owned();
                let record = entry.record_in(&bytes).to_vec();
                let storage = self.clone();
                self.begin(Tracked { storage, id, record, entry: Some(entry) })
            })
            .collect();
        for (tracked, fault) in begun {
            self.run(tracked, fault);
        }
    }

    fn fetch(&self, entries: Vec<FetchEntry>) {
        for entry in entries {
            self.answer(entry);
        }
    }

    fn fetch_now(&self, _id: &CheckpointId) -> Option<FetchOutcome> {
        let panics = self.change(|state| {
            let panics = state.inline_panics > 0;
            state.inline_panics = state.inline_panics.saturating_sub(1);
            panics
        });
        assert!(!panics, "the storage was told to panic");
        // Never inline, so that faults apply.
        None
    }

    fn may_contain(&self, id: &CheckpointId) -> bool {
        !self.lock().knows_absence || self.inner.may_contain(id)
    }

    fn fetch_many(&self, ids: &[CheckpointIdRef<'_>], found: &mut dyn FnMut(usize, Vec<u8>)) {
        let holds = self.lock().holds_many.clone();
        if let Some(gate) = holds {
            gate.pass();
            self.inner.fetch_many(ids, found);
        }
        if self.lock().answers_many {
            let record = self.inner.fetch_now(&ids[0].to_owned()).unwrap().unwrap().unwrap();
            found(0, record.clone());
            found(0, b"once more".to_vec());
            found(ids.len(), record);
            panic!("the storage was told to panic");
        }
    }

    fn put_metadata(
        &self,
        name: &str,
        expected: Option<MetadataVersion>,
        bytes: &[u8],
    ) -> Result<MetadataVersion, StorageError> {
        let (fails, is_unseen, holds) = {
            let state = self.lock();
            let fails = state.metadata_fails || state.killed;
            (fails, state.metadata_is_put_unseen, state.holds_metadata.clone())
        };
        if let Some(gate) = holds {
            gate.pass();
        }
        let failed = || {
            let attempted = format!("put metadata {name:?}");
            StorageError::new(StorageErrorKind::Unavailable, attempted)
        };
        if fails {
            return Err(failed());
        }
        match self.inner.put_metadata(name, expected, bytes) {
            Ok(_) if is_unseen => Err(failed()),
            put => put,
        }
    }
}
