//! Works on accounts for a long time, with evictions, restores and a storage that is away now and
//! then, and prints what the process has of the system meanwhile.
//!
//! Arguments: `files` or `log`, the directory, for how many seconds, a seed. Prints four times a
//! second `sample THREADS DESCRIPTORS RSS_KIB EVENTS DISK_KIB` (the last of a log only, else 0),
//! and at the end, when every account was checked, `checked ACCOUNTS restored N failed N away N`.
//! It can be killed and started again.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, Clock, PePrototype, ProcessError, RandomSource,
    SafeKeeper, SeededRandom, StateStorage, SystemClock,
};
use checkpoint_tests::{Account, Backend, Unsteady, Weather};

const DRIVERS: u64 = 2;
/// A log of all accounts has some dozen.
const SEGMENT_BYTES: u64 = 1 << 20;
const KEYS: u64 = 10_000;
/// A third: the others are on the disk.
const CAPACITY: usize = 3_000;
/// After so many events a driver rests for a millisecond.
const EVENTS_IN_A_ROW: u64 = 20;
const SAMPLE: Duration = Duration::from_millis(250);
/// The storage is away for one sample in so many.
const AWAY: u64 = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let usage = "usage: soak files|log DIRECTORY SECONDS SEED";
    let [backend, root, seconds, seed] = arguments.as_slice() else { return Err(usage.into()) };
    let backend = Backend::named(backend).ok_or(usage)?;
    let (time, seed) = (Duration::from_secs(seconds.parse()?), seed.parse::<u64>()?);
    let inner: Arc<dyn StateStorage> = match backend {
        Backend::Files => backend.open(root)?,
        Backend::Log => Arc::new(Backend::log(root).segment_bytes(SEGMENT_BYTES).open()?),
    };
    let storage = Unsteady::over(inner, Weather::Fair);
    let keeper = SafeKeeper::builder(storage.clone())
        // However busy the machine is.
        .fetching_max_wait(Duration::from_secs(60))
        .fetching_disabled_duration(Duration::from_millis(50))
        .save_backoff_max(Duration::from_millis(100))
        .build()?;
    let event_count = 20.try_into()?;
    let mode =
        CheckpointingMode::EventCountOrTime { event_count, interval: Duration::from_millis(100) };
    let capacity = NonZeroUsize::new(CAPACITY).ok_or("no capacity")?;
    let accounts = keeper
        .prototype::<u64, Account>("account")
        .config(CheckpointingConfig::builder(mode).capacity(capacity).build()?)
        .create(|key| Account::new(*key))
        .build()?;

    let (is_over, events) = (AtomicBool::new(false), AtomicU64::new(0));
    let (accounts, is_over, events) = (&accounts, &is_over, &events);
    let mut away = 0;
    let sent = thread::scope(|scope| -> Result<HashMap<u64, u64>, Box<dyn Error>> {
        let drivers: Vec<_> = (0..DRIVERS)
            .map(|driver| {
                let random = SeededRandom::new(seed.wrapping_add(driver));
                scope.spawn(move || drive(accounts, driver, &random, is_over, events))
            })
            .collect();
        let clock = SystemClock::new();
        for number in 0_u64.. {
            if clock.now().since_start() >= time
                || drivers.iter().any(thread::ScopedJoinHandle::is_finished)
            {
                break;
            }
            let is_away = number % AWAY == AWAY / 2;
            away += u64::from(is_away);
            storage.set(if is_away { Weather::Down } else { Weather::Fair });
            thread::park_timeout(SAMPLE);
            sample(events, root)?;
        }
        is_over.store(true, Ordering::Relaxed);
        storage.set(Weather::Fair);
        let mut sent = HashMap::new();
        for driver in drivers {
            sent.extend(driver.join().map_err(|_| "a driver panicked")??);
        }
        Ok(sent)
    })?;

    keeper.flush(Duration::from_secs(60))?;
    for (key, position) in &sent {
        let found = retry(is_over, || {
            accounts.read(*key, |account| (account.check(*key), account.position()))
        })?;
        if found != (Ok(()), *position) {
            return Err(format!("{key}: {found:?}, not {position}").into());
        }
    }
    let stats = keeper.stats();
    keeper.close(Duration::from_secs(60))?;
    let restored = stats.fetches - stats.fetches_known_absent - stats.fetches_failed;
    let (checked, failed) = (sent.len(), stats.failed + stats.retried);
    writeln!(io::stdout(), "checked {checked} restored {restored} failed {failed} away {away}")?;
    Ok(())
}

/// Sends events to the accounts of a driver; returns how many each got.
fn drive(
    accounts: &PePrototype<u64, Account>,
    driver: u64,
    random: &SeededRandom,
    is_over: &AtomicBool,
    events: &AtomicU64,
) -> Result<HashMap<u64, u64>, ProcessError> {
    let mut sent: HashMap<u64, u64> = HashMap::new();
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..EVENTS_IN_A_ROW {
            let key = random.next_u64() % (KEYS / DRIVERS) * DRIVERS + driver;
            let before = match sent.get(&key) {
                Some(before) => *before,
                // An earlier life may have left something.
                None => match retry(is_over, || accounts.read(key, Account::position)) {
                    Ok(before) => before,
                    Err(_) if is_over.load(Ordering::Relaxed) => break,
                    Err(err) => return Err(err),
                },
            };
            let found = retry(is_over, || {
                accounts.process(key, |account| {
                    let found = account.position();
                    account.apply(before + 1);
                    found
                })
            });
            match found {
                Ok(found) if found == before => sent.insert(key, before + 1),
                Ok(found) => panic!("{key} was at {found}, not {before}"),
                // The storage was away until the end.
                Err(_) if is_over.load(Ordering::Relaxed) => break,
                Err(err) => return Err(err),
            };
            events.fetch_add(1, Ordering::Relaxed);
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    Ok(sent)
}

/// Tries again while the storage is away.
fn retry<R>(
    is_over: &AtomicBool,
    mut attempt: impl FnMut() -> Result<R, ProcessError>,
) -> Result<R, ProcessError> {
    // At the end the storage is there, but fetching may still be switched off for a moment.
    let mut attempts_left = 1_000;
    loop {
        match attempt() {
            Err(
                err @ (ProcessError::Restore(_)
                | ProcessError::Full { .. }
                | ProcessError::Busy { .. }),
            ) => {
                if is_over.load(Ordering::Relaxed) {
                    attempts_left -= 1;
                    if attempts_left == 0 {
                        return Err(err);
                    }
                }
                thread::park_timeout(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

fn sample(events: &AtomicU64, root: &str) -> Result<(), Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()).unwrap_or("?").to_owned()
    };
    // The fewest of some: files that are only just being read or written come and go.
    let mut descriptors = usize::MAX;
    for _ in 0..20 {
        descriptors = descriptors.min(fs::read_dir("/proc/self/fd")?.count());
    }
    let (threads, rss) = (field("Threads:"), field("VmRSS:"));
    let events = events.load(Ordering::Relaxed);
    let segments = fs::read_dir(Path::new(root).join("segments")).into_iter().flatten();
    // One that is compacted may be gone by now.
    let disk = segments.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum::<u64>();
    writeln!(io::stdout(), "sample {threads} {descriptors} {rss} {events} {}", disk / 1024)?;
    Ok(())
}
