//! What the benches run: the states and events of the reference figures, the baselines that a user
//! would write instead, and how times are taken.

#![expect(dead_code, reason = "each bench uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of events and nanoseconds fit"
)]

pub(crate) mod captor;
pub(crate) mod changed;
pub(crate) mod draw;
pub(crate) mod dumps;
pub(crate) mod measure;
pub(crate) mod progress;
pub(crate) mod rivals;
pub(crate) mod usage;

use std::collections::HashMap;
use std::sync::Arc;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, PePrototype, SafeKeeper, Source,
    StateStorage,
};

/// Three counters and 64 bytes.
#[derive(Checkpointable, Clone)]
pub(crate) struct State {
    a: u64,
    b: u64,
    c: u64,
    bytes: Vec<u8>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self { a: 0, b: 0, c: 0, bytes: vec![7; 64] }
    }

    /// An event: adds to three counters and changes a byte.
    #[inline(always)]
    pub(crate) fn event(&mut self, x: u64) {
        self.a += 1;
        self.b ^= x;
        self.c = self.c.max(x);
        if let Some(byte) = self.bytes.get_mut((x & 63) as usize) {
            *byte ^= 1;
        }
    }
}

/// Random numbers that cost next to nothing (xorshift64, Marsaglia 2003).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    #[inline(always)]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// What a user would use who needs no checkpoints, with the hash function of the product.
pub(crate) type Plain = HashMap<u64, State, foldhash::fast::RandomState>;

pub(crate) fn plain(keys: u64) -> Plain {
    (0..keys).map(|key| (key, State::new())).collect()
}

pub(crate) fn run_plain(map: &mut Plain, keys: u64, events: u64, seed: u64) {
    let mut numbers = Numbers(seed);
    for _ in 0..events {
        let x = numbers.next();
        if let Some(state) = map.get_mut(&(x % keys)) {
            state.event(x);
        }
    }
}

/// A keeper and its prototype, with all PEs in memory.
pub(crate) struct Ours {
    pub(crate) keeper: SafeKeeper,
    pub(crate) states: PePrototype<u64, State>,
    pub(crate) keys: u64,
}

impl Ours {
    pub(crate) fn new(
        storage: impl StateStorage + 'static,
        mode: CheckpointingMode,
        keys: u64,
    ) -> Self {
        Self::over(Arc::new(storage), mode, keys)
    }

    pub(crate) fn over(storage: Arc<dyn StateStorage>, mode: CheckpointingMode, keys: u64) -> Self {
        Self::of(SafeKeeper::builder_over(storage).build().unwrap(), mode, keys)
    }

    pub(crate) fn of(keeper: SafeKeeper, mode: CheckpointingMode, keys: u64) -> Self {
        let config = CheckpointingConfig::builder(mode).build().unwrap();
        let states = keeper.prototype("states").config(config).create(|_| State::new());
        let states = states.build().unwrap();
        for key in 0..keys {
            states.read(key, |_| ()).unwrap();
        }
        Self { keeper, states, keys }
    }

    pub(crate) fn process(&self, events: u64, seed: u64) {
        self.process_of(self.keys, events, seed);
    }

    /// Only the first so many keys get events.
    pub(crate) fn process_of(&self, keys: u64, events: u64, seed: u64) {
        let mut numbers = Numbers(seed);
        for _ in 0..events {
            let x = numbers.next();
            self.states.process(x % keys, |pe| pe.event(x)).unwrap();
        }
    }

    /// Each event has the position after that of the one before.
    pub(crate) fn positioned(&self, source: &mut Source, events: u64, seed: u64) {
        let mut numbers = Numbers(seed);
        let first = source.safe_position().max(self.fed(source)).map_or(0, |last| last + 1);
        for position in first..first + events {
            let x = numbers.next();
            source.process(&self.states, x % self.keys, position, |pe| pe.event(x)).unwrap();
        }
    }

    fn fed(&self, source: &Source) -> Option<u64> {
        let stats = self.keeper.stats().sources;
        stats.iter().find(|known| known.name == source.name())?.processed_to
    }

    pub(crate) fn session(&self, events: u64, seed: u64) {
        self.session_of(self.keys, events, seed);
    }

    /// In runs of 1,000 events, as from a source that is polled for some at a time. Only the first
    /// so many keys get events.
    pub(crate) fn session_of(&self, keys: u64, events: u64, seed: u64) {
        let mut numbers = Numbers(seed);
        let mut session = self.states.session();
        for _ in 0..events / 1000 {
            let run = (0..1000).map(|_| {
                let x = numbers.next();
                (x % keys, x)
            });
            session.run(run, State::event).unwrap();
        }
    }

    pub(crate) fn guard(&self, events: u64) {
        let mut numbers = Numbers(1);
        for _ in 0..events {
            let x = numbers.next();
            self.states.pe(x % self.keys).unwrap().event(x);
        }
    }

    pub(crate) fn process_async(&self, events: u64) {
        pollster::block_on(async {
            let mut numbers = Numbers(1);
            for _ in 0..events {
                let x = numbers.next();
                self.states.process_async(x % self.keys, move |pe| pe.event(x)).await.unwrap();
            }
        });
    }
}
