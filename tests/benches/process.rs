//! What an event costs on a PE in memory, against a plain map, and against one that is dumped each
//! second.
//!
//! Each round runs every way once, one behind the other, so that all have the same weather; the
//! table shows medians. `CHECKPOINT_BENCH_EVENTS` sets the events per round (2,000,000),
//! `CHECKPOINT_BENCH_ROUNDS` the rounds (7), `CHECKPOINT_BENCH_KEYS` the keys (100,000), and
//! `CHECKPOINT_BENCH_WAYS` picks ways by a part of their name.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

mod workload;

use std::sync::Mutex;
use std::time::Duration;

use checkpoint::{CheckpointingMode, InMemoryStorage, SafeKeeper};

use workload::dumps::{Dumped, Dumping};
use workload::measure::{Way, compare, on_two_threads, setting};
use workload::{Numbers, Ours, Plain, plain, run_plain};

/// A map in 64 parts, each with a lock of its own.
struct Sharded(Vec<Mutex<Plain>>);

impl Sharded {
    fn new(keys: u64) -> Self {
        let shards: Vec<_> = (0..64).map(|_| Mutex::new(Plain::default())).collect();
        for (key, state) in plain(keys) {
            shards[(key % 64) as usize].lock().unwrap().insert(key, state);
        }
        Self(shards)
    }

    fn run(&self, keys: u64, events: u64, seed: u64) {
        let mut numbers = Numbers(seed);
        for _ in 0..events {
            let x = numbers.next();
            let key = x % keys;
            let shard = &self.0[(key % 64) as usize];
            shard.lock().unwrap().get_mut(&key).unwrap().event(x);
        }
    }
}

fn main() {
    let events = setting("CHECKPOINT_BENCH_EVENTS", 2_000_000);
    let rounds = setting("CHECKPOINT_BENCH_ROUNDS", 7);
    let keys = setting("CHECKPOINT_BENCH_KEYS", 100_000);
    let ours = |mode| Ours::new(InMemoryStorage::new(), mode, keys);
    let off = ours(CheckpointingMode::None);
    let count = ours(CheckpointingMode::EventCount(16.try_into().unwrap()));
    let timed = ours(CheckpointingMode::Time(Duration::from_secs(1)));
    // One that looks each second what is safe stores all that has changed for it.
    let never = SafeKeeper::builder(InMemoryStorage::new())
        .safe_position_interval(Duration::from_secs(86_400))
        .build()
        .unwrap();
    let fed = Ours::of(never, CheckpointingMode::None, keys);
    let source = Mutex::new(fed.keeper.source("events").unwrap());
    let timed_fed = ours(CheckpointingMode::Time(Duration::from_secs(1)));
    let timed_source = Mutex::new(timed_fed.keeper.source("events").unwrap());
    let map = Mutex::new(plain(keys));
    let directory = tempfile::tempdir().unwrap();
    let second = Duration::from_secs(1);
    let dumped = Mutex::new(Dumped::new(plain(keys), Dumping::StopTheWorld, directory, second));
    let sharded = Sharded::new(keys);
    let two = |n, run: &(dyn Fn(u64, u64) + Sync)| on_two_threads(n, run);
    let ways: Vec<Way<'_>> = vec![
        ("plain map", Box::new(|n| run_plain(&mut map.lock().unwrap(), keys, n, 1))),
        ("map, dumped each second", Box::new(|n| dumped.lock().unwrap().run(keys, n, 1))),
        ("64 locked maps", Box::new(|n| sharded.run(keys, n, 1))),
        ("session, off", Box::new(|n| off.session(n, 1))),
        ("process, off", Box::new(|n| off.process(n, 1))),
        (
            "process from a source, off",
            Box::new(|n| fed.positioned(&mut source.lock().unwrap(), n, 1)),
        ),
        ("process_async, off", Box::new(|n| off.process_async(n))),
        ("guard, off", Box::new(|n| off.guard(n))),
        ("session, each 16 events", Box::new(|n| count.session(n, 1))),
        ("process, each 16 events", Box::new(|n| count.process(n, 1))),
        ("session, each second", Box::new(|n| timed.session(n, 1))),
        (
            "process from a source, each second",
            Box::new(|n| timed_fed.positioned(&mut timed_source.lock().unwrap(), n, 1)),
        ),
        ("process, each second", Box::new(|n| timed.process(n, 1))),
        ("2 threads: 64 locked maps", Box::new(|n| two(n, &|n, s| sharded.run(keys, n, s)))),
        ("2 threads: session, off", Box::new(|n| two(n, &|n, s| off.session(n, s)))),
        ("2 threads: process, off", Box::new(|n| two(n, &|n, s| off.process(n, s)))),
        ("2 threads: session, each second", Box::new(|n| two(n, &|n, s| timed.session(n, s)))),
        ("2 threads: process, each second", Box::new(|n| two(n, &|n, s| timed.process(n, s)))),
    ];
    // The first one is what the others are compared with.
    let wanted = std::env::var("CHECKPOINT_BENCH_WAYS").unwrap_or_default();
    let ways: Vec<_> = ways
        .into_iter()
        .enumerate()
        .filter(|(i, (name, _))| *i == 0 || name.contains(&wanted))
        .map(|(_, way)| way)
        .collect();
    println!("{keys} keys, {events} events a round, {rounds} rounds; medians\n");
    println!("{:32} {:>8} {:>14}", "way", "ns", "x of plain map");
    for ((name, _), compared) in ways.iter().zip(compare(&ways, events, rounds)) {
        // Speed, not time: 0.5 means half as many events in the same time.
        println!("{name:32} {:8.1} {:14.2}", compared.ns, compared.speed);
    }
    drop(ways);
    println!("\n{} dumps", dumped.into_inner().unwrap().dumps);
    let keepers = [
        ("off", off),
        ("from a source, off", fed),
        ("each 16 events", count),
        ("each second", timed),
        ("from a source, each second", timed_fed),
    ];
    for (name, ours) in keepers {
        let stats = ours.keeper.stats();
        println!(
            "{name}: stored {}, coalesced {}, batches {}",
            stats.stored, stats.coalesced, stats.batches
        );
        ours.keeper.close(Duration::from_secs(60)).unwrap();
    }
}
