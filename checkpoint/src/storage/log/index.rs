//! Where the records of each id lie.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::record::{RecordKind, StateVersion};
use crate::storage::FetchVersion;
use crate::storage::log::layout::id_hash;
use crate::sync::{Mutex, MutexGuard};

/// Locks, so that those who fetch do not wait for each other.
const SHARDS: usize = 16;

/// A record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: StateVersion,
    pub(super) segment: u32,
    pub(super) offset: u32,
    // The top bit marks a tombstone.
    bytes_and_kind: u32,
}

const TOMBSTONE: u32 = 1 << 31;
/// The longest record that a place can describe.
pub(super) const RECORD_BYTES_MAX: u32 = TOMBSTONE - 1;

impl Place {
    pub(super) fn new(
        version: StateVersion,
        kind: RecordKind,
        segment: u32,
        offset: u32,
        record_bytes: u32,
    ) -> Self {
        let kind = match kind {
            RecordKind::State => 0,
            RecordKind::Tombstone => TOMBSTONE,
        };
        Self { version, segment, offset, bytes_and_kind: record_bytes | kind }
    }

    pub(super) fn record_bytes(self) -> u32 {
        self.bytes_and_kind & !TOMBSTONE
    }

    pub(super) fn kind(self) -> RecordKind {
        match self.bytes_and_kind & TOMBSTONE {
            0 => RecordKind::State,
            _ => RecordKind::Tombstone,
        }
    }

    /// The place of the same record elsewhere.
    pub(super) fn moved_to(self, segment: u32, offset: u32) -> Self {
        Self { segment, offset, ..self }
    }

    /// Orders the places of the log by when they were written.
    pub(super) fn written_at(self) -> (u32, u32) {
        (self.segment, self.offset)
    }
}

/// What is known of one id.
struct Entry {
    prototype: u32,
    key: Box<[u8]>,
    newest: Place,
    // The newest first.
    older: Vec<Place>,
}

/// What came of putting a place into the index.
#[derive(Debug, Default)]
pub(super) struct Put {
    /// The newer version that is there, if the place was not taken.
    pub(super) newer: Option<StateVersion>,
}

/// The place of each id's newest record, and of those older ones that are kept.
#[derive(Default)]
pub(super) struct Index {
    shards: [Mutex<HashTable<Entry>>; SHARDS],
    // The prototypes' names; an entry has the number of its own. There are few.
    names: Mutex<Vec<Arc<str>>>,
}

