//! The thread that compacts a log while it is used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::log::compaction::Unfinished;
use crate::storage::log::inner::Log;
use crate::storage::log::orders::Orders;
use crate::sync::thread::JoinHandle;
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
        self.orders.end();
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
    let mut pace = Steps::new(log);
    loop {
        if !log.orders.sleep(pause) {
            return;
        }
        pause = Duration::ZERO;
        let compacted = log.compact_once(&mut |bytes| pace.compacting(bytes));
        // What comes next may not free anything, or have to wait.
        log.orders.pause();
        match compacted {
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
            Ok(None) => match log.write_hints(&mut |bytes| pace.hinting(bytes)) {
                // If it is not over, there is something else to do first.
                Ok(()) | Err(Unfinished::Ended) => {}
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

/// Keeps the pace: after each step it sleeps, the less the more lies about.
struct Steps<'a> {
    log: &'a Log,
    step_bytes: u64,
    /// In the step that is being made.
    bytes: u64,
}

impl<'a> Steps<'a> {
    fn new(log: &'a Log) -> Self {
        // Of small segments one step takes in several otherwise.
        Self { log, step_bytes: STEP_BYTES.min(log.segment_bytes), bytes: 0 }
    }

    /// So much was read. Returns whether to go on.
    fn compacting(&mut self, bytes: u64) -> bool {
        let Some(step) = self.step(bytes) else { return true };
        let pressure = self.log.pressure();
        self.log.orders.read(step, pressure >= 1.0);
        self.log.orders.sleep(self.usual_time(step).mul_f64(1.0 - pressure))
    }

    /// The same for what frees nothing, and is less urgent.
    fn hinting(&mut self, bytes: u64) -> bool {
        let Some(step) = self.step(bytes) else { return true };
        let is_urgent = self.log.orders.is_wanted() && self.log.pressure() >= 1.0;
        !is_urgent && self.log.orders.sleep(self.usual_time(step))
    }

    /// Returns how long the step is, if it ends here.
    fn step(&mut self, bytes: u64) -> Option<u64> {
        self.bytes += bytes;
        (self.bytes >= self.step_bytes).then(|| std::mem::take(&mut self.bytes))
    }

    fn usual_time(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.log.compaction_bytes_per_second as f64)
    }
}
