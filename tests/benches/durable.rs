//! What durable checkpoints cost the events: throughput, and how long single events are held up.
//!
//! Each way runs with checkpoints each second beside itself without. Everything durable goes into
//! files in `CHECKPOINT_BENCH_DIR` (default: the system's temporary directory; it should be on a
//! disk). `CHECKPOINT_BENCH_SECONDS` sets how long each way runs (5), `CHECKPOINT_BENCH_KEYS` the
//! number of keys (100,000).

#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod workload;

use std::time::{Duration, Instant};

use checkpoint::{CheckpointingMode, InMemoryStorage};
use checkpoint_tests::AppendSink;

use workload::dumps::{Dumped, Dumping};
use workload::measure::{Histogram, setting};
use workload::{Numbers, Ours, Plain, plain};

/// What a way did in its time.
struct Ran {
    events_per_second: f64,
    pauses: Histogram,
}

/// Calls `some` for 1,000 events again and again; each event's time is the time between two looks
/// at the clock.
fn run_for(time: Duration, mut some: impl FnMut(&mut Numbers, &mut dyn FnMut())) -> Ran {
    let mut numbers = Numbers(1);
    let mut pauses = Histogram::new();
    let begun = Instant::now();
    let mut events = 0_u64;
    let mut last = begun;
    while begun.elapsed() < time {
        some(&mut numbers, &mut || {
            let now = Instant::now();
            pauses.add(now - last);
            last = now;
            events += 1;
        });
    }
    Ran { events_per_second: events as f64 / begun.elapsed().as_secs_f64(), pauses }
}

fn run_plain(map: &mut Plain, keys: u64, time: Duration) -> Ran {
    run_for(time, |numbers, done| {
        for _ in 0..1000 {
            let x = numbers.next();
            map.get_mut(&(x % keys)).unwrap().event(x);
            done();
        }
    })
}

fn run_dumped(dumped: &mut Dumped, keys: u64, time: Duration) -> Ran {
    run_for(time, |numbers, done| {
        for _ in 0..1000 {
            let x = numbers.next();
            dumped.map.get_mut(&(x % keys)).unwrap().event(x);
            done();
        }
        dumped.dump_if_due();
    })
}

fn run_process(ours: &Ours, time: Duration) -> Ran {
    run_for(time, |numbers, done| {
        for _ in 0..1000 {
            let x = numbers.next();
            ours.states.process(x % ours.keys, |pe| pe.event(x)).unwrap();
            done();
        }
    })
}

fn run_session(ours: &Ours, time: Duration) -> Ran {
    let mut session = ours.states.session();
    run_for(time, |numbers, done| {
        let run = (0..1000).map(|_| {
            let x = numbers.next();
            (x % ours.keys, x)
        });
        session
            .run(run, |pe, x| {
                pe.event(x);
                done();
            })
            .unwrap();
    })
}

fn print(name: &str, ran: &Ran, off: Option<&Ran>) {
    let ratio = off.map_or(String::from("1"), |off| {
        format!("{:.2}", ran.events_per_second / off.events_per_second)
    });
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{name:44} {:8.2} {ratio:>8} {:8.2} {:8.2} {:8.1} {:10.1}",
        ran.events_per_second / 1e6,
        micros(ran.pauses.quantile(0.5)),
        micros(ran.pauses.quantile(0.99)),
        micros(ran.pauses.quantile(0.999)),
        micros(ran.pauses.max()),
    );
}

fn main() {
    let keys = setting("CHECKPOINT_BENCH_KEYS", 100_000);
    let time = Duration::from_secs(setting("CHECKPOINT_BENCH_SECONDS", 5));
    let directory = || match std::env::var_os("CHECKPOINT_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let each_second = CheckpointingMode::Time(Duration::from_secs(1));
    println!("{keys} keys, {time:?} each; the clock is read at every event\n");
    println!(
        "{:44} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "way", "M/s", "x of off", "p50 us", "p99 us", "p99.9 us", "longest us"
    );
    let off = run_plain(&mut plain(keys), keys, time);
    print("plain map", &off, None);
    for (name, how) in [
        ("map, dumped each second, stop-the-world", Dumping::StopTheWorld),
        ("map, dumped each second from a clone", Dumping::Background),
    ] {
        let mut dumped = Dumped::new(plain(keys), how, directory());
        print(name, &run_dumped(&mut dumped, keys, time), Some(&off));
    }
    type Run = fn(&Ours, Duration) -> Ran;
    for (name, run) in [("session", run_session as Run), ("process", run_process as Run)] {
        let ours = Ours::new(InMemoryStorage::new(), CheckpointingMode::None, keys);
        let off = run(&ours, time);
        print(&format!("{name}, off"), &off, None);
        drop(ours);
        let memory = Ours::new(InMemoryStorage::new(), each_second, keys);
        print(&format!("{name}, each second, into memory"), &run(&memory, time), Some(&off));
        let stats = memory.keeper.stats();
        println!("    stored {}, oldest change {:?}", stats.stored, stats.oldest_change);
        drop(memory);
        let dir = directory();
        let sink = AppendSink::create(&dir.path().join("sink")).unwrap();
        let sink = Ours::new(sink, each_second, keys);
        let ran = run(&sink, time);
        print(&format!("{name}, each second, appended and synced"), &ran, Some(&off));
        let stats = sink.keeper.stats();
        println!("    stored {}, oldest change {:?}", stats.stored, stats.oldest_change);
    }
}
