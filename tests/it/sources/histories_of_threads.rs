//! Histories with threads: each source has one of its own that feeds it, all feed the same PEs, and
//! the process ends at any moment without a word. Each event is in its PE exactly once, or has a
//! name (T21).
//!
//! A seed says what is fed and what fails. In which order the threads do it is a matter of luck.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, ProcessError, RandomSource, SeededRandom,
    StorageErrorKind,
};
use checkpoint_tests::{Quota, first_seed};

use super::histories::Seen;
use super::*;
use crate::support::{FetchFault, SaveFault};

const KEYS: u64 = 6;
const EVENTS_MAX: u64 = 120;
/// One history with threads takes as long as so many without.
const WITHOUT_THREADS: usize = 25;

/// Position and key of each event of a source.
type Input = Vec<(u64, String)>;

/// What has happened in all histories: without it they show nothing.
#[derive(Default)]
struct Met {
    crashes: AtomicU64,
    contained: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
}

/// A process that feeds all sources, and ends.
struct Process<'a> {
    storage: &'a FaultyStorage,
    prototype: PePrototype<String, Seen>,
    /// After so many events it is killed.
    events_left: AtomicU64,
    is_over: AtomicBool,
    /// Whether anything goes wrong.
    is_faulty: bool,
    met: &'a Met,
}

impl Process<'_> {
    /// Feeds what follows of an input, until it is at its end or the process is.
    fn feed(&self, source: &mut Source, (number, input): (u8, &Input), random: &SeededRandom) {
        let below = |n: u64| random.next_u64() % n;
        let safe = source.resume_from();
        let mut next =
            input.iter().filter(|(position, _)| safe.is_none_or(|safe| *position > safe));
        let mut failed = BTreeMap::new();
        while !self.is_over.load(Ordering::Relaxed) {
            let again = if below(3) == 0 { failed.pop_first() } else { None };
            let event = again.or_else(|| next.next().map(|(position, key)| (*position, key)));
            let Some((position, key)) = event.or_else(|| failed.pop_first()) else { return };
            if self.is_faulty {
                self.go_wrong(&below);
            }
            let see = move |pe: &mut Seen| pe.events.push((number, position, 0));
            let applied = match below(8) {
                0 if self.is_faulty => {
                    let mut event = pin!(source.process_async(&self.prototype, key, position, see));
                    match event.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(applied) => applied,
                        Poll::Pending => {
                            self.met.cancelled.fetch_add(1, Ordering::Relaxed);
                            failed.insert(position, key);
                            continue;
                        }
                    }
                }
                0..3 => {
                    pollster::block_on(source.process_async(&self.prototype, key, position, see))
                }
                _ => source.process(&self.prototype, key, position, see),
            };
            match applied {
                Ok(Applied::Now(())) => {}
                Ok(Applied::Before) => {
                    self.met.contained.fetch_add(1, Ordering::Relaxed);
                }
                Err(SourceError::Process { error: ProcessError::Restore(_), .. })
                | Err(SourceError::Behind { .. }) => {
                    self.met.failed.fetch_add(1, Ordering::Relaxed);
                    failed.insert(position, key);
                    // Fetching may be switched off for a moment.
                    thread::park_timeout(Duration::from_micros(100));
                }
                Err(error) => panic!("{position} of {number}: {error}"),
            }
            if self.events_left.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.storage.kill();
                self.is_over.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Has something go wrong now and then, soon.
    fn go_wrong(&self, below: &impl Fn(u64) -> u64) {
        let kind = StorageErrorKind::Unavailable;
        let times = usize::from(below(3) == 0) + 1;
        match below(60) {
            0 => self.storage.on_save(times, SaveFault::NotStored(kind)),
            1 => self.storage.on_save(times, SaveFault::UnknownLanded),
            2 => self.storage.on_save(times, SaveFault::UnknownLost),
            3 => self.storage.on_save(times, SaveFault::Late),
            4 => self.storage.on_save(times, SaveFault::Dropped),
            5 => self.storage.on_fetch(times, FetchFault::Failed(kind)),
            6..8 => self.storage.complete_late(),
            8..16 => {
                // Whatever comes of it.
                let _evicted = self.prototype.evict(&below(KEYS).to_string());
            }
            16 => self.storage.fail_metadata(true),
            17..20 => self.storage.fail_metadata(false),
            _ => {}
        }
    }
}

