//! Where the records of each id lie.

use std::ops::ControlFlow;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::record::{RecordKind, StateVersion, captured_seconds};
use crate::storage::FetchVersion;
use crate::storage::log::layout::{self, id_hash};
use crate::storage::log::retention::Keep;
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
    /// In seconds since 1970.
    captured_at: u32,
}

const TOMBSTONE: u32 = 1 << 31;
/// The longest record that a place can describe.
pub(super) const RECORD_BYTES_MAX: u32 = TOMBSTONE - 1;

impl Place {
    /// The place of a whole record of so many bytes.
    pub(super) fn new(
        version: StateVersion,
        kind: RecordKind,
        record: &[u8],
        (segment, offset): (u32, u32),
    ) -> Self {
        let record_bytes = u32::try_from(record.len()).unwrap_or(RECORD_BYTES_MAX);
        Self::known(version, kind, record_bytes, captured_seconds(record), (segment, offset))
    }

    /// The place of a record of which so much is known.
    pub(super) fn known(
        version: StateVersion,
        kind: RecordKind,
        record_bytes: u32,
        captured_at: u32,
        (segment, offset): (u32, u32),
    ) -> Self {
        let kind = match kind {
            RecordKind::State => 0,
            RecordKind::Tombstone => TOMBSTONE,
        };
        let bytes_and_kind = record_bytes.min(RECORD_BYTES_MAX) | kind;
        Self { version, segment, offset, bytes_and_kind, captured_at }
    }

    pub(super) fn record_bytes(self) -> u32 {
        self.bytes_and_kind & !TOMBSTONE
    }

    pub(super) fn captured_at(self) -> u32 {
        self.captured_at
    }

    pub(super) fn kind(self) -> RecordKind {
        match self.bytes_and_kind & TOMBSTONE {
            0 => RecordKind::State,
            _ => RecordKind::Tombstone,
        }
    }

    pub(super) fn is_tombstone(self) -> bool {
        self.kind() == RecordKind::Tombstone
    }

