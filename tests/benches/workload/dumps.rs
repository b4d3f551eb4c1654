//! What a user would write instead: a map whose whole content is dumped from time to time.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use checkpoint::{StateLimits, encode_state, restore_state};

use super::{Numbers, Plain, State};

/// Encodes everything, writes a temporary file, syncs it, renames it.
pub(crate) fn dump(map: &Plain, directory: &Path) {
    let limits = StateLimits::default();
    let mut bytes = Vec::new();
    for (key, state) in map {
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.extend_from_slice(&encode_state(state, &limits).unwrap());
    }
    let temporary = directory.join("dump.tmp");
    let mut file = File::create(&temporary).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_data().unwrap();
    std::fs::rename(&temporary, directory.join("dump")).unwrap();
}

/// Reads what was dumped last.
pub(crate) fn load(directory: &Path) -> Plain {
    let limits = StateLimits::default();
    let bytes = std::fs::read(directory.join("dump")).unwrap();
    // All states have the same number of bytes.
    let state_bytes = encode_state(&State::new(), &limits).unwrap().len();
    let entries = bytes.chunks_exact(8 + state_bytes).map(|entry| {
        let (key, encoded) = entry.split_first_chunk().unwrap();
        let mut state = State::new();
        restore_state(&mut state, encoded, &limits).unwrap();
        (u64::from_le_bytes(*key), state)
    });
    entries.collect()
}

/// How a dump is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dumping {
    /// On the thread that has the events.
    StopTheWorld,
    /// By another thread, from a clone.
    Background,
}

/// A map that is dumped at an interval.
pub(crate) struct Dumped {
    pub(crate) map: Plain,
    pub(crate) dumps: u64,
    how: Dumping,
    directory: tempfile::TempDir,
    interval: Duration,
    next: Instant,
    running: Option<thread::JoinHandle<()>>,
}

impl Dumped {
    pub(crate) fn new(
        map: Plain,
        how: Dumping,
        directory: tempfile::TempDir,
        interval: Duration,
    ) -> Self {
        let next = Instant::now() + interval;
        Self { map, dumps: 0, how, directory, interval, next, running: None }
    }

    pub(crate) fn run(&mut self, keys: u64, events: u64, seed: u64) {
        let mut numbers = Numbers(seed);
        for i in 0..events {
            let x = numbers.next();
            if let Some(state) = self.map.get_mut(&(x % keys)) {
                state.event(x);
            }
            if i % 1024 == 0 {
                self.dump_if_due();
            }
        }
    }

    pub(crate) fn dump_if_due(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        match self.how {
            Dumping::StopTheWorld => dump(&self.map, self.directory.path()),
            Dumping::Background => {
                if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
                    return;
                }
                let (map, directory) = (self.map.clone(), self.directory.path().to_owned());
                self.running = Some(thread::spawn(move || dump(&map, &directory)));
            }
        }
        self.dumps += 1;
        self.next = Instant::now() + self.interval;
    }
}

impl Drop for Dumped {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.join().unwrap();
        }
    }
}
