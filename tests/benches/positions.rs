//! What is read again after a crash: how far the safe position is behind, and how much longer
//! records are that say what they contain. What a position costs an event is in the bench
//! `process`.
//!
//! The files lie in `CHECKPOINT_BENCH_DIR` (default: where cargo builds; it should be on a disk).
//! `CHECKPOINT_BENCH_SECONDS` is how long each line of the first table is measured (10);
//! `CHECKPOINT_BENCH_QUICK=1` has one second. The arguments `lag` and `records` run those alone.

#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod workload;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use checkpoint::{
    CheckpointId, CheckpointingConfig, CheckpointingMode, InMemoryStorage, LogStorage, SafeKeeper,
    StateStorage,
};

use workload::measure::{Histogram, is_quick, is_wanted, setting};
use workload::usage::{directory, machine};
use workload::{Numbers, Ours};

/// The time is noted for one event in so many.
const NOTED_EACH: u64 = 64;

/// Feeds as many events as it can for some time, and says how old what would have been read again
/// was whenever the safe position went up.
fn lag(keys: u64, interval: Duration, checkpoints: CheckpointingMode, time: Duration) {
    let directory = directory();
    let storage = LogStorage::open(directory.path().join("keeper")).unwrap();
    let keeper = SafeKeeper::builder(storage).safe_position_interval(interval).build().unwrap();
    let ours = Ours::of(keeper, checkpoints, keys);
    let mut source = ours.keeper.source("events").unwrap();
    let (tells, told) = mpsc::channel();
    source.on_safe_position(move |safe| {
        // The bench may be over.
        let _over = tells.send((Instant::now(), safe));
    });
    let mut numbers = Numbers(1);
    let mut fed = Vec::new();
    let begun = Instant::now();
    for position in 0.. {
        if position % NOTED_EACH == 0 {
            let now = Instant::now();
            if now - begun > time {
                break;
            }
            fed.push(now);
        }
        let x = numbers.next();
        source.process(&ours.states, x % keys, position, |pe| pe.event(x)).unwrap();
    }
    let events = fed.len() as u64 * NOTED_EACH;
    let elapsed = begun.elapsed();
    let mut ages = Histogram::new();
    let mut before = 0;
    for (when, safe) in told.try_iter() {
        // The oldest event that was not safe until then.
        let oldest = fed.get((before / NOTED_EACH) as usize).copied().unwrap_or(begun);
        ages.add(when.saturating_duration_since(oldest));
        before = safe;
    }
    let of_interval = |age: Duration| age.as_secs_f64() / interval.as_secs_f64();
    println!(
        "{keys:>9} {:>9} {:>12} {:>10.0} k/s {:>8} ms {:>5.1} {:>8} ms {:>5.1}",
        format!("{interval:?}"),
        match checkpoints {
            CheckpointingMode::Time(every) => format!("{every:?}"),
            _ => "on request".to_owned(),
        },
        events as f64 / elapsed.as_secs_f64() / 1e3,
        ages.quantile(0.5).as_millis(),
        of_interval(ages.quantile(0.5)),
        ages.max().as_millis(),
        of_interval(ages.max()),
    );
    drop(source);
    ours.keeper.close(Duration::from_secs(600)).unwrap();
}

/// Returns the bytes of the record of a PE that so many sources have fed.
fn record_bytes(sources: u64) -> usize {
    let storage = InMemoryStorage::new();
    let keeper = SafeKeeper::builder(storage.clone()).build().unwrap();
    let config = CheckpointingConfig::builder(CheckpointingMode::None).build().unwrap();
    let counts = keeper.prototype::<u64, u64>("counts").config(config).create(|_| 0);
    let counts = counts.build().unwrap();
    counts.process(1, |count| *count += 1).unwrap();
    for number in 0..sources {
        let mut source = keeper.source(&format!("input {number}")).unwrap();
        source.process(&counts, 1, 1, |count| *count += 1).unwrap();
    }
    counts.checkpoint(1).unwrap().wait().unwrap();
    let id = CheckpointId::new("counts", 1_u64.to_be_bytes()).unwrap();
    let record = storage.fetch_now(&id).unwrap().unwrap().unwrap();
    record.len()
}

fn main() {
    println!("{}\n", machine());
    if is_wanted("lag") {
        let default = if is_quick() { 1 } else { 10 };
        let time = Duration::from_secs(setting("CHECKPOINT_BENCH_SECONDS", default));
        println!("age of the oldest event that is not safe yet, when the safe position goes up");
        println!(
            "{:>9} {:>9} {:>12} {:>14} {:>11} {:>5} {:>11} {:>5}",
            "keys", "interval", "checkpoints", "events", "median", "x", "longest", "x"
        );
        let second = Duration::from_secs(1);
        for keys in [1_000, 100_000, 1_000_000] {
            for interval in [second / 10, second] {
                lag(keys, interval, CheckpointingMode::None, time);
                lag(keys, interval, CheckpointingMode::Time(interval), time);
            }
        }
    }
    if is_wanted("records") {
        println!("\nbytes of the record of a PE of 8 bytes that is fed by several sources");
        let plain = record_bytes(0);
        for sources in [0, 1, 2, 4, 8] {
            let bytes = record_bytes(sources);
            println!("{sources:>9} {bytes:>9} {:>+9}", bytes - plain);
        }
    }
}
