//! What is damaged in a log, and whom it concerns.

use std::collections::{BTreeSet, HashMap};

use crate::storage::log::report::{LogDamage, LogDamageKind};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// A place in the log; what was written later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WrittenAt {
    /// Of the segment.
    pub(super) order: u32,
    pub(super) offset: u32,
    /// The number of the segment, to name it.
    pub(super) segment: u32,
}

/// The damaged places that hide something.
#[derive(Default)]
pub(super) struct Damages {
    // There hardly ever are any: then no lock is taken.
    any: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    // By the hash of the id: the last of its records that could not be read.
    of_ids: HashMap<u64, WrittenAt>,
    // The last place of which it is not known whose records were there.
    unknown: Option<WrittenAt>,
    first: Option<LogDamage>,
    // The numbers of the segments: they stay as they are, however little of them counts.
    segments: BTreeSet<u32>,
}

impl Damages {
    /// Notes damage; `id_hash` is that of the record's id, if it is known.
    pub(super) fn add(&self, damage: LogDamage, at: WrittenAt, id_hash: Option<u64>) {
        let mut inner = self.inner.lock();
        inner.segments.insert(at.segment);
        match (damage.kind, id_hash) {
            (LogDamageKind::Head, _) => return,
            (LogDamageKind::Record, Some(id_hash)) => {
                let last = inner.of_ids.entry(id_hash).or_insert(at);
                *last = at.max(*last);
            }
            _ => inner.unknown = inner.unknown.max(Some(at)),
        }
        inner.first.get_or_insert(damage);
        self.any.store(true, Ordering::Release);
    }

    /// The last damaged place in which records of an id may have been.
    pub(super) fn last_of(&self, id_hash: u64) -> Option<WrittenAt> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let inner = self.inner.lock();
        inner.of_ids.get(&id_hash).copied().max(inner.unknown)
    }

    /// One of those that hide something, if there are any.
    pub(super) fn first(&self) -> Option<LogDamage> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.inner.lock().first.clone()
    }

    pub(super) fn is_damaged(&self, segment: u32) -> bool {
        self.inner.lock().segments.contains(&segment)
    }
}
