//! Whether events are let in: not after the end, and none that would change anything while changes
//! have been waiting to be stored for too long.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::OnExposed;
use crate::process_error::ProcessError;
use crate::prototype::inner::Inner;
use crate::prototype::pe_prototype::Hindrance;
use crate::prototype::shard::{Shard, tick_step};
use crate::sync::{AtomicU8, Mutex, Ordering};
use crate::wait::Signal;

/// What waits until everything that is too old is stored is told that it is.
pub(super) type Calm = Signal<()>;

/// What a call wants with a PE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Change,
}

/// Two bits, of which every shard has a hint that an event reads.
#[derive(Default)]
pub(super) struct Gate {
    // Set under no shard's lock, read under one: whoever locks a shard after it was set and
    // somebody went over all shards sees it.
    bars: AtomicU8,
    /// Held while the bars and the shards' hints are changed, so that they end up the same.
    changing: Mutex<()>,
    /// Told when `EXPOSED` is cleared; made by whoever is the first to wait.
    calm: Mutex<Option<Arc<Calm>>>,
}

const CLOSED: u8 = 1;
const EXPOSED: u8 = 2;

impl Gate {
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.bars.load(Ordering::Relaxed) == 0
    }

    #[inline(always)]
    pub(super) fn is_closed(&self) -> bool {
        self.bars.load(Ordering::Relaxed) & CLOSED != 0
    }

    fn close(&self) {
        self.bars.fetch_or(CLOSED, Ordering::Relaxed);
    }

    /// Whether nothing is to be changed now, by the keeper itself either.
    pub(super) fn is_exposed(&self) -> bool {
        self.bars.load(Ordering::Relaxed) & EXPOSED != 0
    }

    /// Returns whether that is new.
    fn expose(&self) -> bool {
        self.bars.fetch_or(EXPOSED, Ordering::Relaxed) & EXPOSED == 0
    }

    /// Returns whether that is new.
    fn calm_down(&self) -> bool {
        self.bars.fetch_and(!EXPOSED, Ordering::Relaxed) & EXPOSED != 0
    }

    /// Lets those who wait find out what has changed. They may run the user's code: no lock is
    /// held.
    fn wake(&self) {
        let calm = self.calm.lock().take();
        if let Some(calm) = calm {
            calm.finish(());
        }
    }

    /// What to wait for, if there is any need.
    fn until_calm(&self) -> Option<Arc<Calm>> {
        let calm = self.calm.lock().get_or_insert_with(Signal::new).clone();
        // Looked at again behind the lock: whoever cleared it before that was not heard.
        let bars = self.bars.load(Ordering::Relaxed);
        (bars & EXPOSED != 0 && bars & CLOSED == 0).then_some(calm)
    }
}

impl<K, P> Inner<K, P> {
    /// What is in the way of a call, if anything is; called when the gate is not open.
    #[cold]
    #[inline(never)]
    pub(super) fn barred(&self, access: Access) -> Result<Option<Hindrance>, ProcessError> {
        if self.gate.is_closed() {
            return Err(self.closed_error());
        }
        if access == Access::Read {
            return Ok(None);
        }
        // The storage may have caught up since the last tick.
        let Some(error) = self.overexposed() else { return Ok(None) };
        match self.config.on_exposed() {
            OnExposed::Reject => Err(error),
            OnExposed::Block => match self.gate.until_calm() {
                Some(calm) => Ok(Some(Hindrance::Exposure(calm))),
                None if self.gate.is_closed() => Err(self.closed_error()),
                None => Ok(None),
            },
        }
    }

    /// What events get if a change has not been stored for too long.
    pub(super) fn overexposed(&self) -> Option<ProcessError> {
        let exposure_max = self.config.exposure_max()?;
        let oldest = self.exposure(self.clock.now());
        let prototype = self.name.clone();
        (oldest > exposure_max).then_some(ProcessError::Exposed { prototype, oldest, exposure_max })
    }

    /// Lets no event in any more.
    pub(super) fn close_gate(&self) {
        self.change_gate(Gate::close);
        self.gate.wake();
    }

    fn change_gate<T>(&self, change: impl FnOnce(&Gate) -> T) -> T {
        let _changing = self.gate.changing.lock();
        let outcome = change(&self.gate);
        for shard in &self.shards {
            shard.bar(!self.gate.is_open());
        }
        outcome
    }

    /// How old the oldest change is that is not stored.
    fn exposure(&self, now: Timestamp) -> Duration {
        let oldest = self.shards.iter().filter_map(Shard::oldest_change).min();
        oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))
    }

    /// Holds up events if changes have been waiting for too long; returns when to look again.
    pub(super) fn watch_exposure(&self, now: Timestamp) -> Option<Timestamp> {
        let exposure_max = self.config.exposure_max()?;
        let oldest = self.exposure(now);
        let prototype = &*self.name;
        if oldest <= exposure_max {
            if self.gate.is_exposed() && self.change_gate(Gate::calm_down) {
                self.gate.wake();
                tracing::info!(target: "checkpoint", prototype, "events are let in again");
            }
        } else if !self.gate.is_exposed() && self.change_gate(Gate::expose) {
            tracing::warn!(
                target: "checkpoint",
                prototype,
                oldest_seconds = oldest.as_secs_f64(),
                "changes are not stored for too long: events are held up"
            );
        }
        Some(now.after(tick_step(exposure_max)))
    }
}
