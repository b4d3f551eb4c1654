//! What durable checkpoints cost the events: throughput, how long single events are held up, what
//! is written, and how long it takes after a kill until there is an event again.
//!
//! Each way runs beside itself without checkpoints. The files lie in `CHECKPOINT_BENCH_DIR`
//! (default: where cargo builds; it should be on a disk). `CHECKPOINT_BENCH_SECONDS` sets how long
//! each way runs (5), `CHECKPOINT_BENCH_KEYS` the number of keys (100,000), and
//! `CHECKPOINT_BENCH_QUICK=1` measures each for a moment only.

#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod workload;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use checkpoint::{CheckpointingMode, InMemoryStorage, LogStorage, StateStorage};
use checkpoint_tests::AppendSink;

use workload::changed::Changed;
use workload::dumps::{Dumped, Dumping, dump, load};
use workload::measure::{Histogram, is_quick, median, setting};
use workload::progress::Progress;
use workload::rivals::{Fjall, Redb, Rival};
use workload::usage::{Usage, directory, machine};
use workload::{Numbers, Ours, plain};

/// How a way is used: how many keys there are, of which one in so many is touched in an interval,
/// and for how long.
#[derive(Clone, Copy)]
struct Use {
    keys: u64,
    one_in: u64,
    interval: Duration,
    time: Duration,
}

/// What a way did in its time.
struct Ran {
    events_per_second: f64,
    written_per_second: f64,
    pauses: Histogram,
}

/// Calls `some` for 1,000 events again and again, with the first of the keys that are touched and
/// their number. Each event's time is the time between two looks at the clock.
fn run_for(how: Use, mut some: impl FnMut(&mut Numbers, (u64, u64), &mut dyn FnMut())) -> Ran {
    let mut numbers = Numbers(1);
    let mut pauses = Histogram::new();
    let touched = how.keys / how.one_in;
    let usage = Usage::now();
    let begun = Instant::now();
    let mut events = 0_u64;
    let mut last = begun;
    while begun.elapsed() < how.time {
        // Others in each interval.
        let interval = begun.elapsed().as_micros() / how.interval.as_micros().max(1);
        let first = u64::try_from(interval).unwrap() * touched % how.keys;
        some(&mut numbers, (first, touched), &mut || {
            let now = Instant::now();
            pauses.add(now - last);
            last = now;
            events += 1;
        });
    }
    let seconds = begun.elapsed().as_secs_f64();
    let used = Usage::now() - usage;
    Ran {
        events_per_second: events as f64 / seconds,
        written_per_second: used.written_bytes as f64 / seconds,
        pauses,
    }
}

fn run_dumped(dumped: &mut Dumped, how: Use) -> Ran {
    run_for(how, |numbers, (first, touched), done| {
        for _ in 0..1000 {
            let x = numbers.next();
            dumped.map.get_mut(&(first + x % touched)).unwrap().event(x);
            done();
        }
        dumped.dump_if_due();
    })
}

fn run_changed(changed: &mut Changed, how: Use) -> Ran {
    run_for(how, |numbers, (first, touched), done| {
        for _ in 0..1000 {
            let x = numbers.next();
            changed.event(first + x % touched, x);
            done();
        }
        changed.store_if_due();
    })
}

fn run_process(ours: &Ours, how: Use) -> Ran {
    run_for(how, |numbers, (first, touched), done| {
        for _ in 0..1000 {
            let x = numbers.next();
            ours.states.process(first + x % touched, |pe| pe.event(x)).unwrap();
            done();
        }
    })
}

fn run_session(ours: &Ours, how: Use) -> Ran {
    let mut session = ours.states.session();
    run_for(how, |numbers, (first, touched), done| {
        let run = (0..1000).map(|_| {
            let x = numbers.next();
            (first + x % touched, x)
        });
        session
            .run(run, |pe, x| {
                pe.event(x);
                done();
            })
            .unwrap();
    })
}

fn print(progress: &Progress, name: &str, ran: &Ran, off: Option<&Ran>) {
    let ratio = off.map_or(1.0, |off| ran.events_per_second / off.events_per_second);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    progress.print(format!(
        "{name:36} {:8.2} {ratio:>8.2} {:8.2} {:8.2} {:8.1} {:10.1} {:8.1}",
        ran.events_per_second / 1e6,
        micros(ran.pauses.quantile(0.5)),
        micros(ran.pauses.quantile(0.99)),
        micros(ran.pauses.quantile(0.999)),
        micros(ran.pauses.max()),
        ran.written_per_second / 1e6,
    ));
    progress.done();
}

