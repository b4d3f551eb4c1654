//! What an event costs on a resident PE, against a plain map, and against a map that is dumped each
//! second.
//!
//! Each round runs every way once, one behind the other, so that all have the same weather; the
//! table shows medians. `CHECKPOINT_BENCH_EVENTS` sets the events per round (2,000,000), and
//! `CHECKPOINT_BENCH_WAYS` picks ways by a part of their name.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, PePrototype,
    SafeKeeper, StateLimits, encode_state,
};

const KEYS: u64 = 100_000;
const ROUNDS: usize = 7;

/// Three counters and 64 bytes, as in the reference figures.
#[derive(Checkpointable, Clone)]
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

/// Random numbers that cost next to nothing (xorshift64, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    #[inline(always)]
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

type Plain = HashMap<u64, State, foldhash::fast::RandomState>;

fn plain() -> Plain {
    (0..KEYS).map(|key| (key, State::new())).collect()
}

fn run_plain(map: &mut Plain, events: u64) {
    let mut numbers = Numbers(1);
    for _ in 0..events {
        let x = numbers.next();
        map.get_mut(&(x % KEYS)).unwrap().event(x);
    }
}

/// A keeper over memory, and its prototype with all PEs resident.
struct Ours {
    keeper: SafeKeeper,
    states: PePrototype<u64, State>,
}

impl Ours {
    fn new(mode: CheckpointingMode) -> Self {
        let keeper = SafeKeeper::builder(InMemoryStorage::new()).build().unwrap();
        let config = CheckpointingConfig::builder(mode).build().unwrap();
        let states =
            keeper.prototype("states").config(config).create(|_| State::new()).build().unwrap();
        for key in 0..KEYS {
            states.read(key, |_| ()).unwrap();
        }
        Self { keeper, states }
    }

    fn process(&self, events: u64, seed: u64) {
        let mut numbers = Numbers(seed);
        for _ in 0..events {
            let x = numbers.next();
            self.states.process(x % KEYS, |pe| pe.event(x)).unwrap();
        }
    }

    fn session(&self, events: u64, seed: u64) {
        let mut numbers = Numbers(seed);
        let mut session = self.states.session();
        // In runs, as from a source that is polled for some events at a time.
        for _ in 0..events / 1000 {
            let run = (0..1000).map(|_| {
                let x = numbers.next();
                (x % KEYS, x)
            });
            session.run(run, State::event).unwrap();
        }
    }

    fn guard(&self, events: u64) {
        let mut numbers = Numbers(1);
        for _ in 0..events {
            let x = numbers.next();
            self.states.pe(x % KEYS).unwrap().event(x);
        }
    }

    fn process_async(&self, events: u64) {
        pollster::block_on(async {
            let mut numbers = Numbers(1);
            for _ in 0..events {
                let x = numbers.next();
                self.states.process_async(x % KEYS, move |pe| pe.event(x)).await.unwrap();
            }
        });
    }
}

/// A whole dump: encode all, write a temporary file, sync it, rename it.
fn dump(map: &Plain, directory: &std::path::Path) {
    let limits = StateLimits::default();
    let mut bytes = Vec::new();
    for (key, state) in map {
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.extend_from_slice(&encode_state(state, &limits).unwrap());
    }
    let temporary = directory.join("dump.tmp");
    let mut file = File::create(&temporary).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_data().unwrap();
    std::fs::rename(&temporary, directory.join("dump")).unwrap();
}

/// The plain map with a dump each second, stop-the-world.
struct Dumped {
    map: Plain,
    directory: tempfile::TempDir,
    next: Instant,
    pauses: Vec<Duration>,
}

impl Dumped {
    fn run(&mut self, events: u64) {
        let mut numbers = Numbers(1);
        for i in 0..events {
            let x = numbers.next();
            self.map.get_mut(&(x % KEYS)).unwrap().event(x);
            if i % 1024 == 0 && Instant::now() >= self.next {
                let begun = Instant::now();
                dump(&self.map, self.directory.path());
                self.pauses.push(begun.elapsed());
                self.next = Instant::now() + Duration::from_secs(1);
            }
        }
    }
}

fn time(events: u64, work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e9 / events as f64
}

