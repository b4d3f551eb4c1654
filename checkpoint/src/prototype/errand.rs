//! What is done with shards whose lock somebody may hold for long: an event's closure may never
//! end.
//!
//! An errand is run at once if the lock is free. If not, whoever holds it runs it before he gives
//! it back, so that nobody waits; a look, which needs an answer now, waits for a bounded time and
//! says which shards it could not have.

use std::sync::Arc;
use std::time::Duration;

use crate::prototype::entry::Arrival;
use crate::prototype::inner::Inner;
use crate::prototype::key::Key;
use crate::prototype::results::Mail;
use crate::prototype::shard::Locked;
use crate::prototype::table::Table;
use crate::state::Checkpointable;
use crate::sync::Mutex;
use crate::wait::Signal;

/// What comes of an errand, once it was run.
pub(super) struct Errand<T> {
    done: Arc<Arrival>,
    result: Arc<Mutex<Option<T>>>,
}

impl<T> Errand<T> {
    /// Finished when the errand was run, and the shard's lock was given back after it.
    pub(super) fn done(&self) -> &Arc<Arrival> {
        &self.done
    }

    /// Takes the result, if there is one yet.
    pub(super) fn take(&self) -> Option<T> {
        self.result.lock().take()
    }
}

impl<K: Key, P: Checkpointable + Send + 'static> Inner<K, P> {
    /// Has something done with a shard, under its lock: now, or as soon as the lock is given back.
    /// Never waits. The framework is told when somebody else has done it.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        shard: usize,
        errand: impl FnOnce(&mut Table<K, P>) -> T + Send + 'static,
    ) -> Errand<T> {
        let asked = Errand { done: Signal::new(), result: Arc::default() };
        let (done, result) = (asked.done.clone(), asked.result.clone());
        let run = move |table: &mut Table<K, P>| {
            let answer = errand(table);
            *result.lock() = Some(answer);
            // Not before the lock is given back: only then others see what was done.
            table.aftermath().arrivals.push((done, Ok(())));
        };
        match self.try_lock_again(shard) {
            Some(mut locked) => run(locked.table()),
            None => {
                let later = move |table: &mut Table<K, P>| {
                    run(table);
                    table.aftermath().notify = true;
                };
                self.post(shard, Mail::Errand(Box::new(later)));
            }
        }
        asked
    }

    /// Looks at every shard; waits `wait` for those whose lock is held, altogether. Returns those
    /// that could not be looked at.
    pub(super) fn look(
        &self,
        wait: Duration,
        mut look: impl FnMut(&mut Locked<'_, K, P>),
    ) -> Vec<usize> {
        let is_busy = |shard: &usize| match self.try_lock_again(*shard) {
            Some(mut locked) => {
                look(&mut locked);
                false
            }
            None => true,
        };
        let mut busy: Vec<usize> = (0..self.shards.len()).filter(is_busy).collect();
        let share = wait / u32::try_from(busy.len().max(1)).unwrap_or(u32::MAX);
        busy.retain(|shard| match self.lock_within(*shard, share) {
            Some(mut locked) => {
                look(&mut locked);
                false
            }
            None => true,
        });
        busy
    }
}
