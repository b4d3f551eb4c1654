//! What the index knows of its ids, packed: some 42 bytes each beside the key.
//!
//! Most ids have one version that counts, of an epoch that fits into 32 bits; what has more than
//! that lies elsewhere.

use hashbrown::HashTable;

use crate::record::{Epoch, Sequence, StateVersion};
use crate::storage::log::keys::{Keys, NumberedId};
use crate::storage::log::place::{Place, Versions};

/// The ids of a part of the index.
#[derive(Default)]
pub(super) struct Shard {
    // The numbers of the slots, found by the hashes of their ids.
    table: HashTable<u32>,
    slots: Chunks<Slot>,
    free: Vec<u32>,
    keys: Keys,
    spilled: Vec<Option<Versions>>,
    spilled_free: Vec<u32>,
}

/// What is known of one id. All in words of 32 bits, so that nothing is lost between them.
#[derive(Clone, Copy)]
struct Slot {
    key_at: u32,
    /// Or `SPILLED`.
    epoch: u32,
    sequence: [u32; 2],
    /// Or a place in `spilled`.
    segment: u32,
    offset: u32,
    bytes_and_kind: u32,
    captured_at: u32,
}

const SPILLED: u32 = u32::MAX;

/// As many reads at once as a processor keeps under way, and some more.
pub(super) const WARMED: usize = 16;

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the next id that is added has all hashes computed anew.
    pub(super) fn is_full(&self) -> bool {
        self.table.len() == self.table.capacity()
    }

    /// Returns the slot of an id.
    pub(super) fn find(&self, hash: u64, id: NumberedId<'_>) -> Option<u32> {
        self.table.find(hash, |slot| self.id(*slot) == id).copied()
    }

    /// Returns the slot of an id of this hash for which this holds.
    pub(super) fn find_by(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.table.find(hash, |slot| is_it(*slot)).copied()
    }

    /// Reads what will be looked at to find ids of these hashes, `WARMED` at most.
    ///
    /// To find one id takes several reads from memory, each of which has to wait for the one
    /// before. Here the processor waits for those of all ids at the same time.
    pub(super) fn warm(&self, hashes: impl Iterator<Item = u64>) {
        let mut numbers = [0; WARMED];
        let mut keys = [0; WARMED];
        for (number, hash) in numbers.iter_mut().zip(hashes) {
            // Most likely it is the first one that has the same bits of the hash.
            *number = self.table.find(hash, |_| true).copied().unwrap_or(0);
        }
        for (key, number) in keys.iter_mut().zip(numbers) {
            *key = self.slots.get(number).map_or(0, |slot| slot.key_at);
        }
        let bytes = keys.map(|key| self.keys.first_byte(key));
        std::hint::black_box(bytes);
    }

    /// Returns the numbers of all slots, in the order in which they lie in memory.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        let mut is_used = Vec::new();
        for slot in &self.table {
            let at = *slot as usize;
            if at >= is_used.len() {
                is_used.resize(at + 1, false);
            }
            if let Some(is_used) = is_used.get_mut(at) {
                *is_used = true;
            }
        }
        (0..).zip(is_used).filter_map(|(slot, is_used)| is_used.then_some(slot))
    }

    /// Returns the numbers of the slots of which more than one version counts, among others.
    pub(super) fn with_older(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter().filter(|slot| self.slot(*slot).epoch == SPILLED)
    }

    /// Adds an id that is not there. `rehash` tells the hash of any id.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        (prototype, key): NumberedId<'_>,
        place: Place,
        rehash: impl Fn(NumberedId<'_>) -> u64,
    ) {
        let key_at = self.keys.add(prototype, key);
        let empty = Slot::one(key_at, place).unwrap_or(Slot::spilled(key_at, 0));
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(slot) = self.slots.get_mut(number) {
                    *slot = empty;
                }
                number
            }
            None => self.slots.push(empty),
        };
        if empty.epoch == SPILLED {
            let spilled = self.spill(Versions { newest: place, older: Vec::new() });
            self.set_slot(number, Slot::spilled(key_at, spilled));
        }
        let (slots, keys) = (&self.slots, &self.keys);
        self.table.insert_unique(hash, number, |number| rehash(id_of(slots, keys, *number)));
    }

    /// Removes an id.
    pub(super) fn remove(&mut self, hash: u64, number: u32) {
        let Ok(found) = self.table.find_entry(hash, |slot| *slot == number) else { return };
        found.remove();
        let slot = self.slot(number);
        drop(self.unspill(slot));
        self.keys.remove(slot.key_at);
        self.free.push(number);
        if self.keys.is_worth_rebuilding() || self.len() == 0 {
            self.rebuild_keys();
        }
    }

    /// Returns the prototype and the key of a slot.
    pub(super) fn id(&self, number: u32) -> NumberedId<'_> {
        id_of(&self.slots, &self.keys, number)
    }

    /// Returns the place of the newest version.
    pub(super) fn newest(&self, number: u32) -> Place {
        let slot = self.slot(number);
        slot.place().unwrap_or_else(|| self.spilled(slot).newest)
    }

    /// Returns the places of all versions, the newest first.
    pub(super) fn places(&self, number: u32) -> impl Iterator<Item = Place> + '_ {
        let slot = self.slot(number);
        let spilled = if slot.epoch == SPILLED { Some(self.spilled(slot)) } else { None };
        let newest = slot.place().or(spilled.map(|spilled| spilled.newest));
        let older = spilled.into_iter().flat_map(|spilled| spilled.older.iter().copied());
        newest.into_iter().chain(older)
    }

    /// Changes the versions of a slot.
    pub(super) fn change<R>(&mut self, number: u32, change: impl FnOnce(&mut Versions) -> R) -> R {
        let slot = self.slot(number);
        let one = slot.place().map(|newest| Versions { newest, older: Vec::new() });
        let mut versions = match one.or_else(|| self.unspill(slot)) {
            Some(versions) => versions,
            None => unreachable!("what is spilled is there"),
        };
        let changed = change(&mut versions);
        let packed = match versions.older.is_empty() {
            true => Slot::one(slot.key_at, versions.newest),
            false => None,
        };
        let packed = packed.unwrap_or_else(|| {
            let spilled = self.spill(versions);
            Slot::spilled(slot.key_at, spilled)
        });
        self.set_slot(number, packed);
        changed
    }

    /// How many bytes all of it takes, keys included.
    pub(super) fn memory(&self) -> usize {
        let spilled = self.spilled.iter().flatten().map(|versions| versions.older.capacity());
        self.table.allocation_size()
            + self.slots.memory()
            + self.keys.memory()
            + (self.free.capacity() + self.spilled_free.capacity()) * size_of::<u32>()
            + self.spilled.capacity() * size_of::<Option<Versions>>()
            + spilled.sum::<usize>() * size_of::<Place>()
    }

    fn slot(&self, number: u32) -> Slot {
        match self.slots.get(number) {
            Some(slot) => *slot,
            None => unreachable!("only slots that are there have numbers"),
        }
    }

    fn set_slot(&mut self, number: u32, new: Slot) {
        if let Some(slot) = self.slots.get_mut(number) {
            *slot = new;
        }
    }

    fn spilled(&self, slot: Slot) -> &Versions {
        match self.spilled.get(slot.segment as usize) {
            Some(Some(versions)) => versions,
            Some(None) | None => unreachable!("what is spilled is there"),
        }
    }

    fn spill(&mut self, versions: Versions) -> u32 {
        if let Some(free) = self.spilled_free.pop()
            && let Some(place) = self.spilled.get_mut(free as usize)
        {
            *place = Some(versions);
            return free;
        }
        self.spilled.push(Some(versions));
        u32::try_from(self.spilled.len() - 1).unwrap_or(u32::MAX)
    }

    fn unspill(&mut self, slot: Slot) -> Option<Versions> {
        if slot.epoch != SPILLED {
            return None;
        }
        let versions = self.spilled.get_mut(slot.segment as usize).and_then(Option::take);
        self.spilled_free.push(slot.segment);
        versions
    }

    fn rebuild_keys(&mut self) {
        let old = std::mem::take(&mut self.keys);
        for number in &self.table {
            if let Some(slot) = self.slots.get_mut(*number) {
                let (prototype, key) = old.get(slot.key_at);
                slot.key_at = self.keys.add(prototype, key);
            }
        }
    }
}

