//! The sources of a keeper: how they are opened, and how it is made durable what they need not feed
//! again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint_id::CheckpointId;
use crate::clock::Timestamp;
use crate::inputs::{SourceState, before};
use crate::safe_keeper::SafeKeeper;
use crate::safe_keeper::action::Pool;
use crate::safe_keeper::rounds::{Round, RoundDone, RoundStep};
use crate::safe_keeper::shared::Shared;
use crate::safe_keeper::stats::SourceStats;
use crate::source::{Source, SourceError, Target};
use crate::wait::Signal;

/// So many PEs are named that hold sources back.
const HELD_BACK_MAX: usize = 10;
/// How long they are looked for in shards whose locks are held.
const HELD_BACK_LOCK_WAIT: Duration = Duration::from_millis(10);

impl SafeKeeper {
    /// Opens the source of this name, for whoever feeds its events: see [`Source`].
    ///
    /// The name stands for one input, the same after each restart: a file, or one partition of a
    /// topic. 1 to 200 bytes. Waits for the storage if the store does not know it yet. One that was
    /// dropped is opened again as after a restart: its input is read again from
    /// [`resume_from`](Source::resume_from), or from where it was left; what has failed holds it
    /// back as before.
    ///
    /// # Errors
    /// It is open already, the keeper is closed, or the storage failed.
    ///
    /// # Examples
    /// ```
    /// use checkpoint::{InMemoryStorage, SafeKeeper};
    ///
    /// let storage = InMemoryStorage::new();
    /// let input = ["a", "b", "a"];
    /// // The second time around nothing is counted twice.
    /// for _ in 0..2 {
    ///     let keeper = SafeKeeper::builder(storage.clone()).build()?;
    ///     let words = keeper.prototype::<String, u64>("words").create(|_| 0).build()?;
    ///     let mut source = keeper.source("input")?;
    ///     for (word, position) in input.into_iter().zip(0..) {
    ///         source.process(&words, word, position, |count| *count += 1)?;
    ///     }
    ///     assert_eq!(words.read("a", |count| *count)?, 2);
    ///     keeper.close(std::time::Duration::from_secs(10))?;
    ///     assert_eq!(source.resume_from(), Some(2));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn source(&self, name: &str) -> Result<Source, SourceError> {
        let shared = &*self.shared;
        let state = shared.positions.open_source(name)?;
        shared.core.lock().rounds.start(shared.clock.now());
        shared.wakers.of(Pool::Timing).notify_one();
        Ok(Source::new(state, shared.positions.clone()))
    }

    /// Has it made durable how far sources need not feed again, now that everything is stored.
    pub(super) fn settle_positions(&self, deadline: Timestamp) {
        let shared = &*self.shared;
        let Some(done) = self.ask_round(deadline) else { return };
        if self.has_threads {
            // If it is not done in time, more is fed again: nothing is lost by it.
            let _is_done = done.wait(&*shared.clock, Some(deadline));
        } else {
            self.step_until(|| done.result().is_some());
        }
    }

    /// The same behind a flush, without blocking the thread. Returns what came of the flush.
    pub(super) async fn settle_behind(
        &self,
        flush: Arc<Signal<bool>>,
        deadline: Timestamp,
    ) -> bool {
        let settled = flush.into_future().await;
        if settled && let Some(done) = self.ask_round(deadline) {
            // As above.
            let _is_done = done.into_future().await;
        }
        settled
    }

    fn ask_round(&self, deadline: Timestamp) -> Option<Arc<RoundDone>> {
        let shared = &*self.shared;
        let done = shared.core.lock().rounds.ask(shared.clock.now(), deadline)?;
        shared.wakers.of(Pool::Timing).notify_one();
        Some(done)
    }
}

impl Shared {
    pub(super) fn round(&self, step: RoundStep) {
        match step {
            RoundStep::Begin => self.begin_round(),
            RoundStep::Check(round) => self.check_round(round),
            RoundStep::End(round) => self.end_round(round),
            RoundStep::Late(late) => late.into_iter().for_each(|done| done.finish(false)),
        }
    }

    fn begin_round(&self) {
        // In this order: what is through by now was changed in these prototypes, and is marked.
        let sources = self.positions.sources.all();
        let targets: Vec<_> = sources.into_iter().filter_map(Target::of).collect();
        if targets.is_empty() {
            let done = self.core.lock().rounds.ended();
            return done.into_iter().for_each(|done| done.finish(true));
        }
        let marks = self.sources().into_iter().map(|source| {
            let mark = source.mark();
            (source, mark)
        });
        let push_at = self.clock.now().after(self.settings.safe_position_interval());
        let (marks, look_at) = (marks.collect(), push_at);
        self.check_round(Round { targets, marks, push_at, is_pushed: false, look_at });
    }

    fn check_round(&self, mut round: Round) {
        if round.is_stored() {
            let over = self.core.lock().rounds.stored(round);
            drop(over);
            self.wakers.of(Pool::Storage).notify_one();
            return;
        }
        let now = self.clock.now();
        if now >= round.push_at {
            round.push(now.after(self.settings.safe_position_interval()));
        }
        round.look_later(now);
        let (told, over) = self.core.lock().rounds.goes_on(round);
        drop(over);
        told.into_iter().for_each(|done| done.finish(false));
    }

    fn end_round(&self, round: Round) {
        let stored = match self.positions.store(round.targets) {
            Ok(moved) => {
                for source in moved {
                    self.tell_safe(&source);
                }
                true
            }
            Err(error) => {
                tracing::warn!(
                    target: "checkpoint",
                    error = &error as &dyn std::error::Error,
                    "cannot keep what sources resume from; after a crash more is fed again"
                );
                false
            }
        };
        let told = self.core.lock().rounds.ended();
        told.into_iter().for_each(|done| done.finish(stored));
        self.wakers.of(Pool::Timing).notify_one();
    }

    pub(super) fn source_stats(&self) -> Vec<SourceStats> {
        let sources = self.positions.sources.all();
        let stats = sources.iter().filter_map(|source| {
            let (in_flight, failed) = source.events.lock().counts();
            Some(SourceStats {
                name: source.name.clone()?,
                safe_position: before(source.safe()),
                processed_to: before(source.reached()),
                in_flight,
                failed,
            })
        });
        stats.collect()
    }

    /// PEs that a round has been waiting for, for long.
    pub(super) fn held_back_by(&self) -> Vec<CheckpointId> {
        let overdue = self.core.lock().rounds.overdue();
        let mut ids = Vec::new();
        for (source, mark) in overdue {
            let left = HELD_BACK_MAX - ids.len();
            ids.extend(source.not_stored(&mark, left, HELD_BACK_LOCK_WAIT));
        }
        ids
    }

    /// Tells a source's consumer how far it need not feed again.
    fn tell_safe(&self, source: &SourceState) {
        let told = source.told.lock().clone();
        let (Some(told), Some(position)) = (told, before(source.safe())) else { return };
        if catch_unwind(AssertUnwindSafe(|| told(position))).is_err() {
            self.counters.callback_panics.add(1);
            tracing::error!(target: "checkpoint", "a callback for the safe position panicked");
        }
    }
}
