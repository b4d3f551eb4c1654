//! Whose turn it is at the end of a log: a batch is written while the one before it is synced.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// The end of a log, which batches go through in two stages.
///
/// Who has the [`WriteTurn`] prepares a batch and writes it; who has the [`SyncTurn`] makes it
/// durable and lets others see it. Each is had by one at a time, and the former is passed on only
/// against the latter: so the order of the batches is the same in both, and at any time no more
/// than two are in doubt.
pub(super) struct Tail<W> {
    state: Mutex<State<W>>,
    turn_ended: Condvar,
    sync_ended: Condvar,
}

struct State<W> {
    writer: W,
    has_turn: bool,
    /// The hashes of the ids in the batch that is being synced, if one is.
    syncing: Option<Arc<Vec<u64>>>,
    /// How many threads wait for a turn or for a sync to end, for tests that let batches meet.
    #[cfg(feature = "test-util")]
    waiting: usize,
}

/// The writer, as long as the lock is held. That is for moments, and for what must not go on beside
/// a batch that is being written.
pub(super) struct Locked<'a, W>(MutexGuard<'a, State<W>>);

/// The right to write the next batch.
pub(super) struct WriteTurn<'a, W> {
    tail: &'a Tail<W>,
    /// Passed on already.
    is_over: bool,
}

/// The right to sync what was written, and to say that it is there.
pub(super) struct SyncTurn<'a, W> {
    tail: &'a Tail<W>,
}

impl<W> Tail<W> {
    pub(super) fn new(writer: W) -> Self {
        let state = State {
            writer,
            has_turn: false,
            syncing: None,
            #[cfg(feature = "test-util")]
            waiting: 0,
        };
        Self {
            state: Mutex::new(state),
            turn_ended: Condvar::default(),
            sync_ended: Condvar::default(),
        }
    }

    pub(super) fn lock(&self) -> Locked<'_, W> {
        Locked(self.state.lock())
    }

    /// Waits until nobody else has the turn.
    pub(super) fn turn(&self) -> WriteTurn<'_, W> {
        let mut state = self.state.lock();
        while state.has_turn {
            State::wait(&mut state, &self.turn_ended);
        }
        state.has_turn = true;
        WriteTurn { tail: self, is_over: false }
    }

    /// Waits until no batch is on its way. None is written as long as this lasts.
    pub(super) fn alone(&self) -> WriteTurn<'_, W> {
        let turn = self.turn();
        turn.wait_for_sync();
        turn
    }

    /// How many threads wait here; `None` if the lock is held.
    #[cfg(feature = "test-util")]
    pub(super) fn waiting(&self) -> Option<usize> {
        Some(self.state.try_lock()?.waiting)
    }
}

impl<W> State<W> {
    fn wait(state: &mut MutexGuard<'_, Self>, ended: &Condvar) {
        #[cfg(feature = "test-util")]
        {
            state.waiting += 1;
        }
        ended.wait(state);
        #[cfg(feature = "test-util")]
        {
            state.waiting -= 1;
        }
    }
}

impl<'a, W> WriteTurn<'a, W> {
    pub(super) fn lock(&self) -> Locked<'a, W> {
        self.tail.lock()
    }

    /// The hashes of the ids in the batch that is being synced, if one is.
    pub(super) fn syncing(&self) -> Option<Arc<Vec<u64>>> {
        self.tail.state.lock().syncing.clone()
    }

    /// Waits until the batch before is durable, or known not to be. As long as this one has its
    /// turn, nobody writes, and no other is synced.
    pub(super) fn wait_for_sync(&self) {
        let mut state = self.tail.state.lock();
        while state.syncing.is_some() {
            State::wait(&mut state, &self.tail.sync_ended);
        }
    }

    /// Waits until the batch before is done with, and passes the turn on.
    pub(super) fn begin_sync(mut self, id_hashes: Vec<u64>) -> SyncTurn<'a, W> {
        let tail = self.tail;
        let mut state = tail.state.lock();
        while state.syncing.is_some() {
            State::wait(&mut state, &tail.sync_ended);
        }
        state.syncing = Some(Arc::new(id_hashes));
        state.has_turn = false;
        self.is_over = true;
        tail.turn_ended.notify_one();
        SyncTurn { tail }
    }
}

impl<W> Drop for WriteTurn<'_, W> {
    fn drop(&mut self) {
        if !self.is_over {
            self.tail.state.lock().has_turn = false;
            self.tail.turn_ended.notify_one();
        }
    }
}

impl<'a, W> SyncTurn<'a, W> {
    pub(super) fn lock(&self) -> Locked<'a, W> {
        self.tail.lock()
    }
}

impl<W> Drop for SyncTurn<'_, W> {
    fn drop(&mut self) {
        self.tail.state.lock().syncing = None;
        // Who has the turn, if anybody.
        self.tail.sync_ended.notify_one();
    }
}

impl<W> Deref for Locked<'_, W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.0.writer
    }
}

impl<W> DerefMut for Locked<'_, W> {
    fn deref_mut(&mut self) -> &mut W {
        &mut self.0.writer
    }
}

#[cfg(all(test, loom))]
mod interleavings {
    use super::*;
    use crate::interleavings::steps::every_order;
    use crate::sync::thread::Builder;

    /// Which batches were written, and which were synced.
    #[derive(Default)]
    struct Batches {
        written: Vec<u32>,
        synced: Vec<u32>,
        is_syncing: bool,
    }

    fn save(tail: &Tail<Batches>, batch: u32) {
        let turn = tail.turn();
        turn.lock().written.push(batch);
        let turn = turn.begin_sync(Vec::new());
        {
            let mut batches = turn.lock();
            assert!(!batches.is_syncing, "two are synced at once");
            batches.is_syncing = true;
            assert!(batches.written.len() - batches.synced.len() <= 2, "three are in doubt");
        }
        let mut batches = turn.lock();
        batches.is_syncing = false;
        batches.synced.push(batch);
    }

    #[test]
    fn batches_are_synced_one_by_one_in_the_order_in_which_they_were_written() {
        every_order(2, || {
            let tail = Arc::new(Tail::new(Batches::default()));
            let threads = [1, 2].map(|batch| {
                let tail = Arc::clone(&tail);
                Builder::new().spawn(move || save(&tail, batch)).unwrap()
            });
            {
                let alone = tail.alone();
                let batches = alone.lock();
                assert_eq!(batches.written, batches.synced, "one is on its way");
            }
            for thread in threads {
                thread.join().unwrap();
            }
            let batches = tail.lock();
            assert_eq!(batches.written.len(), 2);
            assert_eq!(batches.written, batches.synced);
        });
    }
}
