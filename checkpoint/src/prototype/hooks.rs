//! The user's code that runs when PEs come and go, and periodically.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::capture::PeHandle;
use crate::clock::Timestamp;
use crate::sync::Mutex;

type Hook<K, P> = Box<dyn Fn(&K, &mut P) + Send + Sync>;
type KeyHook<K> = Box<dyn Fn(&K) + Send + Sync>;
type Validate<K, P> = Box<dyn Fn(&K, &P) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync>;

/// The hooks of a prototype. None runs under a lock but those of `on_time`.
pub(super) struct Hooks<K, P> {
    pub(super) on_create: Option<Hook<K, P>>,
    pub(super) validate: Option<Validate<K, P>>,
    pub(super) on_restore: Option<Hook<K, P>>,
    pub(super) on_remove: Option<Hook<K, P>>,
    pub(super) on_expire: Option<KeyHook<K>>,
    pub(super) on_time: Vec<OnTime<K, P>>,
}

/// Something that is done with every resident PE from time to time.
pub(super) struct OnTime<K, P> {
    pub(super) interval: Duration,
    pub(super) next: Mutex<Timestamp>,
    /// What is left of the last round: shards whose locks were held.
    pub(super) left: Mutex<Vec<Visit>>,
    pub(super) run: Hook<K, P>,
}

/// PEs of a shard that a periodic function is to run on.
pub(super) struct Visit {
    pub(super) shard: usize,
    /// Those that are left; `None` if the shard was not looked at yet.
    pub(super) pes: Option<Vec<PeHandle>>,
}

impl<K, P> Default for Hooks<K, P> {
    fn default() -> Self {
        Self {
            on_create: None,
            validate: None,
            on_restore: None,
            on_remove: None,
            on_expire: None,
            on_time: Vec::new(),
        }
    }
}

/// The user's code panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panicked;

/// Runs the user's code; a panic in it is contained.
///
/// What it may have left half-done must not be used any more: callers drop it.
pub(super) fn contain<R>(user_code: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(user_code)).map_err(|payload| {
        // Dropping what was thrown is the user's code too.
        drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
        Panicked
    })
}
