//! A framework that captures and throws away, to see what a save costs where events have to wait
//! for it: under the lock of a shard.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use checkpoint::{
    Caller, CaptureBatch, CaptureLimits, CaptureProgress, CheckpointSource, CheckpointingConfig,
    CheckpointingFramework, CheckpointingMode, NewPrototype, Overloaded, PePrototype, PeStatus,
    PrototypeIndex, RegisterError, Registration, Settlement, SettlementOutcome, StateFetch,
    Timestamp,
};

use super::{Numbers, State};

/// A PE is due at each event.
#[derive(Default)]
pub(crate) struct Captor {
    source: Mutex<Option<Arc<dyn CheckpointSource>>>,
    shards: Mutex<Vec<usize>>,
}

/// What the captures of one interval took.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Captured {
    pub(crate) captures: usize,
    /// Within `capture`, which holds the lock of a shard all the time.
    pub(crate) locked: Duration,
    /// The longest that it was held without a break.
    pub(crate) longest: Duration,
    /// The checksums, outside of all locks.
    pub(crate) sealing: Duration,
    /// Telling the PEs that they are stored, which takes the locks again.
    pub(crate) settling: Duration,
}

impl Captor {
    pub(crate) fn prototype(self: &Arc<Self>) -> PePrototype<u64, State> {
        let each = CheckpointingMode::EventCount(1.try_into().unwrap());
        PePrototype::builder(self.clone(), "states")
            .config(CheckpointingConfig::builder(each).build().unwrap())
            .create(|_| State::new())
            .build()
            .unwrap()
    }

    /// Captures all that is due.
    pub(crate) fn run(&self) -> Captured {
        let mut took = Captured::default();
        let source = self.source.lock().unwrap().clone().unwrap();
        let mut shards = std::mem::take(&mut *self.shards.lock().unwrap());
        while !shards.is_empty() {
            let mut batch = CaptureBatch::new(CaptureLimits::default());
            shards.retain(|shard| {
                if batch.is_full() {
                    return true;
                }
                let begun = Instant::now();
                let progress = source.capture(*shard, &mut batch);
                let held = begun.elapsed();
                took.locked += held;
                took.longest = took.longest.max(held);
                progress != CaptureProgress::Drained
            });
            let begun = Instant::now();
            batch.seal();
            took.sealing += begun.elapsed();
            took.captures += batch.captures().len();
            let mut settled: Vec<(usize, Vec<Settlement>)> = Vec::new();
            for capture in batch.captures() {
                let settlement = capture.settle(SettlementOutcome::Stored);
                match settled.last_mut() {
                    Some((shard, settlements)) if *shard == capture.shard() => {
                        settlements.push(settlement);
                    }
                    _ => settled.push((capture.shard(), vec![settlement])),
                }
            }
            let begun = Instant::now();
            for (shard, settlements) in settled {
                source.settle(shard, settlements);
            }
            took.settling += begun.elapsed();
        }
        took
    }
}

impl CheckpointingFramework for Captor {
    fn register(&self, _: &NewPrototype<'_>) -> Result<Registration, RegisterError> {
        Ok(Registration::new(PrototypeIndex(0)))
    }

    fn attach(&self, _: PrototypeIndex, source: Arc<dyn CheckpointSource>) {
        *self.source.lock().unwrap() = Some(source);
    }

    fn is_checkpointable(&self, _: &CheckpointingConfig, _: &PeStatus) -> bool {
        true
    }

    fn save_state(&self, _: PrototypeIndex, shard: usize) {
        self.shards.lock().unwrap().push(shard);
    }

    fn look_after(&self, _: PrototypeIndex, shard: usize) {
        if let Some(source) = &*self.source.lock().unwrap() {
            source.attend(shard);
        }
    }

    fn fetch_serialized_state(&self, fetch: StateFetch) {
        fetch.decide(Ok(None));
    }

    fn fetch_serialized_states(&self, fetches: Vec<StateFetch>) -> Vec<StateFetch> {
        fetches
    }

    fn call_at(&self, _: PrototypeIndex, _: Timestamp) {}

    fn relieve(&self, _: Caller) -> Result<(), Overloaded> {
        Ok(())
    }
}

/// Has `touched` of the PEs changed, again and again, and returns what capturing them took: the
/// round whose locks were held for a median time.
pub(crate) fn captured(keys: u64, touched: u64, rounds: u64) -> Captured {
    let captor = Arc::new(Captor::default());
    let states = captor.prototype();
    for key in 0..keys {
        states.read(key, |_| ()).unwrap();
    }
    captor.run();
    let mut numbers = Numbers(1);
    let mut all = Vec::new();
    for _ in 0..rounds {
        for _ in 0..touched {
            let x = numbers.next();
            states.process(x % keys, |pe| pe.event(x)).unwrap();
        }
        all.push(captor.run());
    }
    all.sort_by_key(|captured| captured.locked / u32::try_from(captured.captures).unwrap().max(1));
    all.get(all.len() / 2).copied().unwrap_or_default()
}

impl Captured {
    /// Of each capture, in ns.
    pub(crate) fn each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e9 / self.captures as f64
    }
}
