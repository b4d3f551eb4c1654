//! Where the records of each id lie.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::checkpoint_id::{CheckpointId, CheckpointIdRef};
use crate::record::{RecordKind, StateVersion};
use crate::storage::FetchVersion;
use crate::storage::log::keys::NumberedId;
use crate::storage::log::layout::{self, id_hash};
use crate::storage::log::place::Place;
use crate::storage::log::retention::Keep;
use crate::storage::log::shard::{Shard, WARMED};
use crate::sync::{Mutex, MutexGuard};

/// Locks, so that those who fetch do not wait for each other, nor long for a table that grows.
const SHARDS: usize = 64;

/// So many ids are found again at the same time, and then visited.
const VISITED: usize = 1024;

/// A record that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) place: Place,
    /// No other of its id does.
    pub(super) is_alone: bool,
}

/// The place of each id's newest record, and of those older ones that are kept.
pub(super) struct Index {
    shards: [Mutex<Shard>; SHARDS],
    // The prototypes' names; an entry has the number of its own. There are few.
    names: Mutex<Vec<Name>>,
}

/// The name of a prototype, and what the hashes of its ids begin with.
struct Name {
    name: Arc<str>,
    seed: u64,
}

/// An id as the index knows it, so that no more needs to be found out of it than once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) hash: u64,
    pub(super) prototype: u32,
    pub(super) key: &'a [u8],
}

impl Default for Index {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), names: Mutex::default() }
    }
}

/// The number of the shard that an id of this hash belongs into.
fn shard_of(hash: u64) -> usize {
    // The table takes its buckets from the lowest bits and its tags from the highest.
    usize::try_from((hash >> 40) % SHARDS as u64).unwrap_or_default()
}

