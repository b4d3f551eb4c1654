//! `parking_lot`'s locks and std's threads, as far as they are used here, over those of a model
//! checker.
//!
//! What is lost: time. A wait with a deadline may end at any moment, and no wait is fair. So what
//! is checked must be right whenever a deadline passes, which is more than is needed; and what only
//! happens because time goes by is not seen. `Arc`s are those of std: their counts are no steps of
//! the model.

use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

#[cfg(loom)]
use loom as checker;
#[cfg(shuttle)]
use shuttle as checker;

pub(crate) use checker::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(shuttle)]
pub(crate) use shuttle::thread_local;

/// Loom's own macro does not know `const` blocks.
#[cfg(loom)]
macro_rules! thread_local_of_loom {
    ($(static $name:ident: $type:ty = const { $init:expr };)*) => {
        loom::thread_local! { $(static $name: $type = $init;)* }
    };
}
#[cfg(loom)]
pub(crate) use thread_local_of_loom as thread_local;

/// A lock that is not poisoned by a panic.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    // There is none only while a condition variable has it.
    held: Option<checker::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(checker::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard { lock: self, held: Some(held) }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let held = match self.0.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(err)) => err.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { lock: self, held: Some(held) })
    }

    /// Lets the others run once, which is all the patience that there is without time; a wait of
    /// minutes is one without end, as nothing here holds a lock for so long.
    pub(crate) fn try_lock_for(&self, wait: Duration) -> Option<MutexGuard<'_, T>> {
        const LONG: Duration = Duration::from_secs(60);
        if wait >= LONG {
            return Some(self.lock());
        }
        self.try_lock().or_else(|| {
            thread::yield_now();
            self.try_lock()
        })
    }
}

impl<T> MutexGuard<'_, T> {
    pub(crate) fn unlock_fair(guard: Self) {
        drop(guard);
        // Somebody else may have it now, or not.
        thread::yield_now();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.held {
            Some(held) => held,
            None => unreachable!("a guard is not used during a wait"),
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.held {
            Some(held) => held,
            None => unreachable!("a guard is not used during a wait"),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(checker::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.held.take() {
            guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The deadline passes while others run.
    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _time: Duration) {
        guard.held = None;
        thread::yield_now();
        *guard = guard.lock.lock();
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

pub(crate) mod thread {
    //! The part of `std::thread` that is used.

    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    pub(crate) use std::thread::available_parallelism;

    use super::checker::thread as checker;

    pub(crate) use checker::{Thread, current, park, yield_now};

    /// No time passes: the others run once.
    pub(crate) fn park_timeout(_time: Duration) {
        yield_now();
    }

    #[derive(Debug)]
    pub struct JoinHandle<T> {
        thread: checker::JoinHandle<T>,
        // Not one of the model: neither checker can tell.
        has_ended: Arc<AtomicBool>,
    }

    impl<T> JoinHandle<T> {
        pub(crate) fn join(self) -> std::thread::Result<T> {
            self.thread.join()
        }

        pub(crate) fn is_finished(&self) -> bool {
            self.has_ended.load(Ordering::SeqCst)
        }
    }

    pub(crate) struct Builder(checker::Builder);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self(checker::Builder::new())
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn spawn<T: Send + 'static>(
            self,
            body: impl FnOnce() -> T + Send + 'static,
        ) -> io::Result<JoinHandle<T>> {
            let has_ended = Arc::new(AtomicBool::new(false));
            let ends = has_ended.clone();
            let thread = self.0.spawn(move || {
                let result = body();
                ends.store(true, Ordering::SeqCst);
                result
            });
            Ok(JoinHandle { thread: thread?, has_ended })
        }
    }
}
