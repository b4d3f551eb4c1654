//! Whether the cost of an event, of a save and of a PE's memory stays the same however many keys
//! there are.
//!
//! Prints a table, and draws it into `checkpoint/docs/growth.svg`. `CHECKPOINT_BENCH_KEYS_MAX` is
//! the largest number of keys (10,000,000, which takes 9 GB), `CHECKPOINT_BENCH_EVENTS` the events
//! of a round (1,000,000; with more, a round has its share of what is stored each second, and the
//! disk has to take all that), and `CHECKPOINT_BENCH_ROUNDS` the rounds (3).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that fails may panic")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod workload;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, InMemoryStorage, Pool, SafeKeeper, TestClock,
};
use checkpoint_tests::AppendSink;
use plotters::prelude::*;

use workload::captor::{Captured, captured};
use workload::measure::{Way, compare, median, on_two_threads, setting};
use workload::usage::directory;
use workload::{Numbers, Ours, Plain, State, plain, run_plain};

/// Events, beside a plain map of the same size.
struct Events {
    plain_ns: f64,
    /// The speed of each of `WAYS`.
    speeds: Vec<f64>,
}

/// Without checkpoints, and with checkpoints each second, appended to a file and synced; by one and
/// by two threads.
const WAYS: [&str; 8] =
    ["session", "process", "s stored", "p stored", "2 s", "2 p", "2 s stored", "2 p stored"];

/// What was measured at one number of keys.
struct Row {
    keys: u64,
    /// All keys get events.
    all: Events,
    /// One key in a hundred does.
    one_percent: Events,
    /// The keeper's work for each PE that had changed, in ns.
    save_of_all: f64,
    save_of_one_percent: f64,
    captured_all: Captured,
    captured_one_percent: Captured,
    /// Memory for each PE, in bytes, beside that of its state on the heap.
    plain_bytes: f64,
    ours_bytes: f64,
}

fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0
}

/// Returns what was made, and the bytes for each key that its making took, beside those that the
/// states have on the heap.
fn weigh<T>(keys: u64, make: impl FnOnce() -> T) -> (T, f64) {
    let before = resident_bytes();
    let made = make();
    // An allocation of 64 bytes takes 80 with glibc's allocator.
    (made, (resident_bytes() - before) / keys as f64 - 80.0)
}

/// Has `touched` of the PEs changed, again and again, and measures what the keeper has to do.
fn save_ns(keys: u64, touched: u64, rounds: u64) -> f64 {
    let directory = directory();
    let sink = AppendSink::create(&directory.path().join("sink")).unwrap();
    let clock = Arc::new(TestClock::new());
    let builder = SafeKeeper::builder(sink).clock(clock.clone()).stepped();
    let keeper = builder.build().unwrap();
    let interval = Duration::from_secs(1);
    let config = CheckpointingConfig::builder(CheckpointingMode::Time(interval)).build().unwrap();
    let states = keeper.prototype::<u64, State>("states").config(config);
    let states = states.create(|_| State::new()).build().unwrap();
    for key in 0..keys {
        states.read(key, |_| ()).unwrap();
    }
    let mut numbers = Numbers(1);
    let mut times = Vec::new();
    for _ in 0..rounds {
        for _ in 0..touched {
            let x = numbers.next();
            states.process(x % keys, |pe| pe.event(x)).unwrap();
        }
        let stored = keeper.stats().stored;
        clock.advance(interval);
        let begun = Instant::now();
        let pools = [Pool::Timing, Pool::Serialization, Pool::Storage];
        while pools.iter().any(|pool| keeper.step(*pool)) {}
        let took = begun.elapsed().as_nanos() as f64;
        times.push(took / (keeper.stats().stored - stored) as f64);
    }
    median(times)
}

fn compare_events(
    (map, off, stored): (&Mutex<Plain>, &Ours, &Ours),
    keys: u64,
    events: u64,
    rounds: u64,
) -> Events {
    let two = |n, run: &(dyn Fn(u64, u64) + Sync)| on_two_threads(n, run);
    let ways: Vec<Way<'_>> = vec![
        ("plain map", Box::new(|n| run_plain(&mut map.lock().unwrap(), keys, n, 1))),
        (WAYS[0], Box::new(|n| off.session_of(keys, n, 1))),
        (WAYS[1], Box::new(|n| off.process_of(keys, n, 1))),
        (WAYS[2], Box::new(|n| stored.session_of(keys, n, 1))),
        (WAYS[3], Box::new(|n| stored.process_of(keys, n, 1))),
        (WAYS[4], Box::new(|n| two(n, &|n, seed| off.session_of(keys, n, seed)))),
        (WAYS[5], Box::new(|n| two(n, &|n, seed| off.process_of(keys, n, seed)))),
        (WAYS[6], Box::new(|n| two(n, &|n, seed| stored.session_of(keys, n, seed)))),
        (WAYS[7], Box::new(|n| two(n, &|n, seed| stored.process_of(keys, n, seed)))),
    ];
    let compared = compare(&ways, events, rounds);
    let speeds = compared[1..].iter().map(|compared| compared.speed).collect();
    Events { plain_ns: compared[0].ns, speeds }
}