impl Index {
    fn shard(&self, hash: u64) -> MutexGuard<'_, HashTable<Entry>> {
        // The table takes its buckets from the lowest bits and its tags from the highest.
        let at = usize::try_from((hash >> 40) % SHARDS as u64).unwrap_or_default();
        match self.shards.get(at) {
            Some(shard) => shard.lock(),
            None => unreachable!("a remainder is less than the divisor"),
        }
    }

    fn find_name(&self, name: &str) -> Option<u32> {
        let names = self.names.lock();
        names.iter().position(|known| **known == *name).and_then(|at| u32::try_from(at).ok())
    }

    fn name_number(&self, name: &str) -> u32 {
        if let Some(number) = self.find_name(name) {
            return number;
        }
        let mut names = self.names.lock();
        let at = names.iter().position(|known| **known == *name).unwrap_or_else(|| {
            names.push(name.into());
            names.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Returns the newest place of an id.
    pub(super) fn newest(&self, id: CheckpointIdRef<'_>) -> Option<Place> {
        self.find(id, FetchVersion::Newest)
    }

    /// Returns the place of a version of an id.
    pub(super) fn find(&self, id: CheckpointIdRef<'_>, version: FetchVersion) -> Option<Place> {
        self.all(id).into_iter().find(|place| match version {
            FetchVersion::Newest => true,
            FetchVersion::Before(limit) => place.version < limit,
            FetchVersion::Exactly(wanted) => place.version == wanted,
        })
    }

    /// Returns the places of all versions that are kept of an id, the newest first.
    pub(super) fn all(&self, id: CheckpointIdRef<'_>) -> Vec<Place> {
        let Some(prototype) = self.find_name(id.prototype) else { return Vec::new() };
        let hash = id_hash(id);
        let shard = self.shard(hash);
        let found = shard.find(hash, |entry| entry.is(prototype, id.key));
        found.map_or_else(Vec::new, |entry| {
            std::iter::once(entry.newest).chain(entry.older.iter().copied()).collect()
        })
    }

    /// Notes a record; of the older ones so many are kept.
    pub(super) fn put(&self, id: CheckpointIdRef<'_>, place: Place, older_max: usize) -> Put {
        let prototype = self.name_number(id.prototype);
        let hash = id_hash(id);
        let mut shard = self.shard(hash);
        if let Some(entry) = shard.find_mut(hash, |entry| entry.is(prototype, id.key)) {
            return entry.put(place, older_max);
        }
        let names = &self.names;
        let entry = Entry { prototype, key: id.key.into(), newest: place, older: Vec::new() };
        shard.insert_unique(hash, entry, |entry| {
            let names = names.lock();
            let name = names.get(entry.prototype as usize).map_or("", |name| &**name);
            id_hash(CheckpointIdRef { prototype: name, key: &entry.key })
        });
        Put::default()
    }

    /// Replaces a place by another one of the same record, if it is still there.
    pub(super) fn moved(&self, id: CheckpointIdRef<'_>, from: Place, to: Place) -> bool {
        let Some(prototype) = self.find_name(id.prototype) else { return false };
        let hash = id_hash(id);
        let mut shard = self.shard(hash);
        let Some(entry) = shard.find_mut(hash, |entry| entry.is(prototype, id.key)) else {
            return false;
        };
        match entry.places_mut().find(|place| **place == from) {
            Some(place) => {
                *place = to;
                true
            }
            None => false,
        }
    }

    /// Returns the ids of a prototype whose newest record is a state.
    pub(super) fn ids(&self, prototype: &str) -> Vec<CheckpointId> {
        let Some(number) = self.find_name(prototype) else { return Vec::new() };
        let name: Arc<str> = prototype.into();
        let mut ids = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let states = shard.iter().filter(|entry| {
                entry.prototype == number && entry.newest.kind() == RecordKind::State
            });
            // The limits were checked when it was stored.
            let found = states.filter_map(|entry| {
                CheckpointId::within_limits(Arc::clone(&name), &entry.key).ok()
            });
            ids.extend(found);
        }
        ids
    }

    /// How many ids there are, and how many bytes the index takes for them, keys included.
    pub(super) fn size(&self) -> (u64, u64) {
        let (mut ids, mut bytes) = (0, 0);
        for shard in &self.shards {
            let shard = shard.lock();
            ids += shard.len() as u64;
            bytes += shard.allocation_size() as u64;
            bytes += shard.iter().map(Entry::heap_bytes).sum::<u64>();
        }
        (ids, bytes)
    }
}

impl Entry {
    fn is(&self, prototype: u32, key: &[u8]) -> bool {
        self.prototype == prototype && *self.key == *key
    }

    fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        std::iter::once(&mut self.newest).chain(&mut self.older)
    }

    fn heap_bytes(&self) -> u64 {
        (self.key.len() + self.older.capacity() * size_of::<Place>()) as u64
    }

    fn put(&mut self, place: Place, older_max: usize) -> Put {
        if place.version < self.newest.version {
            // Seen when a log is read: compaction may have put an older version behind a newer one.
            return self.put_older(place, older_max);
        }
        if place.version == self.newest.version {
            // The same record again.
            self.newest = place;
            return Put::default();
        }
        let before = std::mem::replace(&mut self.newest, place);
        self.older.insert(0, before);
        self.older.truncate(older_max);
        Put::default()
    }

    fn put_older(&mut self, place: Place, older_max: usize) -> Put {
        let newer = Some(self.newest.version);
        let at = self.older.partition_point(|other| other.version > place.version);
        match self.older.get_mut(at) {
            Some(same) if same.version == place.version => *same = place,
            _ => self.older.insert(at, place),
        }
        self.older.truncate(older_max);
        Put { newer }
    }
}