fn id_of<'a>(slots: &Chunks<Slot>, keys: &'a Keys, number: u32) -> NumberedId<'a> {
    slots.get(number).map_or((u32::MAX, &[]), |slot| keys.get(slot.key_at))
}

impl Slot {
    /// Of an id of one version, if that fits.
    fn one(key_at: u32, place: Place) -> Option<Self> {
        let epoch = u32::try_from(place.version.epoch.0).ok().filter(|epoch| *epoch != SPILLED)?;
        let sequence = place.version.sequence.0;
        let [a, b, c, d, e, f, g, h] = sequence.to_le_bytes();
        Some(Self {
            key_at,
            epoch,
            sequence: [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])],
            segment: place.segment,
            offset: place.offset,
            bytes_and_kind: place.bytes_and_kind,
            captured_at: place.captured_at,
        })
    }

    fn spilled(key_at: u32, spilled: u32) -> Self {
        let (epoch, segment) = (SPILLED, spilled);
        let sequence = [0; 2];
        Self { key_at, epoch, sequence, segment, offset: 0, bytes_and_kind: 0, captured_at: 0 }
    }

    fn place(self) -> Option<Place> {
        if self.epoch == SPILLED {
            return None;
        }
        let [low, high] = self.sequence;
        let sequence = Sequence(u64::from(low) | u64::from(high) << 32);
        Some(Place {
            version: StateVersion { epoch: Epoch(u64::from(self.epoch)), sequence },
            segment: self.segment,
            offset: self.offset,
            bytes_and_kind: self.bytes_and_kind,
            captured_at: self.captured_at,
        })
    }
}

