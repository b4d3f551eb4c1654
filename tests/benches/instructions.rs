//! What an event costs in instructions: the same whatever else the machine is doing.
//!
//! Run under callgrind, one way at a time; `tests/benches/instructions` does so and prints a table.

#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::collections::HashMap;
use std::hint::black_box;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, PePrototype,
    SafeKeeper,
};

const KEYS: u64 = 1000;
const EVENTS: u64 = 10_000;

/// Three counters and 64 bytes, as in the reference figures.
#[derive(Checkpointable)]
struct State {
    a: u64,
    b: u64,
    c: u64,
    bytes: Vec<u8>,
}

impl State {
    fn new() -> Self {
        Self { a: 0, b: 0, c: 0, bytes: vec![7; 64] }
    }

    #[inline(always)]
    fn event(&mut self, x: u64) {
        self.a += 1;
        self.b ^= x;
        self.c = self.c.max(x);
        if let Some(byte) = self.bytes.get_mut((x & 63) as usize) {
            *byte ^= 1;
        }
    }
}

#[inline(always)]
fn key(i: u64) -> u64 {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

type Plain = HashMap<u64, State, foldhash::fast::RandomState>;

#[inline(never)]
fn measured_plain(map: &mut Plain) {
    for i in 0..EVENTS {
        let x = key(i);
        map.get_mut(&(x % KEYS)).unwrap().event(x);
    }
}

#[inline(never)]
fn measured_process(states: &PePrototype<u64, State>) {
    for i in 0..EVENTS {
        let x = key(i);
        states.process(x % KEYS, |pe| pe.event(x)).unwrap();
    }
}

#[inline(never)]
fn measured_async(states: &PePrototype<u64, State>) {
    pollster::block_on(async {
        for i in 0..EVENTS {
            let x = key(i);
            states.process_async(x % KEYS, move |pe| pe.event(x)).await.unwrap();
        }
    });
}

#[inline(never)]
fn measured_guard(states: &PePrototype<u64, State>) {
    for i in 0..EVENTS {
        let x = key(i);
        states.pe(x % KEYS).unwrap().event(x);
    }
}

#[inline(never)]
fn measured_session(states: &PePrototype<u64, State>) {
    let mut session = states.session();
    let events = (0..EVENTS).map(|i| {
        let x = key(i);
        (x % KEYS, x)
    });
    session.run(events, State::event).unwrap();
}

fn main() {
    let way = std::env::args().nth(1).unwrap_or_default();
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build().unwrap();
    let config = CheckpointingConfig::builder(CheckpointingMode::None).build().unwrap();
    let builder = keeper.prototype("states").config(config);
    let states = builder.create(|_| State::new()).build().unwrap();
    let mut map: Plain = (0..KEYS).map(|key| (key, State::new())).collect();
    // Twice: the first event of a PE is another matter.
    for key in 0..KEYS {
        states.process(key, |pe| pe.event(key)).unwrap();
    }
    match &*way {
        "plain" => measured_plain(black_box(&mut map)),
        "process" => measured_process(black_box(&states)),
        "async" => measured_async(black_box(&states)),
        "guard" => measured_guard(black_box(&states)),
        "session" => measured_session(black_box(&states)),
        _ => println!("instructions plain|process|async|guard|session"),
    }
}