    /// For the mark of a removal, which is needed for some time from now on, whenever it was made:
    /// counts it as captured now.
    pub(super) fn seen_at(self, now: u32) -> Self {
        let earliest = if self.is_tombstone() { now } else { 0 };
        Self { captured_at: self.captured_at.max(earliest), ..self }
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

/// A record that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) place: Place,
    /// No other of its id does.
    pub(super) is_alone: bool,
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

    /// Notes a record, and tells of those that are not kept any more. Returns the newer version
    /// that is there, if this is not the newest.
    pub(super) fn put(
        &self,
        id: CheckpointIdRef<'_>,
        place: Place,
        keep: Keep,
        dropped: &mut dyn FnMut(Place),
    ) -> Option<StateVersion> {
        let prototype = self.name_number(id.prototype);
        let hash = id_hash(id);
        let mut shard = self.shard(hash);
        if let Some(entry) = shard.find_mut(hash, |entry| entry.is(prototype, id.key)) {
            return entry.put(place, keep, dropped);
        }
        let names = &self.names;
        let entry = Entry { prototype, key: id.key.into(), newest: place, older: Vec::new() };
        shard.insert_unique(hash, entry, |entry| {
            let names = names.lock();
            let name = names.get(entry.prototype as usize).map_or("", |name| &**name);
            id_hash(CheckpointIdRef { prototype: name, key: &entry.key })
        });
        None
    }

    /// Notes that a record of an id of this hash lies elsewhere now, if it still counts. Returns
    /// its old place and the new one.
    pub(super) fn moved(
        &self,
        id_hash: u64,
        from: (u32, u32),
        (segment, offset): (u32, u32),
    ) -> Option<(Place, Place)> {
        let is_it = |place: &Place| (place.segment, place.offset) == from;
        let mut shard = self.shard(id_hash);
        let entry = shard.find_mut(id_hash, |entry| entry.places().any(is_it))?;
        entry.places_mut().find(|place| is_it(place)).map(|place| {
            let old = *place;
            *place = Place { segment, offset, ..old };
            (old, *place)
        })
    }

    /// The place of a version that lies in one of these segments, if it counts.
    pub(super) fn find_in(
        &self,
        id: CheckpointIdRef<'_>,
        version: StateVersion,
        segments: &[u32],
    ) -> Option<Found> {
        let mut found = None;
        self.change(id, |entry| {
            let is_wanted =
                |place: &&Place| place.version == version && segments.contains(&place.segment);
            let place = entry.places().find(is_wanted);
            found = place.map(|place| Found { place: *place, is_alone: entry.older.is_empty() });
        });
        found
    }

    /// Forgets a record that is gone: the id, if nothing else counts of it. Returns whether it
    /// counted.
    pub(super) fn forget(&self, id: CheckpointIdRef<'_>, gone: Place) -> bool {
        let Some(prototype) = self.find_name(id.prototype) else { return false };
        let hash = id_hash(id);
        let mut shard = self.shard(hash);
        let Ok(mut found) = shard.find_entry(hash, |entry| entry.is(prototype, id.key)) else {
            return false;
        };
        let entry = found.get_mut();
        if entry.newest == gone && entry.older.is_empty() {
            found.remove();
            return true;
        }
        // Something newer was stored meanwhile.
        let count = entry.older.len();
        entry.older.retain(|place| *place != gone);
        entry.older.len() < count
    }

    /// Drops the versions that are too old by now.
    pub(super) fn expire(&self, keep: &dyn Fn(&str) -> Keep, dropped: &mut dyn FnMut(Place)) {
        let keeps: Vec<_> = self.names.lock().iter().map(|name| keep(name)).collect();
        for shard in &self.shards {
            for entry in shard.lock().iter_mut() {
                if let Some(keep) = keeps.get(entry.prototype as usize) {
                    entry.trim(*keep, dropped);
                }
            }
        }
    }

    fn change(&self, id: CheckpointIdRef<'_>, change: impl FnOnce(&mut Entry)) {
        let Some(prototype) = self.find_name(id.prototype) else { return };
        let hash = id_hash(id);
        let mut shard = self.shard(hash);
        if let Some(entry) = shard.find_mut(hash, |entry| entry.is(prototype, id.key)) {
            change(entry);
        }
    }

    /// Returns an id that has this hash.
    pub(super) fn id_of(&self, id_hash: u64) -> Option<CheckpointId> {
        let shard = self.shard(id_hash);
        let names = self.names.lock();
        let id = |entry: &Entry| {
            let prototype = names.get(entry.prototype as usize).map_or("", |name| &**name);
            CheckpointIdRef { prototype, key: &entry.key }.to_owned()
        };
        let is_it = |entry: &Entry| layout::id_hash(id(entry).as_ref()) == id_hash;
        shard.find(id_hash, is_it).map(id)
    }

    /// Calls `visit` with the ids of a prototype whose newest record is a state, the one that was
    /// written last first, until it breaks. `order` says where a segment stands in the log.
    pub(super) fn visit_ids(
        &self,
        prototype: &str,
        order: &dyn Fn(u32) -> u32,
        visit: &mut dyn FnMut(CheckpointId) -> ControlFlow<()>,
    ) {
        let Some(number) = self.find_name(prototype) else { return };
        let name: Arc<str> = prototype.into();
        let is_state =
            |entry: &Entry| entry.prototype == number && entry.newest.kind() == RecordKind::State;
        let written_at = |entry: &Entry| {
            let Place { segment, offset, .. } = entry.newest;
            u64::from(order(segment)) << 32 | u64::from(offset)
        };
        // The ids themselves are many times as long.
        let mut states = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            states.extend(shard.iter().filter(|entry| is_state(entry)).map(|entry| {
                let id_hash = id_hash(CheckpointIdRef { prototype, key: &entry.key });
                (written_at(entry), id_hash)
            }));
        }
        states.sort_unstable_by(|a, b| b.cmp(a));
        for (at, id_hash) in states {
            let shard = self.shard(id_hash);
            let is_it = |entry: &&Entry| {
                is_state(entry)
                    && layout::id_hash(CheckpointIdRef { prototype, key: &entry.key }) == id_hash
            };
            let mut found: Vec<_> = shard.iter_hash(id_hash).filter(is_it).collect();
            // Hardly ever more than one; if it was moved or saved meanwhile, none is at its place.
            if found.iter().any(|entry| written_at(entry) == at) {
                found.retain(|entry| written_at(entry) == at);
            }
            // The limits were checked when it was stored.
            let id =
                |entry: &Entry| CheckpointId::within_limits(Arc::clone(&name), &entry.key).ok();
            let ids: Vec<_> = found.into_iter().filter_map(id).collect();
            // `visit` may call the storage.
            drop(shard);
            for id in ids {
                if visit(id).is_break() {
                    return;
                }
            }
        }
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

    fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        std::iter::once(&mut self.newest).chain(&mut self.older)
    }

    fn heap_bytes(&self) -> u64 {
        (self.key.len() + self.older.capacity() * size_of::<Place>()) as u64
    }

    fn put(
        &mut self,
        place: Place,
        keep: Keep,
        dropped: &mut dyn FnMut(Place),
    ) -> Option<StateVersion> {
        let newest = self.newest.version;
        let at = self.older.partition_point(|other| other.version > place.version);
        if place.version > newest {
            let before = std::mem::replace(&mut self.newest, place);
            if keep.newest == 0 && before.captured_at < keep.since {
                // Most stores keep none: then nothing is allocated for it.
                dropped(before);
            } else {
                self.older.insert(0, before);
            }
        } else if place.version == newest {
            // The same record again.
            dropped(std::mem::replace(&mut self.newest, place));
        } else if let Some(same) = self.older.get_mut(at).filter(|o| o.version == place.version) {
            dropped(std::mem::replace(same, place));
        } else {
            // Another one of the same batch is newer.
            self.older.insert(at, place);
        }
        self.trim(keep, dropped);
        (place.version < newest).then_some(newest)
    }

    /// Drops the older versions that are not kept.
    fn trim(&mut self, keep: Keep, dropped: &mut dyn FnMut(Place)) {
        let mut at = 0;
        self.older.retain(|place| {
            at += 1;
            let stays = at <= keep.newest || place.captured_at >= keep.since;
            if !stays {
                dropped(*place);
            }
            stays
        });
        if self.older.is_empty() {
            self.older = Vec::new();
        }
    }
}