/// Things by number. It grows without a copy and without room for twice as many.
struct Chunks<T>(Vec<Vec<T>>);

const CHUNK_BITS: u32 = 7;
const CHUNK: usize = 1 << CHUNK_BITS;

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Chunks<T> {
    fn get(&self, number: u32) -> Option<&T> {
        self.0.get((number >> CHUNK_BITS) as usize)?.get(number as usize % CHUNK)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.0.get_mut((number >> CHUNK_BITS) as usize)?.get_mut(number as usize % CHUNK)
    }

    fn push(&mut self, thing: T) -> u32 {
        if self.0.last().is_none_or(|last| last.len() == CHUNK) {
            self.0.push(Vec::new());
        }
        let full = (self.0.len() - 1) * CHUNK;
        let last = self.0.last_mut().map_or(0, |last| {
            last.push(thing);
            last.len() - 1
        });
        u32::try_from(full + last).unwrap_or(u32::MAX)
    }

    fn memory(&self) -> usize {
        let chunks = self.0.iter().map(|chunk| chunk.capacity() * size_of::<T>());
        chunks.sum::<usize>() + self.0.capacity() * size_of::<Vec<T>>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::RecordKind;

    fn hash((prototype, key): NumberedId<'_>) -> u64 {
        // Many of the same hash.
        (u64::from(prototype) + key.len() as u64) % 5
    }

    fn place(epoch: u64, sequence: u64) -> Place {
        Place::known(StateVersion::new(epoch, sequence), RecordKind::State, 7, 8, (9, 10))
    }

    fn check(shard: &Shard, expected: &BTreeMap<(u32, Vec<u8>), Versions>) {
        assert_eq!(shard.len(), expected.len());
        for ((prototype, key), versions) in expected {
            let id = (*prototype, &**key);
            let slot = shard.find(hash(id), id).expect("it is there");
            assert_eq!(shard.id(slot), id);
            assert_eq!(shard.newest(slot), versions.newest);
            let places: Vec<_> = shard.places(slot).collect();
            assert_eq!(places[0], versions.newest);
            assert_eq!(places[1..], versions.older);
        }
    }

    #[test]
    fn whatever_is_put_in_and_taken_out_the_rest_is_as_it_was() {
        let mut shard = Shard::default();
        let mut expected = BTreeMap::new();
        let mut x = 1_u64;
        let mut random = |below: usize| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            usize::try_from(x % below as u64).unwrap()
        };
        let epochs = [0, 1, u64::from(SPILLED) - 1, u64::from(SPILLED), u64::MAX];
        for step in 0..4000 {
            let prototype = [0, 1, 254, 255, 256, u32::MAX][random(6)];
            // Short ones, some that need a chunk of their own, and the longest that may be.
            let length = [0, 3, 8, 254, 255, 4093, 4094, 65_536][random(8).min(random(8))];
            let key = vec![[0, 7, 255][random(3)]; length];
            let new = place(epochs[random(5)], ((random(4) as u64) << 31) + step);
            let id = (prototype, &*key);
            match (shard.find(hash(id), id), random(3)) {
                (None, _) => {
                    shard.insert(hash(id), id, new, hash);
                    expected.insert((prototype, key), Versions { newest: new, older: vec![] });
                }
                (Some(slot), 0) => {
                    shard.remove(hash(id), slot);
                    expected.remove(&(prototype, key));
                }
                (Some(slot), 1) => {
                    let add = |versions: &mut Versions| {
                        let before = std::mem::replace(&mut versions.newest, new);
                        versions.older.insert(0, before);
                    };
                    shard.change(slot, add);
                    add(expected.get_mut(&(prototype, key)).unwrap());
                }
                (Some(slot), _) => {
                    let one = |versions: &mut Versions| {
                        *versions = Versions { newest: new, older: Vec::new() };
                    };
                    shard.change(slot, one);
                    one(expected.get_mut(&(prototype, key)).unwrap());
                }
            }
            if step % 200 == 0 {
                check(&shard, &expected);
            }
        }
        check(&shard, &expected);
        let slots: Vec<_> = shard.iter().collect();
        for slot in slots {
            shard.remove(hash(shard.id(slot)), slot);
        }
        assert_eq!(shard.len(), 0);
        assert!(shard.keys.is_empty(), "what is removed last leaves nothing behind");
    }

    #[test]
    fn an_id_takes_at_most_48_bytes_beside_its_key() {
        let mut shard = Shard::default();
        for count in 1..=50_000_u32 {
            let key = u64::from(count).to_be_bytes();
            let hash = |(_, key): NumberedId<'_>| xxhash_rust::xxh3::xxh3_64(key);
            shard.insert(hash((0, &key)), (0, &key), place(1, 1), hash);
            if count >= 1000 {
                let each = shard.memory() as f64 / f64::from(count) - 8.0;
                assert!(each <= 48.0, "{each} bytes each of {count}");
            }
        }
    }
}
