//! A machine for tests that choose themselves what becomes of it, and when.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use checkpoint::FileOps;

use super::disk::{Boot, Disk};
use super::node::Left;
use crate::simulation::dice::Dice;
use crate::simulation::outcome::Telling;
use crate::simulation::trace::{Trace, lock};

/// A machine whose processes have a disk in memory, which loses what was not synced when the power
/// goes. The same seed and the same operations lead to the same disk.
pub struct Machine {
    disk: Arc<Mutex<Disk>>,
}

/// What befalls a process of a [`Machine`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Fate {
    /// The power goes with this file operation, counted from 0; it may still be done.
    pub off_after: Option<u64>,
    /// This one fails; it may be done all the same.
    pub fails_at: Option<u64>,
    /// So many of a hundred fail.
    pub errors_percent: u64,
}

impl Fate {
    fn boot(self) -> Boot {
        let Self { off_after, fails_at, errors_percent } = self;
        Boot { off_after, errors_percent, fails_at, has_shared_sync: false }
    }
}

impl Machine {
    /// Returns one with an empty disk, whose power is off.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { disk: Disk::new(Dice::new(seed), Trace::telling(Telling::Nothing)) }
    }

    /// Starts a process, which has the disk alone; the one before has ended.
    #[must_use]
    pub fn start(&self, fate: Fate) -> Arc<dyn FileOps> {
        Arc::new(Disk::start(&self.disk, fate.boot()))
    }

    /// Changes what befalls the process that runs, from its next operation on.
    pub fn befall(&self, fate: Fate) {
        lock(&self.disk).befall(fate.boot());
    }

    /// Returns whether the power is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        lock(&self.disk).is_on()
    }

    /// Returns how many file operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        lock(&self.disk).operations
    }

    /// Ends the process that runs. With [`Left::All`] it was killed; else the power has gone, and
    /// so much is left.
    pub fn crash(&self, left: Left) {
        lock(&self.disk).lose_power(left);
    }

    /// Returns another machine with a copy of the disk, and a seed of its own.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let disk = lock(&self.disk).copied(Dice::new(seed));
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Returns what is in each file, by path.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.disk).contents()
    }

    /// Changes the bytes of a file behind everybody's back.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        lock(&self.disk).damage(path, change);
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}
