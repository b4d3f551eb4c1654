//! Whether a store's lock locks, and what else speaks against where it is.

use crate::file_ops::{FileHandle, FileSystemDoubt};
use crate::storage::directory::store::Store;

/// The lock of a store, for as long as this is there.
#[derive(Debug)]
pub(super) struct StoreLock {
    _lock: Box<dyn FileHandle>,
    // The same file, locked once more by another handle: on a file system that grants that. Kept,
    // because there the end of this one might be the end of the other.
    again: Option<Box<dyn FileHandle>>,
}

impl StoreLock {
    /// Tries whether the file that is locked by `lock` can be locked once more.
    pub(super) fn of(lock: Box<dyn FileHandle>, store: &Store, path: &str) -> Self {
        // An error is no doubt: nothing is known then.
        let again = store.files.try_lock(path).ok().flatten();
        Self { _lock: lock, again }
    }
}

/// Returns what speaks against the file system, and warns of it.
pub(super) fn doubts(store: &Store, lock: &StoreLock) -> Vec<FileSystemDoubt> {
    let kind = store.files.doubtful_kind().map(|name| FileSystemDoubt::Kind { name });
    let locks_twice = lock.again.is_some().then_some(FileSystemDoubt::LocksTwice);
    let doubts: Vec<_> = kind.into_iter().chain(locks_twice).collect();
    for doubt in &doubts {
        tracing::warn!(
            target: "checkpoint",
            path = store.shown(""),
            %doubt,
            "a store is where it cannot be relied upon to have one writer and to be durable; have \
             it on a local disk, or see to it by other means"
        );
    }
    doubts
}
