//! How long a state takes to be there again: one at a time, from memory and from the disk, and how
//! long a store takes to be opened, beside fjall and redb.
//!
//! The files lie in `CHECKPOINT_BENCH_DIR` (default: where cargo builds; it should be on a disk).
//! `CHECKPOINT_BENCH_QUICK=1` has few keys only; `CHECKPOINT_BENCH_KEYS_MAX` is the largest number
//! of keys that stores are opened with (10,000,000, which needs 6 GB of disk). The arguments
//! `lazy`, `bulk` and `open` run those parts alone. Draws `checkpoint/docs/log_restores.svg`,
//! unless it is quick.

#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod workload;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, LogStorage, PePrototype, SafeKeeper,
};

use workload::Numbers;
use workload::draw::{Curve, Picture};
use workload::measure::{Histogram, is_quick, is_wanted, median, setting};
use workload::progress::Progress;
use workload::rivals::{Logged, Open, RIVALS, Rival};
use workload::usage::{Usage, directory, forget_cached, machine, resident_bytes};

/// A state of so many bytes.
#[derive(Checkpointable)]
struct Blob {
    bytes: Vec<u8>,
}

type Blobs = PePrototype<u64, Blob>;

/// A keeper over the log in a directory, and its PEs of so many bytes.
fn blobs(directory: &Path, state_bytes: usize) -> (SafeKeeper, Blobs) {
    let storage = LogStorage::open(directory.join("keeper")).unwrap();
    let keeper = SafeKeeper::builder(storage).build().unwrap();
    let config = CheckpointingConfig::builder(CheckpointingMode::None).build().unwrap();
    let blobs = keeper.prototype("blobs").config(config);
    // With the length of the bytes in front.
    let blobs = blobs.create(move |_| Blob { bytes: vec![7; state_bytes - 8] }).build().unwrap();
    (keeper, blobs)
}

/// Stores so many PEs through a keeper, each once.
fn fill_blobs(directory: &Path, state_bytes: usize, keys: u64) {
    let (keeper, states) = blobs(directory, state_bytes);
    for key in 0..keys {
        states.process(key, |_| ()).unwrap();
    }
    keeper.close(Duration::from_secs(600)).unwrap();
}

/// Saves so many states, each once.
fn fill(rival: &mut dyn Rival, keys: u64, state_bytes: usize) {
    let state: Vec<u8> = (0..=250).cycle().take(state_bytes).collect();
    for first in (0..keys).step_by(4096) {
        let batch = first..(first + 4096).min(keys);
        rival.save(&mut batch.map(|key| (key, &*state)));
    }
}

/// Fetches states of random keys one by one; each has at least so many bytes.
fn fetch(keys: u64, fetches: u64, mut fetch: impl FnMut(u64)) -> Histogram {
    let mut numbers = Numbers(3);
    let mut times = Histogram::new();
    for _ in 0..fetches {
        let key = numbers.next() % keys;
        let begun = Instant::now();
        fetch(key);
        times.add(begun.elapsed());
    }
    times
}

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn curve(name: String, times: &Histogram, progress: &Progress) -> Curve {
    let points = QUANTILES.map(|share| (1.0 / (1.0 - share), micros(times.quantile(share))));
    let [p50, _, p99, p999] = points.map(|(_, time)| time);
    progress.print(format!(
        "{name:24} {p50:>9.2} {p99:>9.2} {p999:>9.2} {:>10.1}",
        micros(times.max())
    ));
    Curve { name, points: points.into() }
}

/// One state after the other, wherever it lies.
fn lazy() {
    let keys = if is_quick() { 10_000 } else { 100_000 };
    let (warm_fetches, cold_fetches) = if is_quick() { (10_000, 200) } else { (200_000, 5_000) };
    let rivals = || RIVALS.into_iter().skip(1);
    let progress = Progress::new(8);
    progress.print(format!("lazy restore of one of {keys} states of 1 KiB, us"));
    progress
        .print(format!("{:24} {:>9} {:>9} {:>9} {:>10}", "way", "p50", "p99", "p99.9", "longest"));
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for (name, open) in rivals() {
        progress.next(name);
        let directory = directory();
        let mut rival = open(directory.path());
        fill(&mut *rival, keys, 1024);
        drop(rival);
        let rival = open(directory.path());
        let found = |key| assert!(rival.fetch(key).unwrap() >= 1024);
        // So that all have been read once.
        (0..keys).for_each(found);
        let times = fetch(keys, warm_fetches, found);
        warm.push(curve(format!("{name}, warm"), &times, &progress));
        progress.done();
        drop(rival);
        let rival = open(directory.path());
        forget_cached(directory.path());
        let found = |key| assert!(rival.fetch(key).unwrap() >= 1024);
        let times = fetch(keys, cold_fetches, found);
        cold.push(curve(format!("{name}, cold"), &times, &progress));
        progress.done();
    }
    progress.next("first events");
    let directory = directory();
    fill_blobs(directory.path(), 1024, keys);
    // Each PE has one first event.
    let (_keeper, states) = blobs(directory.path(), 1024);
    let times = fetch(keys, keys / 2, |key| states.read(key, |_| ()).unwrap());
    warm.push(curve("a PE's first event, warm".to_owned(), &times, &progress));
    progress.done();
    drop((_keeper, states));
    let (_keeper, states) = blobs(directory.path(), 1024);
    forget_cached(directory.path());
    let times = fetch(keys, cold_fetches, |key| states.read(key, |_| ()).unwrap());
    cold.push(curve("a PE's first event, cold".to_owned(), &times, &progress));
    drop(progress);
    if !is_quick() {
        let picture = Picture::new("log_restores.svg", 2);
        let x = "1 in so many takes longer";
        picture.chart(0, "lazy restore, warm, us", x, &warm.iter().collect::<Vec<_>>());
        picture.chart(1, "lazy restore, cold, us", x, &cold.iter().collect::<Vec<_>>());
        println!("drawn into {}", picture.finish());
    }
}

