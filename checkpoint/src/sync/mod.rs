//! The one place that locks, condition variables, atomics and threads come from.
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

#[cfg(any(loom, shuttle))]
pub(crate) use modelled::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering,
    fence, thread, thread_local,
};