struct History {
    seed: u64,
    random: SeededRandom,
    inputs: Vec<Input>,
    /// What was known to be safe before the last crash.
    safe: Vec<Option<u64>>,
    mode: CheckpointingMode,
}

impl History {
    fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let below = |n: u64| random.next_u64() % n;
        let inputs: Vec<Input> = (0..2 + below(3))
            .map(|_| {
                let mut position = 0;
                let events = (0..1 + below(EVENTS_MAX)).map(|_| {
                    position += 1 + below(3);
                    (position - 1, below(1 + below(KEYS)).to_string())
                });
                events.collect()
            })
            .collect();
        let mode = match below(4) {
            0 => CheckpointingMode::None,
            1 => CheckpointingMode::Time(Duration::from_millis(2)),
            n => CheckpointingMode::EventCount((3 * n - 5).try_into().unwrap()),
        };
        Self { seed, safe: vec![None; inputs.len()], inputs, mode, random }
    }

    fn keeper(&self, storage: &FaultyStorage) -> (SafeKeeper, PePrototype<String, Seen>) {
        let millisecond = Duration::from_millis(1);
        let keeper = settings(storage)
            .safe_position_interval(millisecond)
            .fetching_disabled_duration(millisecond)
            .close_on_drop(Duration::ZERO)
            .build()
            .unwrap();
        let prototype = keeper
            .prototype("seen")
            .config(CheckpointingConfig::builder(self.mode).build().unwrap())
            .create(|_| Seen::default())
            .build()
            .unwrap();
        (keeper, prototype)
    }

    /// Runs a process over what the storage has, until it has fed so many events or all.
    fn run(&mut self, storage: &FaultyStorage, events_max: Option<u64>, met: &Met) {
        let (keeper, prototype) = self.keeper(storage);
        let process = Process {
            storage,
            prototype,
            events_left: AtomicU64::new(events_max.unwrap_or(u64::MAX)),
            is_over: AtomicBool::new(false),
            is_faulty: events_max.is_some(),
            met,
        };
        let context = format!("CHECKPOINT_SEED={}", self.seed);
        let seeds: Vec<_> = self.inputs.iter().map(|_| self.random.next_u64()).collect();
        let mut sources: Vec<_> = (0..self.inputs.len())
            .map(|number| keeper.source(&format!("input {number}")).unwrap())
            .collect();
        for (source, safe) in sources.iter().zip(&self.safe) {
            assert!(source.resume_from() >= *safe, "{context}: {source:?} was at {safe:?}");
        }
        thread::scope(|scope| {
            for ((number, source), seed) in (0..).zip(&mut sources).zip(seeds) {
                let (process, input) = (&process, &self.inputs[usize::from(number)]);
                let feed = move || process.feed(source, (number, input), &SeededRandom::new(seed));
                thread::Builder::new().spawn_scoped(scope, feed).unwrap();
            }
        });
        if events_max.is_none() {
            keeper.close(FAIL_SAFE).unwrap_or_else(|error| panic!("{context}: {error}"));
        }
        // At the latest now.
        storage.kill();
        self.safe = sources.iter().map(Source::safe_position).collect();
        drop(keeper);
        // What it had left for later holds the storage.
        storage.complete_late();
    }

    /// Says of the first event that is not where it belongs what is wrong with it.
    fn wrong(&self, storage: &FaultyStorage) -> Option<String> {
        let (_keeper, prototype) = self.keeper(storage);
        (0..KEYS).map(|key| key.to_string()).find_map(|key| {
            let seen = |pe: &Seen| pe.events.iter().map(|(from, at, _)| (*from, *at)).collect();
            let seen: Vec<_> = prototype.read(&key, seen).unwrap();
            let expected = (0..).zip(&self.inputs).flat_map(|(number, input)| {
                let own = input.iter().filter(|(_, of)| *of == key);
                own.map(move |(position, _)| (number, *position))
            });
            wrong(&seen, &expected.collect()).map(|wrong| format!("PE {key}: {wrong}"))
        })
    }
}

