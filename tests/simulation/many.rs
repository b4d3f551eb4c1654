//! Many histories, on all cores: each thread takes seeds that no other takes.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::history::{Outcome, Telling, run};
use super::met::Tally;
use super::trace::lock;

/// One seed in so many is run three times: its trace must be the same each time.
const REPEATED_EVERY: u64 = 100;
/// So many broken histories are enough.
const BROKEN_MAX: usize = 50;

/// What came of many histories.
#[derive(Default)]
pub struct Summary {
    /// How many were run.
    pub histories: u64,
    /// How many of them were run again, and went the same way.
    pub repeated: u64,
    /// Those that broke a promise, and which.
    pub broken: Vec<(u64, String)>,
    /// What they have met.
    pub met: Tally,
}

impl Summary {
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
        let text = run(*seed, Telling::Last).text;
        let violations = self.broken.iter().map(|(seed, what)| format!("seed {seed}: {what}\n"));
        let violations: String = violations.collect();
        Err(format!(
            "{text}\n{violations}(all of one: cargo run --profile simulation -p checkpoint-tests \
             --bin simulation -- replay {seed})"
        ))
    }
}

/// Runs the histories of these seeds; stops early if many are broken.
#[must_use]
pub fn run_many(seeds: Range<u64>) -> Summary {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Summary::default();
                while mine.broken.len() < BROKEN_MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    mine.take(seed, run(seed, Telling::Nothing));
                    if seed.is_multiple_of(REPEATED_EVERY) {
                        mine.repeated += 1;
                        mine.broken.extend(differs(seed).map(|what| (seed, what)));
                    }
                }
                lock(&all).add(mine);
            });
        }
    });
    all.into_inner().unwrap()
}

/// Says how two runs of one seed differ.
fn differs(seed: u64) -> Option<String> {
    let (one, other) = (run(seed, Telling::Last), run(seed, Telling::Last));
    if one.hash == other.hash {
        return None;
    }
    let (one, other) = (run(seed, Telling::All), run(seed, Telling::All));
    let mut lines = one.text.lines().zip(other.text.lines());
    Some(format!("the seed has two histories: {:?}", lines.find(|(a, b)| a != b)))
}
