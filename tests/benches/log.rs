//! How fast states are saved durably, and what that writes: `LogStorage` beside a bare loop that
//! appends and syncs, fjall and redb.
//!
//! All save the same batches of the same states, and sync each. The files lie in
//! `CHECKPOINT_BENCH_DIR` (default: where cargo builds; it should be on a disk).
//! `CHECKPOINT_BENCH_QUICK=1` measures each for a moment only; `CHECKPOINT_BENCH_ROUNDS` sets the
//! rounds (5), `CHECKPOINT_BENCH_MILLIS` how long each way runs in one (1,000). The arguments
//! `saves`, `overwrites` and `keeper` run those parts alone. Draws `checkpoint/docs/log_saves.svg`,
//! unless it is quick.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod workload;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use checkpoint::{Checkpointable, CheckpointingConfig, CheckpointingMode, LogStorage, SafeKeeper};

use workload::Numbers;
use workload::draw::{Curve, Picture};
use workload::measure::{is_quick, is_wanted, median, setting};
use workload::progress::Progress;
use workload::rivals::{RIVALS, Rival};
use workload::usage::{Usage, directory, machine};

/// Of the names in `RIVALS`.
const BARE: usize = 0;
const FJALL: usize = 2;

/// What one way did in one round.
#[derive(Clone, Copy)]
struct Round {
    states_per_second: f64,
    cpu_per_state: f64,
    written_per_byte: f64,
}

/// The states: random, so that no store gains by compressing them.
struct States {
    bytes: Vec<u8>,
    state_bytes: usize,
    keys: u64,
}

impl States {
    fn new(state_bytes: usize, keys: u64) -> Self {
        let mut numbers = Numbers(7);
        let words = state_bytes.div_ceil(8) + 4096;
        let bytes = (0..words).flat_map(|_| numbers.next().to_le_bytes()).collect();
        Self { bytes, state_bytes, keys }
    }

    /// So many states of random keys, of those that a thread has.
    fn batch<'a>(
        &'a self,
        numbers: &'a mut Numbers,
        count: u64,
        (thread, threads): (u64, u64),
    ) -> impl Iterator<Item = (u64, &'a [u8])> {
        (0..count).map(move |_| {
            let x = numbers.next();
            let start = usize::try_from(x >> 40).unwrap() % 32_768;
            let key = x % (self.keys / threads) * threads + thread;
            (key, &self.bytes[start..start + self.state_bytes])
        })
    }
}

