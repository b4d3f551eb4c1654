//! What an event costs in instructions: the same whatever else the machine is doing.
//!
//! `tests/instructions` runs it under callgrind, one way at a time, and prints a table.

#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

mod workload;

use std::hint::black_box;

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, InMemoryStorage, PePrototype, Pool, SafeKeeper, Source,
};

use workload::{Plain, State, plain};

const KEYS: u64 = 1000;
const EVENTS: u64 = 10_000;

#[inline(always)]
fn key(i: u64) -> u64 {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

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
fn measured_source(states: &PePrototype<u64, State>, source: &mut Source) {
    for i in 0..EVENTS {
        let x = key(i);
        source.process(states, x % KEYS, i, |pe| pe.event(x)).unwrap();
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

/// All PEs are due; the keeper's work is done on this thread, step by step.
#[inline(never)]
fn measured_save(keeper: &SafeKeeper) {
    let pools = [Pool::Timing, Pool::Serialization, Pool::Storage];
    while pools.iter().any(|pool| keeper.step(*pool)) {}
}

fn prototype(keeper: &SafeKeeper, mode: CheckpointingMode) -> PePrototype<u64, State> {
    let config = CheckpointingConfig::builder(mode).build().unwrap();
    let builder = keeper.prototype("states").config(config);
    let states = builder.create(|_| State::new()).build().unwrap();
    // The first event of a PE is another matter.
    for key in 0..KEYS {
        states.process(key, |pe| pe.event(key)).unwrap();
    }
    states
}

fn main() {
    let way = std::env::args().nth(1).unwrap_or_default();
    if way == "save" {
        let keeper = SafeKeeper::builder(InMemoryStorage::new()).stepped().build().unwrap();
        let states = prototype(&keeper, CheckpointingMode::EventCount(1.try_into().unwrap()));
        for _ in 0..EVENTS / KEYS {
            for key in 0..KEYS {
                states.process(key, |pe| pe.event(key)).unwrap();
            }
            measured_save(black_box(&keeper));
        }
        return;
    }
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build().unwrap();
    let states = prototype(&keeper, CheckpointingMode::None);
    let mut map = plain(KEYS);
    match &*way {
        "plain" => measured_plain(black_box(&mut map)),
        "process" => measured_process(black_box(&states)),
        "source" => {
            let mut source = keeper.source("events").unwrap();
            measured_source(black_box(&states), &mut source);
        }
        "async" => measured_async(black_box(&states)),
        "guard" => measured_guard(black_box(&states)),
        "session" => measured_session(black_box(&states)),
        _ => println!("usage: instructions plain|process|source|async|guard|session|save"),
    }
}