impl Index {
    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        match self.shards.get(shard_of(hash)) {
            Some(shard) => shard.lock(),
            None => unreachable!("a remainder is less than the divisor"),
        }
    }

    fn find_name(&self, name: &str) -> Option<u32> {
        let names = self.names.lock();
        let at = names.iter().position(|known| *known.name == *name);
        at.and_then(|at| u32::try_from(at).ok())
    }

    /// Returns the number of a prototype, which is the same for as long as the log is open.
    pub(super) fn name_number(&self, name: &str) -> u32 {
        if let Some(number) = self.find_name(name) {
            return number;
        }
        let mut names = self.names.lock();
        let at = names.iter().position(|known| *known.name == *name).unwrap_or_else(|| {
            names.push(Name { name: name.into(), seed: layout::name_seed(name) });
            names.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Visits many ids, each with the shard that it belongs into. Those of one shard come one after
    /// the other, in their order: it is locked once for all of them, and they do not wait one by
    /// one for the memory.
    pub(super) fn visit(&self, ids: &[Known<'_>], visit: &mut dyn FnMut(usize, &mut Shard)) {
        // Where the ids of each shard begin in the order, and in the end where they end.
        let mut places = [0_usize; SHARDS];
        for id in ids {
            if let Some(next) = places.get_mut(shard_of(id.hash) + 1) {
                *next += 1;
            }
        }
        let mut before = 0;
        for place in &mut places {
            before += *place;
            *place = before;
        }
        let mut order = vec![0; ids.len()];
        for (at, id) in ids.iter().enumerate() {
            if let Some(place) = places.get_mut(shard_of(id.hash)) {
                if let Some(free) = order.get_mut(*place) {
                    *free = at;
                }
                *place += 1;
            }
        }
        let mut rest = &*order;
        let mut begin = 0;
        for (shard, end) in self.shards.iter().zip(places) {
            let of_shard;
            (of_shard, rest) = rest.split_at_checked(end - begin).unwrap_or((rest, &[]));
            begin = end;
            if of_shard.is_empty() {
                continue;
            }
            let mut shard = shard.lock();
            for some in of_shard.chunks(WARMED) {
                shard.warm(some.iter().filter_map(|at| ids.get(*at)).map(|id| id.hash));
                for at in some {
                    visit(*at, &mut shard);
                }
            }
        }
    }

    /// An id of which nothing is known if its prototype is not.
    fn known<'a>(&self, id: CheckpointIdRef<'a>) -> Option<Known<'a>> {
        let prototype = self.find_name(id.prototype)?;
        Some(Known { hash: id_hash(id), prototype, key: id.key })
    }

    /// Returns the newest places of ids.
    pub(super) fn newest_of(&self, ids: &[CheckpointIdRef<'_>]) -> Vec<Option<Place>> {
        let mut newest = vec![None; ids.len()];
        let mut known = Vec::with_capacity(ids.len());
        let mut places = Vec::with_capacity(ids.len());
        // Most are of the same prototype as the one before.
        let mut last: Option<(&str, Option<u32>)> = None;
        for (at, id) in ids.iter().enumerate() {
            let number = match last {
                Some((name, number)) if name == id.prototype => number,
                _ => self.find_name(id.prototype),
            };
            last = Some((id.prototype, number));
            if let Some(prototype) = number {
                known.push(Known { hash: id_hash(*id), prototype, key: id.key });
                places.push(at);
            }
        }
        self.visit(&known, &mut |at, shard| {
            if let (Some(id), Some(place)) = (known.get(at), places.get(at))
                && let Some(newest) = newest.get_mut(*place)
            {
                let slot = shard.find(id.hash, (id.prototype, id.key));
                *newest = slot.map(|slot| shard.newest(slot));
            }
        });
        newest
    }

    /// Returns the place of a version of an id.
    pub(super) fn find(&self, id: CheckpointIdRef<'_>, version: FetchVersion) -> Option<Place> {
        let id = self.known(id)?;
        let shard = self.shard(id.hash);
        let slot = shard.find(id.hash, (id.prototype, id.key))?;
        match version {
            FetchVersion::Newest => Some(shard.newest(slot)),
            FetchVersion::Before(limit) => shard.places(slot).find(|place| place.version < limit),
            FetchVersion::Exactly(wanted) => {
                shard.places(slot).find(|place| place.version == wanted)
            }
        }
    }

    /// Returns the places of all versions that are kept of an id, the newest first.
    pub(super) fn all(&self, id: CheckpointIdRef<'_>) -> Vec<Place> {
        let Some(id) = self.known(id) else { return Vec::new() };
        let shard = self.shard(id.hash);
        let slot = shard.find(id.hash, (id.prototype, id.key));
        slot.map_or_else(Vec::new, |slot| shard.places(slot).collect())
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
        let id = Known { hash: id_hash(id), prototype, key: id.key };
        self.put_into(&mut self.shard(id.hash), id, place, keep, dropped)
    }

    /// The same of an id that belongs into this shard.
    pub(super) fn put_into(
        &self,
        shard: &mut Shard,
        Known { hash, prototype, key }: Known<'_>,
        place: Place,
        keep: Keep,
        dropped: &mut dyn FnMut(Place),
    ) -> Option<StateVersion> {
        if let Some(slot) = shard.find(hash, (prototype, key)) {
            return shard.change(slot, |versions| versions.put(place, keep, dropped));
        }
        // Held only if all are hashed again.
        let names = if shard.is_full() { Some(self.names.lock()) } else { None };
        let rehash = |(prototype, key): NumberedId<'_>| {
            let name = names.as_ref().and_then(|names| names.get(prototype as usize));
            layout::key_hash(key, name.map_or(0, |name| name.seed))
        };
        shard.insert(hash, (prototype, key), place, rehash);
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
        let slot = shard.find_by(id_hash, |slot| shard.places(slot).any(|place| is_it(&place)))?;
        shard.change(slot, |versions| {
            versions.places_mut().find(|place| is_it(place)).map(|place| {
                let old = *place;
                *place = Place { segment, offset, ..old };
                (old, *place)
            })
        })
    }

    /// The place of a version that lies in one of these segments, if it counts.
    pub(super) fn find_in(
        &self,
        id: CheckpointIdRef<'_>,
        version: StateVersion,
        segments: &[u32],
    ) -> Option<Found> {
        let id = self.known(id)?;
        let shard = self.shard(id.hash);
        let slot = shard.find(id.hash, (id.prototype, id.key))?;
        let is_wanted =
            |place: &Place| place.version == version && segments.contains(&place.segment);
        let place = shard.places(slot).find(is_wanted)?;
        Some(Found { place, is_alone: shard.places(slot).nth(1).is_none() })
    }

    /// Forgets a record that is gone: the id, if nothing else counts of it. Returns whether it
    /// counted.
    pub(super) fn forget(&self, id: CheckpointIdRef<'_>, gone: Place) -> bool {
        let Some(id) = self.known(id) else { return false };
        let mut shard = self.shard(id.hash);
        let Some(slot) = shard.find(id.hash, (id.prototype, id.key)) else { return false };
        if shard.places(slot).eq([gone]) {
            shard.remove(id.hash, slot);
            return true;
        }
        // Something newer was stored meanwhile.
        shard.change(slot, |versions| {
            let count = versions.older.len();
            versions.older.retain(|place| *place != gone);
            versions.older.len() < count
        })
    }

    /// Drops the versions that are too old by now.
    pub(super) fn expire(&self, keep: &dyn Fn(&str) -> Keep, dropped: &mut dyn FnMut(Place)) {
        let keeps: Vec<_> = self.names.lock().iter().map(|name| keep(&name.name)).collect();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let slots: Vec<_> = shard.with_older().collect();
            for slot in slots {
                if let Some(keep) = keeps.get(shard.id(slot).0 as usize) {
                    shard.change(slot, |versions| versions.trim(*keep, dropped));
                }
            }
        }
    }

    /// Returns an id that has this hash.
    pub(super) fn id_of(&self, id_hash: u64) -> Option<CheckpointId> {
        let shard = self.shard(id_hash);
        let names = self.names.lock();
        let id = |slot| {
            let (prototype, key) = shard.id(slot);
            let prototype = names.get(prototype as usize).map_or("", |name| &*name.name);
            CheckpointIdRef { prototype, key }
        };
        let is_it = |slot| layout::id_hash(id(slot)) == id_hash;
        shard.find_by(id_hash, is_it).map(|slot| id(slot).to_owned())
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
        let seed = layout::name_seed(prototype);
        let is_state = |shard: &Shard, slot: u32| {
            shard.id(slot).0 == number && shard.newest(slot).kind() == RecordKind::State
        };
        // Where each was written, the hash of its id, and its slot; the ids themselves are several
        // times as long.
        let mut states = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            states.extend(shard.iter().filter(|slot| is_state(&shard, *slot)).map(|slot| {
                let Place { segment, offset, .. } = shard.newest(slot);
                let written_at = u64::from(order(segment)) << 32 | u64::from(offset);
                (written_at, layout::key_hash(shard.id(slot).1, seed), slot)
            }));
        }
        states.sort_unstable_by(|a, b| b.cmp(a));
        for some in states.chunks(VISITED) {
            let known = |(_, hash, _): &(u64, u64, u32)| {
                let (hash, prototype, key): (_, _, &[u8]) = (*hash, number, &[]);
                Known { hash, prototype, key }
            };
            let known: Vec<_> = some.iter().map(known).collect();
            let mut ids = vec![None; some.len()];
            self.visit(&known, &mut |at, shard| {
                let (Some((_, hash, slot)), Some(id)) = (some.get(at), ids.get_mut(at)) else {
                    return;
                };
                // It may have been removed meanwhile, and its slot have been given to another one.
                let is_it = |found| found == *slot && is_state(shard, found);
                if let Some(slot) = shard.find_by(*hash, is_it)
                    && let key = shard.id(slot).1
                    && layout::key_hash(key, seed) == *hash
                {
                    // The limits were checked when it was stored.
                    *id = CheckpointId::within_limits(Arc::clone(&name), key).ok();
                }
            });
            // No lock is held: `visit` may call the storage.
            for id in ids.into_iter().flatten() {
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
            bytes += shard.memory() as u64;
        }
        (ids, bytes)
    }
}
