//! Sources: each event is in each PE's state exactly once, whatever happens (P10, rule 4.11, G1 to
//! G7, T21).

mod ending;
mod failing;
mod histories;
mod histories_of_threads;
mod older;
mod pending;
mod resuming;
mod several_pes;

use std::sync::Arc;
use std::time::Duration;

use checkpoint::{
    Applied, CheckpointingConfigBuilder, PePrototype, Pool, SafeKeeper, Source, SourceError,
    TestClock,
};

use crate::support::{Counter, FAIL_SAFE, FaultyStorage, counters, settings};

/// A keeper that does nothing by itself, over a storage that outlives it.
struct World {
    storage: FaultyStorage,
    clock: Arc<TestClock>,
    keeper: SafeKeeper,
    prototype: PePrototype<String, Counter>,
}

impl World {
    fn new(storage: FaultyStorage, config: CheckpointingConfigBuilder) -> Self {
        let clock = Arc::new(TestClock::new());
        let keeper = settings(&storage).clock(clock.clone()).stepped().build().unwrap();
        let prototype = counters(&keeper, config);
        Self { storage, clock, keeper, prototype }
    }

    /// Does everything that can be done without time passing.
    fn run(&self) {
        let pools = [Pool::Timing, Pool::Serialization, Pool::Storage, Pool::Fetching];
        while pools.into_iter().any(|pool| self.keeper.step(pool)) {}
    }

    /// Lets time pass.
    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.run();
    }

    /// Lets so much time pass that a round begins and ends.
    fn settle(&self) {
        self.pass(Duration::from_secs(1));
        self.pass(Duration::from_secs(1));
    }

    /// Ends the process without a word.
    fn crash(self) -> FaultyStorage {
        let storage = self.storage.clone();
        std::mem::forget(self.keeper);
        storage
    }

    fn close(self) -> FaultyStorage {
        self.keeper.close(FAIL_SAFE).unwrap();
        self.storage
    }

    fn source(&self) -> Source {
        self.keeper.source("input").unwrap()
    }

    /// Makes a call that waits for what is fetched; nothing else is done meanwhile.
    fn fetching<R: Send>(&self, call: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let calling = scope.spawn(call);
            while !calling.is_finished() {
                self.keeper.step(Pool::Fetching);
                std::thread::yield_now();
            }
            calling.join().unwrap()
        })
    }

    /// Makes a call that waits for what is stored, too.
    fn storing<R: Send>(&self, call: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let calling = scope.spawn(call);
            while !calling.is_finished() {
                self.run();
                std::thread::yield_now();
            }
            calling.join().unwrap()
        })
    }

    fn count(&self, key: &str) -> u64 {
        self.fetching(|| self.prototype.read(key, |pe| pe.count).unwrap())
    }

    /// Feeds an event that adds one; returns whether it has run.
    fn feed(&self, source: &mut Source, key: &str, position: u64) -> Result<bool, SourceError> {
        let add = |pe: &mut Counter| pe.count += 1;
        let applied = self.fetching(|| source.process(&self.prototype, key, position, add))?;
        Ok(applied == Applied::Now(()))
    }
}
