//! A keeper at work for long: threads, descriptors and memory stay what they are: T15, P5.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use checkpoint_tests::{Backend, Quota, first_seed};

use crate::processes::{places, show};

/// What memory may differ by, beside a twentieth: the allocator keeps what it was given back.
const RSS_KIB_SLACK: u64 = 4 << 10;
/// How many accounts the file storage keeps.
const ACCOUNTS: u64 = 10_000;

/// What the process had of the system at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    threads: u64,
    descriptors: u64,
    rss_kib: u64,
    events: u64,
    disk_kib: u64,
    /// What single events took since the sample before: half of them, and 99 of 100, at the most.
    p50_us: u64,
    p99_us: u64,
}

fn parse(line: &str) -> Option<Sample> {
    let numbers: Vec<u64> =
        line.strip_prefix("sample ")?.split(' ').map(|word| word.parse().unwrap()).collect();
    let [threads, descriptors, rss_kib, events, disk_kib, p50_us, p99_us, _] = numbers[..] else {
        panic!("{line}")
    };
    Some(Sample { threads, descriptors, rss_kib, events, disk_kib, p50_us, p99_us })
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn threads_descriptors_and_memory_stay_what_they_are() {
    let (seconds, seed) = (Quota::SOAK_SECONDS.get(), first_seed());
    let directory = places::in_memory();
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .arg("files")
        .arg(directory.path().join("state"))
        .args([seconds, seed, ACCOUNTS].map(|number| number.to_string()))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let printed = String::from_utf8(output.stdout).unwrap();
    let samples: Vec<_> = printed.lines().filter_map(parse).collect();
    let last_line = printed.lines().last().unwrap();
    assert!(last_line.starts_with("checked "), "{last_line}");
    assert!(samples.len() >= 8, "{printed}");
    // What was asked for has happened.
    let counts: Vec<u64> = last_line.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(counts.len() == 5 && counts.iter().all(|count| *count > 0), "{last_line}");

    // The first quarter is for getting warm.
    let (early, late) =
        samples[samples.len() / 4..].split_at(samples.len() / 2 - samples.len() / 4);
    let late = &late[late.len() / 2..];
    let (first, last) = (early[0], late[late.len() - 1]);
    let rss = [early, late].map(|samples| median(samples.iter().map(|sample| sample.rss_kib)));
    let descriptors =
        [early, late].map(|samples| samples.iter().map(|sample| sample.descriptors).min());
    let seen = format!(
        "{seconds} s, {} events, {last_line}; {} threads, descriptors {descriptors:?}, KiB {rss:?}",
        last.events, first.threads
    );
    show(&seen);
    assert!(last.events > first.events, "{seen}");
    assert!(samples.iter().all(|sample| sample.threads == first.threads), "{seen}: {samples:?}");
    assert_eq!(descriptors[0], descriptors[1], "{seen}");
    // In a short run everything is still getting warm.
    if seconds >= 30 {
        assert!(rss[1] <= rss[0] + rss[0] / 20 + RSS_KIB_SLACK, "{seen}");
    }
}

/// So many times a log's program is killed, and goes on.
const LIVES: u64 = 4;

/// Lets a program work on a log for so long, until it is killed or ends by itself.
fn live(root: &Path, seconds: u64, seed: u64, is_killed: bool) -> Vec<Sample> {
    let mut process = Command::new(env!("CARGO_BIN_EXE_soak"))
        .arg(Backend::Log.name())
        .arg(root)
        // One that is to be killed would go on.
        .args([(seconds * if is_killed { 100 } else { 1 }).to_string(), seed.to_string()])
        .arg(Quota::LOG_SOAK_ACCOUNTS.get().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (mut samples, mut last_line) = (Vec::new(), String::new());
    for line in lines {
        samples.extend(parse(&line));
        last_line = line;
        if is_killed && samples.len() as u64 >= 4 * seconds {
            process.kill().unwrap();
            break;
        }
    }
    let status = process.wait().unwrap();
    assert_eq!(status.success(), !is_killed, "{status}: {last_line}");
    assert!(is_killed || last_line.starts_with("checked "), "{last_line}");
    samples
}

#[test]
fn a_log_that_is_compacted_and_killed_stays_as_large_as_it_is() {
    let (seconds, seed) = (Quota::LOG_SOAK_SECONDS.get() / LIVES, first_seed());
    let directory = places::in_memory();
    let root = directory.path().join("state");
    let lives: Vec<_> = (1..=LIVES)
        .map(|number| live(&root, seconds.max(1), seed + number, number < LIVES))
        .collect();
    // The first life fills the log.
    let of_life = |samples: &[Sample]| {
        let late = &samples[samples.len() / 2..];
        let of = |value: fn(&Sample) -> u64| median(late.iter().map(value));
        let files = late.iter().map(|s| s.descriptors).min().unwrap();
        (of(|s| s.rss_kib), of(|s| s.disk_kib), files, of(|s| s.p50_us), of(|s| s.p99_us))
    };
    let all: Vec<_> = lives.iter().map(|samples| of_life(samples)).collect();
    let events: Vec<_> = lives.iter().map(|samples| samples[samples.len() - 1].events).collect();
    let seen = format!(
        "{seconds} s each, {events:?} events; KiB, KiB on disk, files, us p50, us p99: {all:?}"
    );
    show(&seen);
    assert!(events.iter().all(|events| *events > 0), "{seen}");
    let (rss, disk, files, p50, p99) = all[1];
    let (rss_last, disk_last, files_last, p50_last, p99_last) = all[all.len() - 1];
    // In a short run everything is still growing.
    if seconds >= 15 {
        assert!(rss_last <= rss + rss / 10 + RSS_KIB_SLACK, "{seen}");
        assert!(disk_last <= disk + disk / 4 + 2048, "{seen}");
        assert!(files_last <= files + files / 4 + 8, "{seen}");
        // A machine has other things to do, too.
        assert!(p50_last <= 2 * p50 + 20 && p99_last <= 4 * p99 + 1000, "{seen}");
    }
}
