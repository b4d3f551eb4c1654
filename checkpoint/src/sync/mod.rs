//! The one place that locks, condition variables and atomics come from.
//!
//! Model checkers bring their own; they replace what is named here and nothing else.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