/// Saves batches until the time is over, in a thread for each of `numbers`.
fn run(
    rival: &dyn Rival,
    states: &States,
    numbers: &mut [Numbers],
    batch: u64,
    is_over: impl Fn(u64, Duration) -> bool + Sync,
) -> Round {
    let usage = Usage::now();
    let begun = Instant::now();
    let saved = AtomicU64::new(0);
    let threads = numbers.len() as u64;
    thread::scope(|scope| {
        for (thread, numbers) in (0..).zip(numbers) {
            scope.spawn({
                let (saved, is_over) = (&saved, &is_over);
                move || {
                    while !is_over(saved.load(Ordering::Relaxed), begun.elapsed()) {
                        rival.save(&mut states.batch(numbers, batch, (thread, threads)));
                        saved.fetch_add(batch, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let saved = saved.into_inner() as f64;
    let seconds = begun.elapsed().as_secs_f64();
    let used = Usage::now() - usage;
    Round {
        states_per_second: saved / seconds,
        cpu_per_state: used.cpu.as_secs_f64() / saved,
        written_per_byte: used.written_bytes as f64 / (saved * states.state_bytes as f64),
    }
}

fn median_of(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    median(rounds.iter().map(value).collect())
}

/// The median of the ratios, each to what the other did in the same round.
fn ratio(rounds: &[Round], other: &[Round]) -> f64 {
    let ratios = rounds.iter().zip(other).map(|(a, b)| a.states_per_second / b.states_per_second);
    median(ratios.collect())
}

/// All ways with states of one size, in batches of one size, by so many threads. Returns the bytes
/// of states per second of each.
fn saves(state_bytes: usize, batch: u64, threads: u64, progress: &Progress) -> Vec<f64> {
    let rounds = if is_quick() { 1 } else { setting("CHECKPOINT_BENCH_ROUNDS", 5) };
    let millis = if is_quick() { 100 } else { setting("CHECKPOINT_BENCH_MILLIS", 1000) };
    let time = Duration::from_millis(millis);
    // So that what counts of them stays below 200 MB.
    let states = States::new(state_bytes, (200_000_000 / state_bytes as u64).min(100_000));
    let directories = RIVALS.map(|_| directory());
    let mut numbers = RIVALS.map(|_| (1..=threads).map(Numbers).collect::<Vec<_>>());
    let mut all = RIVALS.map(|_| Vec::new());
    for round in 0..rounds {
        for (at, (name, open)) in RIVALS.iter().enumerate() {
            progress
                .next(format!("{state_bytes} bytes, {threads} x {batch}, round {round}: {name}"));
            // Only one is open at a time: what one does in the background is not another's cost.
            let rival = open(directories[at].path());
            let is_over = |_, elapsed| elapsed >= time;
            all[at].push(run(&*rival, &states, &mut numbers[at], batch, is_over));
            drop(rival);
            progress.done();
        }
    }
    let mut speeds = Vec::new();
    for ((name, _), rounds) in RIVALS.iter().zip(&all) {
        let speed = median_of(rounds, |round| round.states_per_second);
        progress.print(format!(
            "{state_bytes:>7} {batch:>6} {threads:>7} {name:12} \
             {:>9.0} {:>8.1} {:>9.2} {:>10.2} {:>9.2} {:>9.2}",
            speed,
            speed * state_bytes as f64 / 1e6,
            ratio(rounds, &all[BARE]),
            ratio(rounds, &all[FJALL]),
            median_of(rounds, |round| round.cpu_per_state) * 1e6,
            median_of(rounds, |round| round.written_per_byte),
        ));
        speeds.push(speed * state_bytes as f64);
    }
    speeds
}

fn all_saves() {
    let sizes = [100, 1 << 10, 16 << 10];
    let ways = [(256, 1), (256, 2), (4096, 1), (4096, 2)];
    let rounds = if is_quick() { 1 } else { setting("CHECKPOINT_BENCH_ROUNDS", 5) };
    let progress = Progress::new(rounds * RIVALS.len() as u64 * 12);
    progress.print("durable saves");
    progress.print(format!(
        "{:>7} {:>6} {:>7} {:12} {:>9} {:>8} {:>9} {:>10} {:>9} {:>9}",
        "bytes",
        "batch",
        "threads",
        "store",
        "states/s",
        "MB/s",
        "x of bare",
        "x of fjall",
        "CPU us",
        "written x"
    ));
    let mut curves = Vec::new();
    for (batch, threads) in ways {
        let points: Vec<_> = sizes.map(|size| saves(size, batch, threads, &progress)).into();
        for (at, (name, _)) in RIVALS.iter().enumerate() {
            let point = |(size, speeds): (usize, &Vec<f64>)| (size as f64, speeds[at] / 1e6);
            let points = sizes.into_iter().zip(&points).map(point).collect();
            curves.push(((batch, threads), Curve { name: (*name).to_owned(), points }));
        }
    }
    drop(progress);
    if is_quick() {
        return;
    }
    let picture = Picture::new("log_saves.svg", ways.len());
    for (at, way) in ways.into_iter().enumerate() {
        let curves: Vec<_> = curves.iter().filter(|(of, _)| *of == way).map(|(_, c)| c).collect();
        let (batch, threads) = way;
        let title = format!("durable saves, {batch} in a batch, {threads} threads, MB/s");
        picture.chart(at, &title, "bytes of a state", &curves);
    }
    println!("drawn into {}", picture.finish());
}

/// What is written for each byte of a state, once as many were overwritten several times.
fn all_overwrites() {
    let (state_bytes, keys) = (1024, if is_quick() { 10_000 } else { 100_000 });
    let times = if is_quick() { 3 } else { 10 };
    let states = States::new(state_bytes, keys);
    let progress = Progress::new(RIVALS.len() as u64);
    progress.print(format!(
        "\n{keys} states of {state_bytes} bytes, each overwritten {times} times, 1024 in a batch"
    ));
    progress.print(format!(
        "{:12} {:>9} {:>9} {:>9} {:>14}",
        "store", "states/s", "CPU us", "written x", "on the disk x"
    ));
    for (name, open) in RIVALS {
        progress.next(format!("overwrites: {name}"));
        let directory = directory();
        let rival = open(directory.path());
        let is_over = |saved, _| saved >= keys * times;
        let round = run(&*rival, &states, &mut [Numbers(1)], 1024, is_over);
        let bytes = workload::usage::disk_bytes(directory.path());
        progress.print(format!(
            "{name:12} {:>9.0} {:>9.2} {:>9.2} {:>14.2}",
            round.states_per_second,
            round.cpu_per_state * 1e6,
            round.written_per_byte,
            bytes as f64 / (keys as f64 * state_bytes as f64),
        ));
        progress.done();
    }
}

/// A state of so many bytes.
#[derive(Checkpointable)]
struct Blob {
    bytes: Vec<u8>,
}

/// The same through a keeper: all PEs are changed, and stored from the first capture to the last
/// acknowledgement.
fn all_through_a_keeper() {
    let progress = Progress::new(6);
    progress.print(format!(
        "\nall PEs changed, through a keeper into LogStorage, by so many of its storage threads\n\
         {:>7} {:>7} {:>8} {:>9} {:>8} {:>9} {:>9}",
        "bytes", "threads", "PEs", "states/s", "MB/s", "CPU us", "batches"
    ));
    let sizes = [100_u64, 1 << 10, 16 << 10].into_iter();
    for (state_bytes, threads) in sizes.flat_map(|size| [1, 2].map(|threads| (size, threads))) {
        progress.next(format!("a keeper, {state_bytes} bytes, {threads} threads"));
        let keys = if is_quick() { 20_000 } else { 200_000 };
        let keys = keys.min(200_000_000 / state_bytes);
        let directory = directory();
        let log = LogStorage::open(directory.path().join("log")).unwrap();
        let threads = threads.try_into().unwrap();
        let keeper = SafeKeeper::builder(log).storage_max_threads(threads).build().unwrap();
        let config = CheckpointingConfig::builder(CheckpointingMode::None).build().unwrap();
        let blobs = keeper.prototype::<u64, Blob>("blobs").config(config);
        // With the length of the bytes in front.
        let bytes = usize::try_from(state_bytes).unwrap() - 8;
        let blobs = blobs.create(move |_| Blob { bytes: vec![7; bytes] }).build().unwrap();
        let mut rounds = Vec::new();
        let mut batches = 0;
        let wanted = if is_quick() { 2 } else { 6 };
        for round in 0..wanted {
            for key in 0..keys {
                blobs.process(key, |blob| blob.bytes[0] ^= 1).unwrap();
            }
            let (usage, before) = (Usage::now(), keeper.stats().batches);
            let begun = Instant::now();
            keeper.flush(Duration::from_secs(600)).unwrap();
            let seconds = begun.elapsed().as_secs_f64();
            let used = Usage::now() - usage;
            // The first also creates the ids.
            if round > 0 {
                batches = keeper.stats().batches - before;
                rounds.push(Round {
                    states_per_second: keys as f64 / seconds,
                    cpu_per_state: used.cpu.as_secs_f64() / keys as f64,
                    written_per_byte: 0.0,
                });
            }
        }
        let speed = median_of(&rounds, |round| round.states_per_second);
        progress.print(format!(
            "{state_bytes:>7} {threads:>7} {keys:>8} {speed:>9.0} {:>8.1} {:>9.2} {batches:>9}",
            speed * state_bytes as f64 / 1e6,
            median_of(&rounds, |round| round.cpu_per_state) * 1e6,
        ));
        progress.done();
    }
}

fn main() {
    println!("{}\n", machine());
    if is_wanted("saves") {
        all_saves();
    }
    if is_wanted("overwrites") {
        all_overwrites();
    }
    if is_wanted("keeper") {
        all_through_a_keeper();
    }
}