/// Says which event is lost, doubled, of another PE, or in the wrong place; the first of them.
fn wrong(seen: &[(u8, u64)], expected: &BTreeSet<(u8, u64)>) -> Option<String> {
    let mut times = BTreeMap::new();
    for event in expected {
        times.insert(*event, 0);
    }
    let mut last: BTreeMap<u8, u64> = BTreeMap::new();
    let mut in_disorder = None;
    for event in seen {
        *times.entry(*event).or_insert(0) += 1;
        if let Some(before) = last.insert(event.0, event.1)
            && before > event.1
        {
            in_disorder = Some(format!("event {} of source {} after {before}", event.1, event.0));
        }
    }
    let miscounted = times.into_iter().find_map(|((source, position), times)| {
        let event = format!("event {position} of source {source}");
        match (expected.contains(&(source, position)), times) {
            (true, 1) => None,
            (true, 0) => Some(format!("{event} is lost")),
            (true, times) => Some(format!("{event} is in it {times} times")),
            (false, _) => Some(format!("{event} belongs to another PE")),
        }
    });
    miscounted.or(in_disorder)
}

#[test]
fn threads_lose_and_double_no_event_whenever_the_process_ends() {
    let met = Met::default();
    let seeds = first_seed()..first_seed() + Quota::SOURCE_HISTORIES.get();
    let enough = seeds.end - seeds.start >= 500;
    for seed in seeds.step_by(WITHOUT_THREADS) {
        let mut history = History::new(seed);
        let mut storage = FaultyStorage::new();
        let events: u64 = history.inputs.iter().map(|input| input.len() as u64).sum();
        for _ in 0..1 + history.random.next_u64() % 4 {
            // Not always before all is fed.
            let events_max = 1 + history.random.next_u64() % (events + events / 4);
            history.run(&storage, Some(events_max), &met);
            met.crashes.fetch_add(1, Ordering::Relaxed);
            storage = FaultyStorage::over(storage.content());
        }
        history.run(&storage, None, &met);
        storage = FaultyStorage::over(storage.content());
        let wrong = history.wrong(&storage);
        assert!(wrong.is_none(), "CHECKPOINT_SEED={seed}: {}", wrong.unwrap_or_default());
        for (safe, input) in history.safe.iter().zip(&history.inputs) {
            assert_eq!(*safe, input.last().map(|(at, _)| *at), "CHECKPOINT_SEED={seed}");
        }
    }
    let Met { crashes, contained, failed, cancelled } = met;
    let met = [crashes, contained, failed, cancelled].map(AtomicU64::into_inner);
    assert!(!enough || met.iter().all(|times| *times > 10), "it met too little: {met:?}");
}

#[test]
fn an_event_that_is_not_where_it_belongs_has_a_name() {
    let expected = BTreeSet::from([(0, 3), (0, 5), (1, 4)]);
    for (seen, said) in [
        (&[(0, 3), (1, 4), (0, 5)][..], None),
        (&[(0, 3), (0, 5)], Some("event 4 of source 1 is lost")),
        (&[(0, 3), (1, 4), (0, 5), (0, 3)], Some("event 3 of source 0 is in it 2 times")),
        (&[(0, 5), (1, 4), (0, 3)], Some("event 3 of source 0 after 5")),
        (&[(0, 3), (0, 5), (1, 4), (1, 9)], Some("event 9 of source 1 belongs to another PE")),
    ] {
        assert_eq!(wrong(seen, &expected).as_deref(), said);
    }
}