fn on_two_threads(events: u64, work: impl Fn(u64, u64) + Sync) {
    thread::scope(|scope| {
        for seed in [1, 2] {
            let work = &work;
            scope.spawn(move || work(events / 2, seed));
        }
    });
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

type Way<'a> = (&'static str, Box<dyn Fn(u64) + 'a>);

fn main() {
    let events = std::env::var("CHECKPOINT_BENCH_EVENTS");
    let events: u64 = events.ok().and_then(|n| n.parse().ok()).unwrap_or(2_000_000);
    let off = Ours::new(CheckpointingMode::None);
    let count = Ours::new(CheckpointingMode::EventCount(16.try_into().unwrap()));
    let timed = Ours::new(CheckpointingMode::Time(Duration::from_secs(1)));
    let map = Mutex::new(plain());
    let directory = tempfile::tempdir().unwrap();
    let (next, pauses) = (Instant::now(), Vec::new());
    let dumped = Mutex::new(Dumped { map: plain(), directory, next, pauses });
    let sharded: Vec<_> = (0..64).map(|_| Mutex::new(Plain::default())).collect();
    for (key, state) in plain() {
        sharded[(key % 64) as usize].lock().unwrap().insert(key, state);
    }
    let run_sharded = |events: u64, seed: u64| {
        let mut numbers = Numbers(seed);
        for _ in 0..events {
            let x = numbers.next();
            let key = x % KEYS;
            let shard = &sharded[(key % 64) as usize];
            shard.lock().unwrap().get_mut(&key).unwrap().event(x);
        }
    };
    let ways: Vec<Way<'_>> = vec![
        ("plain map", Box::new(|n| run_plain(&mut map.lock().unwrap(), n))),
        ("64 locked maps", Box::new(|n| run_sharded(n, 1))),
        ("map, dumped each second", Box::new(|n| dumped.lock().unwrap().run(n))),
        ("session, off", Box::new(|n| off.session(n, 1))),
        ("process, off", Box::new(|n| off.process(n, 1))),
        ("process_async, off", Box::new(|n| off.process_async(n))),
        ("guard, off", Box::new(|n| off.guard(n))),
        ("session, each 16 events", Box::new(|n| count.session(n, 1))),
        ("process, each 16 events", Box::new(|n| count.process(n, 1))),
        ("session, each second", Box::new(|n| timed.session(n, 1))),
        ("process, each second", Box::new(|n| timed.process(n, 1))),
        ("2 threads: 64 locked maps", Box::new(|n| on_two_threads(n, run_sharded))),
        ("2 threads: session, off", Box::new(|n| on_two_threads(n, |n, s| off.session(n, s)))),
        ("2 threads: process, off", Box::new(|n| on_two_threads(n, |n, s| off.process(n, s)))),
    ];
    // The first one is what the others are compared with.
    let wanted = std::env::var("CHECKPOINT_BENCH_WAYS").unwrap_or_default();
    let ways: Vec<_> = ways
        .into_iter()
        .enumerate()
        .filter(|(i, (name, _))| *i == 0 || name.contains(&wanted))
        .map(|(_, way)| way)
        .collect();
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, way), times) in ways.iter().zip(&mut times) {
            times.push(time(events, || way(events)));
        }
    }
    println!("{KEYS} keys, {events} events a round, {ROUNDS} rounds; ns per event, medians\n");
    println!("{:28} {:>8} {:>14}", "way", "ns", "x of plain map");
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    let base = medians[0];
    for ((name, _), median) in ways.iter().zip(&medians) {
        // Speed, not time: 0.5 means half as many events in the same time.
        println!("{name:28} {median:8.1} {:14.2}", base / median);
    }
    drop(ways);
    let pauses = dumped.into_inner().unwrap().pauses;
    let longest = pauses.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!("\n{} dumps, the longest took {longest:.1} ms", pauses.len());
    for ours in [off, count, timed] {
        let stats = ours.keeper.stats();
        println!(
            "stored {}, coalesced {}, batches {}",
            stats.stored, stats.coalesced, stats.batches
        );
        ours.keeper.close(Duration::from_secs(60)).unwrap();
    }
}
