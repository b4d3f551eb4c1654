//! What the application was told to be stored: whatever becomes of the process and its computer, it
//! is found again, or something newer.

use std::collections::BTreeMap;

use checkpoint::{CheckpointId, StateVersion};

use super::book::Book;
use super::content::id_of;
use super::met::Met;
use super::trace::lock;

impl Book {
    /// Notes that the application was told that a version is stored.
    pub(super) fn promise(&mut self, owner: u64, version: StateVersion) {
        let promised = self.promised.entry(owner).or_insert(version);
        *promised = version.max(*promised);
        lock(&self.world).met.count(Met::Acknowledged);
    }

    /// Everything is stored, the application is told: so is what it has seen and not changed.
    pub(super) fn promise_what_was_seen(&mut self) {
        let seen = self.subjects.iter().filter(|(_, subject)| subject.is_seen);
        let seen: Vec<u64> = seen.map(|(owner, _)| *owner).collect();
        for owner in seen {
            let newest = lock(&self.world).records.newest(&id_of(owner)).map(|one| one.version);
            if let Some(newest) = newest {
                self.promise(owner, newest);
            }
        }
    }

    /// What must be on the disk from now on, or something newer.
    pub(super) fn promised(&self) -> BTreeMap<CheckpointId, StateVersion> {
        self.promised.iter().map(|(owner, version)| (id_of(*owner), *version)).collect()
    }
}
