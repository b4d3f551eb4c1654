//! A keeper at work for long: threads, descriptors and memory stay what they are: T15, P5.

use std::process::Command;

use checkpoint_tests::{Quota, first_seed};

use crate::processes::{places, show};

/// What memory may differ by, beside a twentieth: the allocator keeps what it was given back.
const RSS_KIB_SLACK: u64 = 4 << 10;

/// What the process had of the system at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    threads: u64,
    descriptors: u64,
    rss_kib: u64,
    events: u64,
}

fn parse(line: &str) -> Option<Sample> {
    let numbers: Vec<u64> =
        line.strip_prefix("sample ")?.split(' ').map(|word| word.parse().unwrap()).collect();
    let [threads, descriptors, rss_kib, events] = numbers[..] else { panic!("{line}") };
    Some(Sample { threads, descriptors, rss_kib, events })
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
        .arg(directory.path().join("state"))
        .args([seconds.to_string(), seed.to_string()])
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
    assert!(counts.len() == 4 && counts.iter().all(|count| *count > 0), "{last_line}");

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