fn measure(keys: u64, events: u64, rounds: u64) -> Row {
    let (map, plain_bytes) = weigh(keys, || plain(keys));
    let map = Mutex::new(map);
    let (off, ours_bytes) =
        weigh(keys, || Ours::new(InMemoryStorage::new(), CheckpointingMode::None, keys));
    let directory = directory();
    let sink = AppendSink::create(&directory.path().join("sink")).unwrap();
    let stored = Ours::new(sink, CheckpointingMode::Time(Duration::from_secs(1)), keys);
    let all = compare_events((&map, &off, &stored), keys, events, rounds);
    let one_percent = compare_events((&map, &off, &stored), keys / 100, events, rounds);
    drop((map, off, stored));
    Row {
        keys,
        all,
        one_percent,
        save_of_all: save_ns(keys, keys, rounds.min(3)),
        save_of_one_percent: save_ns(keys, keys / 100, rounds),
        captured_all: captured(keys, keys, rounds.min(3)),
        captured_one_percent: captured(keys, keys / 100, rounds),
        plain_bytes,
        ours_bytes,
    }
}

fn print(rows: &[Row]) {
    for (which, events) in [
        ("all keys", (|row| &row.all) as fn(&Row) -> &Events),
        ("1 % of the keys", |row| &row.one_percent),
    ] {
        println!(
            "\nevents to {which}: ns of a plain map, and speed beside it; stored: each second\n"
        );
        print!("{:>10} {:>8}", "keys", "plain ns");
        WAYS.iter().for_each(|way| print!(" {way:>10}"));
        println!();
        for row in rows {
            let Events { plain_ns, speeds } = events(row);
            print!("{:>10} {plain_ns:>8.1}", row.keys);
            speeds.iter().for_each(|speed| print!(" {speed:>9.2}x"));
            println!();
        }
    }
    println!("\nsaves, ns each, and memory: all keys changed, 1 % changed\n");
    println!(
        "{:>10} {:>13} {:>13} {:>15} {:>13} {:>13} {:>11} {:>10}",
        "keys", "whole", "locked", "longest us", "checksums", "settling", "plain B/PE", "ours B/PE"
    );
    for row in rows {
        let of = |some: fn(&Captured) -> f64| {
            let (all, some_of) = (some(&row.captured_all), some(&row.captured_one_percent));
            format!("{all:.0}, {some_of:.0}")
        };
        println!(
            "{:>10} {:>13} {:>13} {:>15} {:>13} {:>13} {:>11.0} {:>10.0}",
            row.keys,
            format!("{:.0}, {:.0}", row.save_of_all, row.save_of_one_percent),
            of(|captured| captured.each(captured.locked)),
            of(|captured| captured.longest.as_secs_f64() * 1e6),
            of(|captured| captured.each(captured.sealing)),
            of(|captured| captured.each(captured.settling)),
            row.plain_bytes,
            row.ours_bytes
        );
    }
}

/// A name, and what is drawn of each row.
type Curve = (&'static str, fn(&Row) -> f64);

fn draw(rows: &[Row], path: &Path) {
    let picture = SVGBackend::new(path, (900, 360)).into_drawing_area();
    picture.fill(&WHITE).unwrap();
    let halves = picture.split_evenly((1, 2));
    let keys = |row: &Row| row.keys as f64;
    let range = (rows[0].keys as f64)..(rows[rows.len() - 1].keys as f64 * 1.01);
    let curves = |half: usize, title: &str, max: f64, curves: &[Curve]| {
        let mut chart = ChartBuilder::on(&halves[half])
            .caption(title, ("sans-serif", 15))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(44)
            .build_cartesian_2d(range.clone().log_scale(), 0.0..max)
            .unwrap();
        chart.configure_mesh().x_desc("keys").max_light_lines(0).draw().unwrap();
        for (i, (name, value)) in curves.iter().enumerate() {
            let colour = Palette99::pick(i).to_rgba();
            let points: Vec<_> = rows.iter().map(|row| (keys(row), value(row))).collect();
            let line = LineSeries::new(points.clone(), colour.stroke_width(2));
            chart
                .draw_series(line)
                .unwrap()
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
            chart
                .draw_series(points.into_iter().map(|at| Circle::new(at, 3, colour.filled())))
                .unwrap();
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
            .unwrap();
    };
    curves(
        0,
        "events: speed beside a plain map of the same size",
        1.2,
        &[("session", |row| row.all.speeds[0]), ("process", |row| row.all.speeds[1])],
    );
    let highest = rows.iter().map(|row| row.save_of_all.max(row.save_of_one_percent));
    let highest = highest.fold(0.0, f64::max) * 1.3;
    curves(
        1,
        "work of the keeper for each PE that had changed, ns",
        highest,
        &[
            ("all keys changed", |row| row.save_of_all),
            ("1 % of the keys changed", |row| row.save_of_one_percent),
        ],
    );
    picture.present().unwrap();
}

fn main() {
    let keys_max = setting("CHECKPOINT_BENCH_KEYS_MAX", 10_000_000);
    let events = setting("CHECKPOINT_BENCH_EVENTS", 1_000_000);
    let rounds = setting("CHECKPOINT_BENCH_ROUNDS", 3);
    let mut rows = Vec::new();
    for keys in [10_000, 100_000, 1_000_000, 10_000_000] {
        if keys > keys_max {
            break;
        }
        println!("measuring {keys} keys");
        rows.push(measure(keys, events, rounds));
    }
    print(&rows);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checkpoint/docs/growth.svg");
    draw(&rows, &path);
    println!("\ndrawn into {}", path.display());
}