/// All ways at one interval.
fn compare(how: Use, progress: &Progress) {
    let Use { keys, interval, .. } = how;
    let never = Duration::from_secs(1_000_000);
    let mut dumped = Dumped::new(plain(keys), Dumping::StopTheWorld, directory(), never);
    let off = run_dumped(&mut dumped, how);
    print(progress, "plain map", &off, None);
    drop(dumped);
    for (name, dumping) in [
        ("map, dumped, stop-the-world", Dumping::StopTheWorld),
        ("map, dumped from a clone", Dumping::Background),
    ] {
        let mut dumped = Dumped::new(plain(keys), dumping, directory(), interval);
        print(progress, name, &run_dumped(&mut dumped, how), Some(&off));
    }
    for (name, open) in STORES {
        let directory = directory();
        let mut changed = Changed::new(plain(keys), open(directory.path()), interval);
        let name = format!("map, changed keys to {name}");
        print(progress, &name, &run_changed(&mut changed, how), Some(&off));
    }
    type Run = fn(&Ours, Use) -> Ran;
    for (name, run) in [("session", run_session as Run), ("process", run_process as Run)] {
        let ours = Ours::new(InMemoryStorage::new(), CheckpointingMode::None, keys);
        let off = run(&ours, how);
        print(progress, &format!("{name}, off"), &off, None);
        drop(ours);
        let mode = CheckpointingMode::Time(interval);
        let directory = directory();
        let run_over = |storage: Box<dyn StateStorage>, of: &str| {
            let ours = Ours::over(storage.into(), mode, keys);
            let ran = run(&ours, how);
            print(progress, &format!("{name}, {of}"), &ran, Some(&off));
            let stats = ours.keeper.stats();
            progress
                .print(format!("    stored {}, oldest {:?}", stats.stored, stats.oldest_change));
        };
        run_over(Box::new(InMemoryStorage::new()), "into memory");
        let sink = AppendSink::create(&directory.path().join("sink")).unwrap();
        run_over(Box::new(sink), "appended and synced");
        run_over(Box::new(LogStorage::open(directory.path().join("log")).unwrap()), "LogStorage");
    }
}

type Open = fn(&Path) -> Box<dyn Rival>;
const STORES: [(&str, Open); 2] =
    [("fjall", |path| Box::new(Fjall::open(path))), ("redb", |path| Box::new(Redb::open(path)))];
const RECOVERIES: [&str; 4] = ["LogStorage", "dump", "fjall", "redb"];

fn ours_in(directory: &Path, keys: u64) -> Ours {
    let log = LogStorage::open(directory.join("log")).unwrap();
    Ours::new(log, CheckpointingMode::Time(Duration::from_secs(1)), keys)
}

/// Stores everything, and waits to be killed.
fn fill(way: &str, directory: &Path, keys: u64) {
    let _ours;
    let _changed;
    if way == "LogStorage" {
        let ours = ours_in(directory, keys);
        for key in 0..keys {
            ours.states.process(key, |pe| pe.event(key)).unwrap();
        }
        ours.keeper.flush(Duration::from_secs(600)).unwrap();
        _ours = ours;
    } else if way == "dump" {
        dump(&plain(keys), directory);
    } else {
        let (_, open) = STORES.into_iter().find(|(name, _)| *name == way).unwrap();
        _changed = Changed::new(plain(keys), open(directory), Duration::from_secs(1));
    }
    println!("done");
    std::thread::park();
}

/// Begins as after a restart, handles one event, and waits to be killed.
fn first(way: &str, directory: &Path, keys: u64) {
    let key = 17 % keys;
    let (_ours, _kept);
    if way == "LogStorage" {
        let ours = ours_in(directory, 0);
        ours.states.process(key, |pe| pe.event(key)).unwrap();
        _ours = ours;
    } else {
        let mut map = if way == "dump" {
            load(directory)
        } else {
            let (_, open) = STORES.into_iter().find(|(name, _)| *name == way).unwrap();
            let rival = open(directory);
            let map = Changed::load(&*rival);
            _kept = rival;
            map
        };
        map.get_mut(&key).unwrap().event(key);
    }
    println!("done");
    std::thread::park();
}

/// Has a process do something, kills it once it has, and returns how long that took, in ms.
fn killed_after(what: &str, way: &str, directory: &Path, keys: u64) -> f64 {
    let begun = Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([what, way])
        .arg(directory)
        .arg(keys.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "done\n");
    let took = begun.elapsed().as_secs_f64() * 1e3;
    child.kill().unwrap();
    child.wait().unwrap();
    took
}

fn recoveries(keys: u64, progress: &Progress) {
    progress.print(format!("\n{keys} keys: ms from a restart after a kill to the first event"));
    for way in RECOVERIES {
        let directory = directory();
        killed_after("fill", way, directory.path(), keys);
        let times: Vec<_> =
            (0..5).map(|_| killed_after("first", way, directory.path(), keys)).collect();
        let slowest = times.iter().copied().fold(0.0, f64::max);
        progress.print(format!("{way:36} {:8.1} (longest {slowest:.1})", median(times)));
        progress.done();
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [what, way, directory, keys] = &*arguments {
        let does = if what == "fill" { fill } else { first };
        return does(way, Path::new(directory), keys.parse().unwrap());
    }
    let keys = setting("CHECKPOINT_BENCH_KEYS", if is_quick() { 10_000 } else { 100_000 });
    let seconds = setting("CHECKPOINT_BENCH_SECONDS", if is_quick() { 1 } else { 5 });
    let intervals: &[u64] = if is_quick() { &[200] } else { &[1000, 200] };
    println!("{}\n{keys} keys, {seconds} s each; the clock is read at every event", machine());
    let progress = Progress::new(intervals.len() as u64 * 2 * 13 + RECOVERIES.len() as u64);
    for millis in intervals {
        for one_in in [1, 100] {
            progress.print(format!(
                "\neach {millis} ms, 1 of {one_in} keys touched in each\n{:36} {:>8} {:>8} {:>8} \
                 {:>8} {:>8} {:>10} {:>8}",
                "way", "M/s", "x of off", "p50 us", "p99 us", "p99.9 us", "longest us", "MB/s out"
            ));
            let interval = Duration::from_millis(*millis);
            let time = Duration::from_secs(seconds);
            compare(Use { keys, one_in, interval, time }, &progress);
        }
    }
    recoveries(keys, &progress);
}
