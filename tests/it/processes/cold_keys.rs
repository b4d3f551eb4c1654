//! All keys get their first event at once, and their states are in a store that is slow: H3.

use std::thread;

use checkpoint_tests::Quota;

use crate::processes::measured::{measured, numbers};
use crate::processes::show;

/// What an event may cost while it waits for its state: its future, who is to be woken, and the
/// fetch in its three lists. It is the application that decides how many wait.
const BYTES_PER_WAITING_EVENT: u64 = 1024;
/// As the program sets them: threads that fetch, and one in place of one that hangs.
const CALLS_MAX: u64 = 3;
/// Fetches that have room in the queue.
const QUEUE_SIZE: u64 = 100;
/// How many records a thread asks for at once.
const RECORDS_MAX: u64 = 16;

/// What the program prints, by its names.
struct Seen {
    peak_kib: u64,
    waiting: u64,
    /// Of the first events: done, timed out, refused, and those that came while fetching was off.
    first: [u64; 4],
    text: String,
}

/// Checks what holds however the storage answers.
fn seen(keys: u64, what: &str) -> Seen {
    let lines = measured(env!("CARGO_BIN_EXE_cold_keys"), keys, what);
    let text = format!("{keys} cold keys, {what}: {lines:?}");
    show(&text);
    let lines: Vec<_> = lines.iter().map(|line| numbers(line)).collect();
    let [[peak_kib], [waiting, first @ ..], [calls, records, hanging], [events, wrong]] =
        [&*lines[0], &*lines[1], &*lines[2], &*lines[3]]
    else {
        panic!("{text}")
    };
    // An event that got an error has not run; sent once more, it has. None has run twice.
    assert_eq!((*events, *wrong), (keys, 0), "{text}");
    assert_eq!(first.iter().sum::<u64>(), keys, "{text}");
    if what == "at_once" {
        assert_eq!((*calls, *waiting), (0, 0), "{text}");
    } else {
        assert_eq!((*calls, *hanging), (CALLS_MAX, 1), "{text}");
    }
    assert!(*records <= CALLS_MAX * RECORDS_MAX, "{text}");
    Seen { peak_kib: *peak_kib, waiting: *waiting, first: first.try_into().unwrap(), text }
}

#[test]
fn all_keys_cold_at_once_are_restored_a_few_at_a_time_in_bounded_memory_each_event_once() {
    let keys = Quota::DIRTY_KEYS.get();
    // Those that get errors are the same for each key.
    let fewer = keys.min(100_000);
    let [at_once, few_at_once, waiting, late, refused] = thread::scope(|scope| {
        [
            (keys, "at_once"),
            (fewer, "at_once"),
            (keys, "waiting"),
            (fewer, "late"),
            (fewer, "refused"),
        ]
        .map(|(keys, what)| scope.spawn(move || seen(keys, what)))
        .map(|run| run.join().unwrap())
    });
    assert_eq!((waiting.waiting, waiting.first), (keys, [keys, 0, 0, 0]), "{}", waiting.text);
    assert_eq!((late.waiting, late.first), (fewer, [0, fewer, 0, 0]), "{}", late.text);
    // What finds no room ends at once, and is no reason to switch fetching off.
    let [done, timed_out, full, off] = refused.first;
    assert_eq!((refused.waiting, timed_out, off), (done, 0, 0), "{}", refused.text);
    assert!((QUEUE_SIZE..=QUEUE_SIZE + 2 * RECORDS_MAX).contains(&done), "{}", refused.text);
    assert_eq!(full, fewer - done, "{}", refused.text);
    for (herd, alone, kib_max) in [
        (&waiting, &at_once, keys * BYTES_PER_WAITING_EVENT / 1024),
        (&late, &few_at_once, fewer * BYTES_PER_WAITING_EVENT / 1024),
        (&refused, &few_at_once, 1024),
    ] {
        let more = herd.peak_kib.saturating_sub(alone.peak_kib);
        assert!(more <= kib_max, "{}; more than {} and {kib_max} KiB", herd.text, alone.text);
    }
}
