//! The one place that locks, condition variables, atomics and threads come from, but for the
//! threads of a bulk restore, which end with their call.
//!
//! Model checkers bring their own; they replace what is named here and nothing else. `cfg(loom)`
//! and `cfg(shuttle)` are set by `tests/interleavings` and by nobody else.

#[cfg(any(loom, shuttle))]
mod modelled;

#[cfg(not(any(loom, shuttle)))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::thread;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::thread_local;

/// How often a lock is tried before its thread is put to sleep: what the standard library's mutex
/// does on Linux. Most locks are held for less than it takes to wake a thread.
#[cfg(not(any(loom, shuttle)))]
const SPINS: u32 = 100;
/// A model has no time to gain.
#[cfg(any(loom, shuttle))]
const SPINS: u32 = 0;

/// Tries something for the time that it takes to put a thread to sleep.
pub(crate) fn spin<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    (0..SPINS).find_map(|_| {
        std::hint::spin_loop();
        attempt()
    })
}

#[cfg(any(loom, shuttle))]
pub(crate) use modelled::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering,
    fence, thread, thread_local,
};
