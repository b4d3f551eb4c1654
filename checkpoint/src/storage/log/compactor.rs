//! The thread that compacts a log while it is used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::log::compaction::Unfinished;
use crate::storage::log::inner::Log;
use crate::sync::thread::JoinHandle;
use crate::sync::{Condvar, Mutex};
use crate::thread_start::ThreadStart;

/// After a failure it is not tried again before this, or before another segment is full.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// Even if nothing is saved, it is looked this often whether something has become too old.
const LOOKED_AFTER: Duration = Duration::from_secs(60);
/// It sleeps after so many bytes, to keep its pace.
const STEP_BYTES: u64 = 1 << 20;

/// Compacts a log in a thread of its own, until it is dropped.
pub(super) struct Compactor {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is to do.
#[derive(Default)]
pub(super) struct Orders {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_wanted: bool,
    is_ending: bool,
}

impl Orders {
    /// There may be something to compact.
    pub(super) fn want(&self) {
        self.state.lock().is_wanted = true;
        self.changed.notify_all();
    }

    /// Waits for an order, or some time. `false` if it is over.
    fn wait(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.is_wanted && !state.is_ending {
            self.changed.wait_for(&mut state, time);
        }
        state.is_wanted = false;
        !state.is_ending
    }

    /// Lets time pass, whatever else there is to do. `false` if it is over.
    fn sleep(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.is_ending && !time.is_zero() {
            self.changed.wait_for(&mut state, time);
        }
        !state.is_ending
    }
}

impl Compactor {
    pub(super) fn start(log: Arc<Log>, threads: &dyn ThreadStart) -> std::io::Result<Self> {
        let orders = Arc::clone(&log.orders);
        let body = Box::new(move || run(&log));
        let thread = threads.start("checkpoint-compaction".to_owned(), body)?;
        Ok(Self { orders, thread: Some(thread) })
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.orders.state.lock().is_ending = true;
        self.orders.changed.notify_all();
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!(target: "checkpoint", "the compaction of a log has panicked");
        }
    }
}

impl fmt::Debug for Compactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compactor").finish_non_exhaustive()
    }
}

fn run(log: &Log) {
    let mut pause = Duration::ZERO;
    loop {
        if !log.orders.sleep(pause) {
            return;
        }
        pause = Duration::ZERO;
        let mut copied = 0;
        let mut pace = |bytes: u64| {
            copied += bytes;
            if copied < STEP_BYTES {
                return true;
            }
            let step =
                Duration::from_secs_f64(copied as f64 / log.compaction_bytes_per_second as f64);
            copied = 0;
            log.orders.sleep(if log.is_behind() { Duration::ZERO } else { step })
        };
        match log.compact_once(&mut pace) {
            Ok(Some(compacted)) => {
                tracing::debug!(
                    target: "checkpoint",
                    segments = compacted.segments,
                    bytes_before = compacted.bytes_before,
                    bytes_after = compacted.bytes_after,
                    "a log was compacted"
                );
                continue;
            }
            Ok(None) => match log.write_hints(&mut pace) {
                Ok(()) => {}
                Err(Unfinished::Ended) => return,
                Err(Unfinished::Failed(err)) => {
                    tracing::warn!(target: "checkpoint", error = %err, "a hint was not written");
                    pause = PAUSE_AFTER_FAILURE;
                }
            },
            Err(Unfinished::Ended) => return,
            Err(Unfinished::Failed(err)) => {
                tracing::warn!(target: "checkpoint", error = %err, "a log could not be compacted");
                pause = PAUSE_AFTER_FAILURE;
            }
        }
        if !log.orders.wait(LOOKED_AFTER) {
            return;
        }
    }
}
