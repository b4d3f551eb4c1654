//! Works on accounts for a long time, with evictions, restores and a storage that is away now and
//! then, and prints what the process has of the system meanwhile.
//!
//! Arguments: `files` or `log`, the directory, for how many seconds, a seed, how many accounts
//! there are. Prints four times a second `sample THREADS DESCRIPTORS RSS_KIB EVENTS DISK_KIB P50_US
//! P99_US LONGEST_US`: the disk of a log only, else 0; the times of single events, since the last
//! sample. At the end, when every account was checked, `checked ACCOUNTS restored N failed N away N
//! removed N`. It can be killed and started again.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use checkpoint::{
    CheckpointingConfig, CheckpointingMode, Clock, PePrototype, ProcessError, RandomSource,
    SafeKeeper, SeededRandom, StateStorage, SystemClock,
};
use checkpoint_tests::{Account, Backend, Unsteady, Weather};

const DRIVERS: u64 = 2;
/// For each account: a log of all of them has some dozen segments.
const SEGMENT_BYTES_OF_ACCOUNT: u64 = 100;
/// One account in so many is in memory: the others are on the disk.
const ACCOUNTS_OF_RESIDENT: u64 = 3;
/// One event in so many is a removal.
const EVENTS_OF_REMOVAL: u64 = 500;
/// After so many events a driver rests for a millisecond.
const EVENTS_IN_A_ROW: u64 = 20;
const SAMPLE: Duration = Duration::from_millis(250);
/// The storage is away for one sample in so many.
const AWAY: u64 = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let usage = "usage: soak files|log DIRECTORY SECONDS SEED ACCOUNTS";
    let [backend, root, seconds, seed, keys] = arguments.as_slice() else {
        return Err(usage.into());
    };
    let backend = Backend::named(backend).ok_or(usage)?;
    let (time, seed) = (Duration::from_secs(seconds.parse()?), seed.parse::<u64>()?);
    let keys = keys.parse::<u64>()?;
    let inner: Arc<dyn StateStorage> = match backend {
        Backend::Files => backend.open(root)?,
        Backend::Log => {
            let segment_bytes = (keys * SEGMENT_BYTES_OF_ACCOUNT).max(64 << 10);
            Arc::new(Backend::log(root).segment_bytes(segment_bytes).open()?)
        }
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
    let capacity = usize::try_from(keys / ACCOUNTS_OF_RESIDENT)?;
    let capacity = NonZeroUsize::new(capacity).ok_or("too few accounts")?;
    let accounts = keeper
        .prototype::<u64, Account>("account")
        .config(CheckpointingConfig::builder(mode).capacity(capacity).build()?)
        .create(|key| Account::new(*key))
        .build()?;

    let (is_over, done) = (AtomicBool::new(false), Done::default());
    let (accounts, is_over, done) = (&accounts, &is_over, &done);
    let mut away = 0;
    let sent = thread::scope(|scope| -> Result<HashMap<u64, u64>, Box<dyn Error>> {
        let drivers: Vec<_> = (0..DRIVERS)
            .map(|driver| {
                let random = SeededRandom::new(seed.wrapping_add(driver));
                let keys = keys / DRIVERS;
                scope.spawn(move || drive(accounts, (driver, keys), &random, is_over, done))
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
            sample(done, root)?;
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
    let removed = done.removals.load(Ordering::Relaxed);
    writeln!(
        io::stdout(),
        "checked {checked} restored {restored} failed {failed} away {away} removed {removed}"
    )?;
    Ok(())
}

/// What the drivers have done.
#[derive(Default)]
struct Done {
    events: AtomicU64,
    removals: AtomicU64,
    /// What single events took since the last sample, in us.
    times: Mutex<Vec<u64>>,
}

/// Sends events to the accounts of a driver; returns how many each got.
fn drive(
    accounts: &PePrototype<u64, Account>,
    (driver, keys): (u64, u64),
    random: &SeededRandom,
    is_over: &AtomicBool,
    done: &Done,
) -> Result<HashMap<u64, u64>, ProcessError> {
    let mut sent: HashMap<u64, u64> = HashMap::new();
    let clock = SystemClock::new();
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..EVENTS_IN_A_ROW {
            let key = random.next_u64() % keys * DRIVERS + driver;
            if random.next_u64().is_multiple_of(EVENTS_OF_REMOVAL) {
                // Whether the removal is stored yet or not: whoever comes next begins anew.
                match retry(is_over, || accounts.remove(key)) {
                    Ok(_) => sent.insert(key, 0),
                    Err(_) if is_over.load(Ordering::Relaxed) => break,
                    Err(err) => return Err(err),
                };
                done.removals.fetch_add(1, Ordering::Relaxed);
            }
            let before = match sent.get(&key) {
                Some(before) => *before,
                // An earlier life may have left something.
                None => match retry(is_over, || accounts.read(key, Account::position)) {
                    Ok(before) => before,
                    Err(_) if is_over.load(Ordering::Relaxed) => break,
                    Err(err) => return Err(err),
                },
            };
            let mut times = Vec::new();
            let found = retry(is_over, || {
                let begun = clock.now();
                let found = accounts.process(key, |account| {
                    let found = account.position();
                    account.apply(before + 1);
                    found
                });
                times.push(u64::try_from(clock.now().since(begun).as_micros()).unwrap_or(u64::MAX));
                found
            });
            done.times.lock().unwrap_or_else(PoisonError::into_inner).extend(times);
            match found {
                Ok(found) if found == before => sent.insert(key, before + 1),
                Ok(found) => panic!("{key} was at {found}, not {before}"),
                // The storage was away until the end.
                Err(_) if is_over.load(Ordering::Relaxed) => break,
                Err(err) => return Err(err),
            };
            done.events.fetch_add(1, Ordering::Relaxed);
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

fn sample(done: &Done, root: &str) -> Result<(), Box<dyn Error>> {
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
    let events = done.events.load(Ordering::Relaxed);
    let mut times = std::mem::take(&mut *done.times.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort_unstable();
    let quantile = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0);
    let (p50, p99, longest) = (quantile(50), quantile(99), times.last().copied().unwrap_or(0));
    let segments = fs::read_dir(Path::new(root).join("segments")).into_iter().flatten();
    // One that is compacted may be gone by now.
    let disk = segments.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum::<u64>();
    writeln!(
        io::stdout(),
        "sample {threads} {descriptors} {rss} {events} {} {p50} {p99} {longest}",
        disk / 1024
    )?;
    Ok(())
}
