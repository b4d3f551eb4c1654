//! The thread that compacts a log while it is used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::log::compaction::Unfinished;
use crate::storage::log::inner::Log;
use crate::storage::log::orders::{Orders, Reader, Slept};
use crate::sync::thread::JoinHandle;
use crate::thread_start::ThreadStart;

/// Even if nothing is saved, it is looked this often whether something has become too old; after a
/// failure, too, nothing is tried again before this, or before another segment is full.
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
        // Whoever has an order for it waits even before it runs.
        orders.be(Reader::Ready);
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

/// Nobody waits for a thread that is gone, even if it has panicked.
struct Present<'a>(&'a Orders);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.be(Reader::Away);
    }
}

fn run(log: &Log) {
    let _present = Present(&log.orders);
    let mut pace = Steps::new(log);
    loop {
        // There may be an order already.
        log.orders.be(Reader::Reading);
        let compacting = log.compacting.try_lock().unwrap_or_else(|| {
            log.orders.be(Reader::Away);
            let compacting = log.compacting.lock();
            log.orders.be(Reader::Reading);
            compacting
        });
        let compacted = log.compact_alone(&compacting, &mut |bytes| pace.compacting(bytes));
        if !matches!(compacted, Ok(Some(_))) {
            log.orders.be(Reader::Ready);
        }
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
            Ok(None) => {
                let mut pace = |bytes: u64| pace.hinting(bytes);
                // If it is not over, there is something else to do first.
                if let Err(Unfinished::Failed(err)) = log.write_hints_alone(&compacting, &mut pace)
                {
                    tracing::warn!(target: "checkpoint", error = %err, "a hint was not written");
                }
            }
            Err(Unfinished::Ended) => return,
            Err(Unfinished::Failed(err)) => {
                tracing::warn!(target: "checkpoint", error = %err, "a log could not be compacted");
            }
        }
        drop(compacting);
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
        let mut read = step;
        self.rest(step, &mut |pressure, wanted| {
            self.log.orders.read(std::mem::take(&mut read), pressure >= 1.0, wanted);
            Some(1.0 - pressure)
        })
    }

    /// The same for what frees nothing, and is less urgent.
    fn hinting(&mut self, bytes: u64) -> bool {
        let Some(step) = self.step(bytes) else { return true };
        self.rest(step, &mut |pressure, wanted| {
            let is_behind = pressure >= 1.0;
            let is_urgent = is_behind && self.log.orders.is_wanted();
            if !is_behind {
                // Nobody waits for what is not urgent.
                self.log.orders.read(0, false, wanted);
            }
            (!is_urgent).then_some(1.0)
        })
    }

    /// Sleeps after a step for the share of its usual time that `share` says, which is given the
    /// pressure and how many orders there were, and is asked again with each order. Returns whether
    /// to go on: not if it says `None`.
    fn rest(&self, step: u64, share: &mut dyn FnMut(f64, u64) -> Option<f64>) -> bool {
        let begun = self.log.clock.now();
        loop {
            // First, so that none is missed that comes while the log is looked at.
            let wanted = self.log.orders.wanted();
            let Some(share) = share(self.log.pressure(), wanted) else { return false };
            let until = begun.after(self.usual_time(step).mul_f64(share));
            match self.log.orders.sleep_until(until, wanted) {
                Slept::Enough => return true,
                Slept::Ordered => {}
                Slept::Ended => return false,
            }
        }
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
