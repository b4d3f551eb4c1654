//! Knows whether this thread is inside a shard's lock, or belongs to a keeper.
//!
//! A call that would wait from there could wait for itself; it returns an error instead.

use std::cell::Cell;

use crate::sync::thread_local;

thread_local! {
    static INSIDE_SHARD: Cell<bool> = const { Cell::new(false) };
    static KEEPER_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread holds a shard's lock.
#[inline]
pub(crate) fn is_inside_shard() -> bool {
    INSIDE_SHARD.with(Cell::get)
}

/// Says whether this thread holds a shard's lock, and returns what held before.
#[inline]
pub(crate) fn set_inside_shard(inside: bool) -> bool {
    INSIDE_SHARD.with(|cell| cell.replace(inside))
}

/// Whether this thread belongs to a keeper.
pub(crate) fn is_keeper_thread() -> bool {
    KEEPER_THREAD.with(Cell::get)
}

/// Whether a call of this thread may wait for something.
pub(crate) fn may_wait() -> bool {
    !is_inside_shard() && !is_keeper_thread()
}

/// Runs `work` as a keeper's thread does.
pub(crate) fn as_keeper_thread<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            KEEPER_THREAD.with(|cell| cell.set(self.0));
        }
    }
    let _restore = Restore(KEEPER_THREAD.with(|cell| cell.replace(true)));
    work()
}
