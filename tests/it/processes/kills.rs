//! Writing processes are killed at random instants, again and again, also while they recover: A1,
//! A6, A11, T1, X10.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use checkpoint::{RandomSource, SeededRandom};
use checkpoint_tests::{Backend, Quota, first_seed};

use crate::processes::store::Store;
use crate::processes::writer::Writer;
use crate::processes::{places, show, store};

/// How often the writers of one store are killed.
const KILLS_PER_STORE: u64 = 20;
/// How often one is killed while it recovers before the next may save.
const RECOVERIES_MAX: usize = 2;
/// One store in so many is on a disk, the others are in memory: SIGKILL takes nothing from there.
const ON_DISK: u64 = 8;
/// A writer is left alone for so long at most.
const MICROS_MAX: u64 = 50_000;

/// What has happened, over all stores.
#[derive(Default)]
struct Tally {
    kills: AtomicU64,
    in_recovery: AtomicU64,
    acknowledged: AtomicU64,
    leftovers: AtomicU64,
    compacted: AtomicU64,
}

/// The life of one store.
struct Life<'a> {
    store: Store,
    random: SeededRandom,
    seed: u64,
    // How long a writer took from its first line until it was ready.
    recovery: Duration,
    kills: u64,
    in_recovery: u64,
    tally: &'a Tally,
}

impl Life<'_> {
    fn context(&self) -> String {
        format!("CHECKPOINT_SEED={}, kill {}", self.seed, self.kills)
    }

    fn start(&mut self) -> Writer {
        Writer::start(self.store.backend(), self.store.root(), self.seed ^ self.random.next_u64())
    }

    /// Kills a writer while it saves.
    fn kill_while_saving(&mut self) {
        let mut writer = self.start();
        let started = writer.until("start");
        self.recovery = writer.until("ready").saturating_sub(started);
        // Else a slow machine would never acknowledge anything.
        let is_late = self.store.acknowledged == 0 && self.kills * 2 >= KILLS_PER_STORE;
        if self.random.next_u64().is_multiple_of(2) || is_late {
            writer.until("stored ");
        }
        writer.run(Duration::from_micros(self.random.next_u64() % MICROS_MAX));
        self.kill(writer);
    }

    /// Kills the next one while it opens the store and restores the first accounts.
    fn kill_while_recovering(&mut self) {
        let mut writer = self.start();
        writer.until("start");
        let micros = u64::try_from(self.recovery.as_micros()).unwrap();
        writer.run(Duration::from_micros(self.random.next_u64() % micros.max(1)));
        if self.kill(writer) {
            // It took longer when it was measured, as the machine was busy.
            self.recovery /= 2;
        }
    }

    /// Returns whether it was ready.
    fn kill(&mut self, mut writer: Writer) -> bool {
        let acknowledged = writer.kill();
        self.kills += 1;
        let was_ready = writer.has_printed("ready");
        self.in_recovery += u64::from(!was_ready);
        self.store.note(&acknowledged);
        let leftovers = self.store.temporary_files() as u64;
        self.tally.leftovers.fetch_max(leftovers, Ordering::Relaxed);
        self.store.check_leftovers(&self.context());
        was_ready
    }

    /// Kills writers and looks at what they leave, until there were so many kills.
    fn run(&mut self, kills: u64) {
        while self.kills < kills {
            self.kill_while_saving();
            // Nobody else opens the store in between: what was left half done is found so.
            for _ in 0..RECOVERIES_MAX {
                if self.kills < kills && self.in_recovery * 3 < self.kills {
                    self.kill_while_recovering();
                }
            }
            let context = self.context();
            self.store.check(&context);
        }
    }
}

fn live(backend: Backend, seed: u64, kills: u64, tally: &Tally) {
    let on_disk = (seed / KILLS_PER_STORE).is_multiple_of(ON_DISK);
    let directory = if on_disk { places::on_disk() } else { places::in_memory() };
    let mut life = Life {
        store: Store::new(backend, directory.path().join("state")),
        random: SeededRandom::new(seed),
        seed,
        recovery: Duration::ZERO,
        kills: 0,
        in_recovery: 0,
        tally,
    };
    life.run(kills);
    tally.kills.fetch_add(life.kills, Ordering::Relaxed);
    tally.in_recovery.fetch_add(life.in_recovery, Ordering::Relaxed);
    tally.acknowledged.fetch_add(life.store.acknowledged, Ordering::Relaxed);
    tally.compacted.fetch_add(life.store.compacted_segments(), Ordering::Relaxed);
    // Else the kills have shown nothing.
    let is_whole = life.kills == KILLS_PER_STORE;
    assert!(life.store.acknowledged > 0 || !is_whole, "seed {seed}: nothing was acknowledged");
}

/// Kills so many writers; returns what has happened.
fn kill_all(backend: Backend, kills: u64) -> Tally {
    let first = first_seed();
    let next = AtomicU64::new(0);
    let tally = Tally::default();
    // More than there are processors: much of the time is spent waiting.
    let threads = 2 * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let begun = next.fetch_add(KILLS_PER_STORE, Ordering::Relaxed);
                    let Some(left) = kills.checked_sub(begun).filter(|left| *left > 0) else {
                        return;
                    };
                    live(backend, first + begun, left.min(KILLS_PER_STORE), &tally);
                }
            });
        }
    });
    let [done, in_recovery, acknowledged, leftovers] =
        [&tally.kills, &tally.in_recovery, &tally.acknowledged, &tally.leftovers]
            .map(|count| count.load(Ordering::Relaxed));
    let seen = format!(
        "{backend:?}: {done} kills, {in_recovery} during recovery, {acknowledged} acknowledged, at \
         most {leftovers} of {} temporary files",
        store::OUTSTANDING_MAX
    );
    show(&seen);
    assert_eq!(done, kills);
    if kills >= KILLS_PER_STORE {
        assert!(in_recovery * 5 >= done && acknowledged >= done, "{seen}");
    }
    tally
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_at_any_instant_and_during_recovery() {
    kill_all(Backend::Files, Quota::KILLS.get());
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_of_a_log_that_is_compacted() {
    let kills = Quota::LOG_KILLS.get();
    let compacted = kill_all(Backend::Log, kills).compacted.into_inner();
    show(&format!("{compacted} segments were compacted"));
    // The last life of a store may leave no trace of it; not those of ten.
    assert!(compacted > 0 || kills < 10 * KILLS_PER_STORE, "nothing was compacted");
}
