//! A framework that does nothing by itself: what it is asked for is kept until somebody does it.

use std::sync::Arc;

use crate::clock::{TestClock, Timestamp};
use crate::config::{CheckpointingConfig, CheckpointingMode};
use crate::framework::{
    Caller, CheckpointSource, CheckpointingFramework, NewPrototype, Overloaded, PeStatus,
    RegisterError, Registration, StateFetch,
};
use crate::prototype::PePrototype;
use crate::prototype_index::PrototypeIndex;
use crate::random::SeededRandom;
use crate::sync::{Condvar, Mutex};

#[derive(Default)]
pub(super) struct ByHand {
    /// Shards are looked after: see `Registration::stores`.
    stores: bool,
    /// Fetches are kept; else nothing is stored of any PE.
    keeps_fetches: bool,
    source: Mutex<Option<Arc<dyn CheckpointSource>>>,
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Default)]
struct Asked {
    attend: Vec<usize>,
    fetches: Vec<StateFetch>,
    over: bool,
}

impl ByHand {
    /// A framework that looks after shards, if somebody calls `attend`.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { stores: true, keeps_fetches: true, ..Self::default() })
    }

    /// The same, over an empty storage: a new PE needs no fetch.
    pub(super) fn storing_nothing_yet() -> Arc<Self> {
        Arc::new(Self { stores: true, ..Self::default() })
    }

    /// One that stores nothing: whoever posts and whoever unlocks look for each other.
    pub(super) fn storing_nothing() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(super) fn prototype(self: &Arc<Self>) -> PePrototype<u64, u64> {
        let mode = CheckpointingMode::EventCount(std::num::NonZero::<u64>::MIN);
        let config = CheckpointingConfig::builder(mode).shards(1).build().unwrap();
        PePrototype::builder(self.clone(), "p").config(config).create(|_| 0).build().unwrap()
    }

    pub(super) fn source(&self) -> Arc<dyn CheckpointSource> {
        self.source.lock().clone().unwrap()
    }

    /// Takes the next fetch, waiting for it.
    pub(super) fn next_fetch(&self) -> StateFetch {
        let mut asked = self.asked.lock();
        loop {
            if let Some(fetch) = asked.fetches.pop() {
                return fetch;
            }
            self.changed.wait(&mut asked);
        }
    }

    /// Looks after shards, as the keeper does, until `end`.
    pub(super) fn attend(&self) {
        loop {
            let shard = {
                let mut asked = self.asked.lock();
                loop {
                    if let Some(shard) = asked.attend.pop() {
                        break shard;
                    }
                    if asked.over {
                        return;
                    }
                    self.changed.wait(&mut asked);
                }
            };
            let Some(source) = self.source.lock().clone() else { return };
            if !source.attend(shard) {
                self.asked.lock().attend.push(shard);
                crate::sync::thread::yield_now();
            }
        }
    }

    /// Looks after the shards that were asked for so far.
    pub(super) fn look_after_all(&self) {
        loop {
            let Some(shard) = self.asked.lock().attend.pop() else { return };
            while !self.source().attend(shard) {
                crate::sync::thread::yield_now();
            }
        }
    }

    pub(super) fn end(&self) {
        self.asked.lock().over = true;
        self.changed.notify_all();
        // The source has a way to this framework.
        let source = self.source.lock().take();
        drop(source);
    }

    fn ask(&self, ask: impl FnOnce(&mut Asked)) {
        ask(&mut self.asked.lock());
        self.changed.notify_all();
    }
}

impl CheckpointingFramework for ByHand {
    fn register(&self, _: &NewPrototype<'_>) -> Result<Registration, RegisterError> {
        let registration = Registration::new(PrototypeIndex(0))
            .with_clock(Arc::new(TestClock::new()))
            .with_random(Arc::new(SeededRandom::new(1)));
        Ok(if self.stores { registration } else { registration.storing_nothing() })
    }

    fn attach(&self, _: PrototypeIndex, source: Arc<dyn CheckpointSource>) {
        *self.source.lock() = Some(source);
    }

    fn is_checkpointable(&self, _: &CheckpointingConfig, _: &PeStatus) -> bool {
        true
    }

    fn save_state(&self, _: PrototypeIndex, _: usize) {}

    fn look_after(&self, _: PrototypeIndex, shard: usize) {
        self.ask(|asked| asked.attend.push(shard));
    }

    fn fetch_serialized_state(&self, fetch: StateFetch) {
        if self.keeps_fetches {
            self.ask(|asked| asked.fetches.push(fetch));
        } else {
            fetch.decide(Ok(None));
        }
    }

    fn fetch_serialized_states(&self, fetches: Vec<StateFetch>) -> Vec<StateFetch> {
        fetches
    }

    fn call_at(&self, _: PrototypeIndex, _: Timestamp) {}

    fn relieve(&self, _: Caller) -> Result<(), Overloaded> {
        Ok(())
    }
}
