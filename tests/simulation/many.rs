//! Many histories, on all cores: each thread takes seeds that no other takes.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::met::{Met, Tally};
use super::outcome::{Outcome, Telling};
use super::trace::lock;
use super::{history, outage, power_loss};
use crate::Quota;

/// One seed in so many is run three times: its trace must be the same each time.
const REPEATED_EVERY: u64 = 100;
/// So many broken histories are enough.
const BROKEN_MAX: usize = 50;

/// A kind of histories.
#[derive(Clone, Copy)]
pub struct Simulation {
    name: &'static str,
    history: fn(u64, Telling) -> Outcome,
    kinds: &'static [&'static [Met]],
    quota: Quota,
    /// A run of fewer histories need not meet everything.
    meets_all_min: u64,
}

/// What came of many histories.
pub struct Summary {
    of: Simulation,
    /// How many were run.
    pub histories: u64,
    /// How many of them were run again, and went the same way.
    pub repeated: u64,
    /// Those that broke a promise, and which.
    pub broken: Vec<(u64, String)>,
    /// What they have met.
    met: Tally,
}

impl Simulation {
    /// A keeper and what it is asked, over a storage that does its worst.
    pub const KEEPER: Self = Self {
        name: "keeper",
        history: history::run,
        kinds: &[Met::APPLICATION, Met::KEEPER],
        quota: Quota::SIMULATION_SEEDS,
        meets_all_min: 10_000,
    };
    /// The file system storage over a disk that loses power.
    pub const POWER_LOSS: Self = Self {
        name: "power-loss",
        history: power_loss::run_files,
        kinds: &[Met::POWER_LOSS, Met::STORE],
        quota: Quota::POWER_LOSS_SEEDS,
        meets_all_min: 10_000,
    };
    /// The log over such a disk.
    pub const LOG_POWER_LOSS: Self = Self {
        name: "log-power-loss",
        history: power_loss::run_log,
        kinds: &[Met::POWER_LOSS, Met::STORE, Met::LOG, Met::STORE_LOG],
        quota: Quota::LOG_POWER_LOSS_SEEDS,
        meets_all_min: 10_000,
    };

    /// A keeper over either of them, and such a disk.
    pub const KEEPER_POWER_LOSS: Self = Self {
        name: "keeper-power-loss",
        history: outage::run,
        kinds: &[Met::APPLICATION, Met::POWER_LOSS, Met::LOG, Met::RECOVERY],
        quota: Quota::KEEPER_POWER_LOSS_SEEDS,
        meets_all_min: 5_000,
    };
    const ALL: [Self; 4] =
        [Self::KEEPER, Self::POWER_LOSS, Self::LOG_POWER_LOSS, Self::KEEPER_POWER_LOSS];

    /// Returns the one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name == name)
    }

    /// Returns how many histories are to be run.
    #[must_use]
    pub fn quota(self) -> Quota {
        self.quota
    }

    /// Runs the history of a seed.
    #[must_use]
    pub fn run(self, seed: u64, telling: Telling) -> Outcome {
        (self.history)(seed, telling)
    }
}

impl Summary {
    fn new(of: Simulation) -> Self {
        Self { of, histories: 0, repeated: 0, broken: Vec::new(), met: Tally::new() }
    }

    /// Returns how often each kind of thing was met.
    pub fn met(&self) -> impl Iterator<Item = (String, u64)> {
        self.of
            .kinds
            .iter()
            .copied()
            .flatten()
            .map(|kind| (format!("{kind:?}"), self.met.of(*kind)))
    }

    /// Returns the names of those that were never met, if there were histories enough.
    #[must_use]
    pub fn never_met(&self) -> Vec<String> {
        if self.histories < self.of.meets_all_min {
            return Vec::new();
        }
        self.met().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }

    fn add(&mut self, other: Self) {
        self.histories += other.histories;
        self.repeated += other.repeated;
        self.broken.extend(other.broken);
        self.met.add(&other.met);
    }

    /// Takes in what came of one history.
    fn take(&mut self, seed: u64, outcome: Outcome) {
        self.histories += 1;
        self.met.add(&outcome.met);
        if let Some(violation) = outcome.violation {
            self.broken.push((seed, violation));
        }
    }

    /// Tells which promises were broken, and how the first of these histories went.
    ///
    /// # Errors
    /// The text, if one was.
    pub fn check(mut self) -> Result<Self, String> {
        self.broken.sort();
        let Some((seed, _)) = self.broken.first() else { return Ok(self) };
        let text = self.of.run(*seed, Telling::Last).text;
        let violations = self.broken.iter().map(|(seed, what)| format!("seed {seed}: {what}\n"));
        let violations: String = violations.collect();
        Err(format!(
            "{text}\n{violations}(all of one: cargo run --profile simulation -p checkpoint-tests \
             --bin simulation -- {} replay {seed})",
            self.of.name
        ))
    }
}

impl Simulation {
    /// Runs the histories of these seeds; stops early if many are broken.
    #[must_use]
    pub fn run_many(self, seeds: Range<u64>) -> Summary {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicU64::new(seeds.start);
        let all = Mutex::new(Summary::new(self));
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut mine = Summary::new(self);
                    while mine.broken.len() < BROKEN_MAX {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            break;
                        }
                        mine.take(seed, self.run(seed, Telling::Nothing));
                        if seed.is_multiple_of(REPEATED_EVERY) {
                            mine.repeated += 1;
                            mine.broken.extend(self.differs(seed).map(|what| (seed, what)));
                        }
                    }
                    lock(&all).add(mine);
                });
            }
        });
        all.into_inner().unwrap()
    }

    /// Says how two runs of one seed differ.
    fn differs(self, seed: u64) -> Option<String> {
        let (one, other) = (self.run(seed, Telling::Last), self.run(seed, Telling::Last));
        if one.hash == other.hash {
            return None;
        }
        let (one, other) = (self.run(seed, Telling::All), self.run(seed, Telling::All));
        let mut lines = one.text.lines().zip(other.text.lines());
        Some(format!("the seed has two histories: {:?}", lines.find(|(a, b)| a != b)))
    }
}