/// All states at once, into a map: ours those of a keeper, the others theirs.
fn bulk() {
    let keys = if is_quick() { 10_000 } else { 1_000_000 };
    let progress = Progress::new(8);
    progress.print(format!(
        "\nbulk restore of {keys} states\n{:>7} {:12} {:>11} {:>8} {:>10}",
        "bytes", "store", "states/s", "MB/s", "CPU us"
    ));
    for state_bytes in [100, 1024] {
        let keys = keys * 100 / state_bytes as u64;
        for (name, open) in RIVALS.into_iter().skip(1) {
            progress.next(format!("{state_bytes} bytes: {name}"));
            let directory = directory();
            let is_ours = name == "LogStorage";
            if is_ours {
                fill_blobs(directory.path(), state_bytes, keys);
            } else {
                fill(&mut *open(directory.path()), keys, state_bytes);
            }
            let rounds = if is_quick() { 1 } else { 5 };
            let rounds = (0..rounds).map(|_| match is_ours {
                true => bulk_ours(directory.path(), state_bytes, keys),
                false => bulk_rival(&*open(directory.path()), keys),
            });
            let rounds: Vec<_> = rounds.collect();
            let each = median(rounds.iter().map(|round| round.0).collect()) / keys as f64;
            let cpu = median(rounds.iter().map(|round| round.1).collect()) / keys as f64;
            progress.print(format!(
                "{state_bytes:>7} {name:12} {:>11.0} {:>8.1} {:>10.2}",
                1.0 / each,
                state_bytes as f64 / each / 1e6,
                cpu * 1e6,
            ));
            progress.done();
        }
    }
}

/// The time and the processor time that `restore` takes, in seconds.
fn timed(restore: impl FnOnce()) -> (f64, f64) {
    let (usage, begun) = (Usage::now(), Instant::now());
    restore();
    (begun.elapsed().as_secs_f64(), (Usage::now() - usage).cpu.as_secs_f64())
}

fn bulk_ours(directory: &Path, state_bytes: usize, keys: u64) -> (f64, f64) {
    let (_keeper, states) = blobs(directory, state_bytes);
    timed(|| assert_eq!(states.restore_all(|_| ()).unwrap().restored, keys))
}

fn bulk_rival(rival: &dyn Rival, keys: u64) -> (f64, f64) {
    timed(|| {
        let mut map = HashMap::new();
        rival.visit(&mut |key, state| {
            map.insert(key, state.to_vec());
        });
        assert_eq!(map.len() as u64, keys);
    })
}

/// How long stores take to be opened, after they were closed in good order, and what ours has in
/// memory then.
fn opening() {
    let keys_max = if is_quick() { 10_000 } else { 10_000_000 };
    let keys_max = setting("CHECKPOINT_BENCH_KEYS_MAX", keys_max);
    let sizes: Vec<_> = [10_000, 100_000, 1_000_000, 10_000_000].into();
    let progress = Progress::new(4);
    progress.print(format!(
        "\nopening, states of 100 bytes\n{:>9} {:12} {:>9} {:>9} {:>14} {:>14}",
        "keys", "store", "warm ms", "cold ms", "index B/key", "process B/key"
    ));
    for keys in sizes.into_iter().filter(|keys| *keys <= keys_max) {
        for (name, open) in RIVALS.into_iter().skip(1) {
            progress.next(format!("{keys} keys: {name}"));
            let directory = directory();
            let mut rival = open(directory.path());
            fill(&mut *rival, keys, 100);
            drop(rival);
            let before = resident_bytes();
            let warm = (0..3).map(|_| opened(open, directory.path())).collect();
            forget_cached(directory.path());
            let cold = opened(open, directory.path());
            let kept = open(directory.path());
            let process = (resident_bytes() - before) / keys as f64;
            drop(kept);
            let index = if name == "LogStorage" {
                let log = Logged::open(directory.path());
                format!("{:.1}", log.storage.stats().index_bytes as f64 / keys as f64)
            } else {
                String::new()
            };
            progress.print(format!(
                "{keys:>9} {name:12} {:>9.1} {cold:>9.1} {index:>14} {process:>14.1}",
                median(warm)
            ));
        }
        progress.done();
    }
}

/// Opens a store, has it find a state, closes it, and returns how many ms the former took.
fn opened(open: Open, directory: &Path) -> f64 {
    let begun = Instant::now();
    let rival = open(directory);
    assert!(rival.fetch(17).is_some());
    begun.elapsed().as_secs_f64() * 1e3
}

fn main() {
    println!("{}\n", machine());
    if is_wanted("lazy") {
        lazy();
    }
    if is_wanted("bulk") {
        bulk();
    }
    if is_wanted("open") {
        opening();
    }
}
