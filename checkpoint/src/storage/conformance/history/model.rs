//! What a storage that keeps the contract has stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint_id::CheckpointId;
use crate::record::{Epoch, RecordKind, StateVersion};
use crate::storage::conformance::checks::id;
use crate::storage::conformance::history::operation::{IDS, PARTITIONS, Relation, Saved};
use crate::storage::conformance::records::write;
use crate::storage::{
    CompareAndSet, FetchVersion, Metadata, StorageCapabilities, StorageErrorKind,
};

/// One record that was stored.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) version: StateVersion,
    pub(super) kind: RecordKind,
    pub(super) bytes: Vec<u8>,
}

/// What may become of an entry.
pub(super) enum Expected {
    Stored(Kept),
    /// For one of these reasons.
    Refused(Vec<StorageErrorKind>),
}

pub(super) struct Model {
    /// All versions that were ever stored, the newest last.
    records: BTreeMap<u64, Vec<Kept>>,
    /// The last epoch that was opened.
    epochs: BTreeMap<u32, Epoch>,
    /// Partitions that were not opened since the storage was. Nobody owns them: a keeper opens its
    /// partitions before it saves.
    ownerless: BTreeSet<u32>,
    pub(super) metadata: BTreeMap<u64, Metadata>,
    capabilities: StorageCapabilities,
    // In each payload, so that no two are the same.
    drawn: u64,
}

impl Model {
    pub(super) fn new(capabilities: StorageCapabilities) -> Self {
        Self {
            records: BTreeMap::new(),
            epochs: BTreeMap::new(),
            ownerless: BTreeSet::new(),
            metadata: BTreeMap::new(),
            capabilities,
            drawn: 0,
        }
    }

    /// Two prototypes; keys with bytes that are no text.
    pub(super) fn id(number: u64) -> CheckpointId {
        let prototype = if number.is_multiple_of(2) { "even" } else { "odd" };
        let mut key = vec![0xFF, b'/', b'A'];
        key.extend_from_slice(&number.to_le_bytes());
        id(prototype, key)
    }

    pub(super) fn partition(number: u64) -> u32 {
        u32::try_from(number / 2 % PARTITIONS).unwrap_or(0)
    }

    pub(super) fn opened(&self, partition: u32) -> Epoch {
        self.epochs.get(&partition).copied().unwrap_or_default()
    }

    pub(super) fn open(&mut self, partition: u32, epoch: Epoch) {
        self.epochs.insert(partition, epoch);
        self.ownerless.remove(&partition);
    }

    pub(super) fn reopen(&mut self) {
        self.ownerless.extend(self.epochs.keys());
    }

    fn newest(&self, number: u64) -> Option<&Kept> {
        self.records.get(&number)?.last()
    }

    /// The record of an entry and what may become of it; `None` if there is no such version.
    pub(super) fn expect(&mut self, saved: Saved) -> Option<(Vec<u8>, Expected)> {
        let partition = Self::partition(saved.id);
        let opened = self.opened(partition);
        let newest = self.newest(saved.id).cloned();
        let current = newest.as_ref().map(|kept| kept.version);
        let version = match (saved.version, current) {
            (Relation::Newer(by), current) => {
                let current = current.unwrap_or_default();
                match opened > current.epoch {
                    true => StateVersion::new(opened.0, by),
                    false => StateVersion::new(current.epoch.0, current.sequence.0 + by),
                }
            }
            (Relation::Same, current) => current?,
            (Relation::Older, current) => {
                let current = current?;
                StateVersion::new(current.epoch.0, current.sequence.0.checked_sub(1)?)
            }
            (Relation::OfFormerOwner, current) => {
                let current = current.unwrap_or_default();
                let former = opened.max(current.epoch).0.checked_sub(1)?;
                StateVersion::new(former, current.sequence.0 + 10)
            }
        };
        let kept = match newest {
            Some(newest) if newest.version == version => newest,
            _ => self.draw(saved, version),
        };
        let mut reasons = Vec::new();
        if let Some(current) = current
            && version < current
        {
            reasons.push(StorageErrorKind::Stale { current });
        }
        if version.epoch < opened {
            let fences = self.capabilities.compare_and_set == CompareAndSet::PerPartition;
            if reasons.is_empty() && (!fences || self.ownerless.contains(&partition)) {
                // Whether this is refused is not declared.
                return None;
            }
            let (mine, current) = (version.epoch, opened);
            reasons.push(StorageErrorKind::Fenced { mine, current });
        }
        let bytes = kept.bytes.clone();
        let expected =
            if reasons.is_empty() { Expected::Stored(kept) } else { Expected::Refused(reasons) };
        Some((bytes, expected))
    }

    fn draw(&mut self, saved: Saved, version: StateVersion) -> Kept {
        self.drawn += 1;
        let kind = if saved.removal { RecordKind::Tombstone } else { RecordKind::State };
        let mut payload = Vec::new();
        if !saved.removal && saved.bytes > 0 {
            payload = self.drawn.to_le_bytes().to_vec();
            payload.resize(saved.bytes, 0xA5);
        }
        let partition = Self::partition(saved.id);
        let bytes = write(&Self::id(saved.id), version, partition, kind, &payload);
        Kept { version, kind, bytes }
    }

    /// Takes in a record that was stored.
    pub(super) fn store(&mut self, number: u64, kept: Kept) {
        let records = self.records.entry(number).or_default();
        if records.last().is_none_or(|newest| newest.version < kept.version) {
            records.push(kept);
        }
    }

    /// The record that a fetch must find, and whether "none" would be as good.
    pub(super) fn fetch(&self, number: u64, version: FetchVersion) -> (Option<&Kept>, bool) {
        let all = self.records.get(&number).map(Vec::as_slice).unwrap_or_default();
        let found = all.iter().rposition(|kept| match version {
            FetchVersion::Newest => true,
            FetchVersion::Before(limit) => kept.version < limit,
            FetchVersion::Exactly(exactly) => kept.version == exactly,
        });
        let Some(at) = found else { return (None, true) };
        let older = (all.len() - 1 - at) as u64;
        (all.get(at), older > self.capabilities.older_versions_max)
    }

    pub(super) fn newest_version(&self, number: u64) -> Option<StateVersion> {
        self.newest(number).map(|kept| kept.version)
    }

    /// All versions, the newest first, and how many of them must be there.
    pub(super) fn versions(&self, number: u64) -> (Vec<(StateVersion, RecordKind)>, usize) {
        let all = self.records.get(&number).map(Vec::as_slice).unwrap_or_default();
        let versions: Vec<_> = all.iter().rev().map(|kept| (kept.version, kept.kind)).collect();
        let older = usize::try_from(self.capabilities.older_versions_max).unwrap_or(usize::MAX);
        let kept = older.saturating_add(1).min(versions.len());
        (versions, kept)
    }

    /// The ids of a prototype that have a state.
    pub(super) fn listed(&self, prototype: &str) -> Vec<CheckpointId> {
        let has_state = |number: &u64| {
            self.newest(*number).is_some_and(|newest| newest.kind == RecordKind::State)
        };
        let ids = (0..IDS).filter(has_state).map(Self::id);
        ids.filter(|id| id.prototype() == prototype).collect()
    }
}
