//! The keys of a part of the index, without an allocation for each.

/// An id as the index compares it: what its prototype's name has as a number, and its key.
pub(super) type NumberedId<'a> = (u32, &'a [u8]);

/// The keys, one behind the other, each behind its prototype and its length.
#[derive(Default)]
pub(super) struct Keys {
    chunks: Vec<Vec<u8>>,
    bytes: usize,
    removed_bytes: usize,
}

const KEY_CHUNK_BITS: u32 = 12;
/// A longer key has a chunk of its own.
const KEY_CHUNK: usize = 1 << KEY_CHUNK_BITS;
/// Less is not worth it.
const REBUILT_BYTES_MIN: usize = 16 << 10;

impl Keys {
    /// Returns where the key is.
    pub(super) fn add(&mut self, prototype: u32, key: &[u8]) -> u32 {
        let key_bytes = u32::try_from(key.len()).unwrap_or(u32::MAX);
        let needed = number_bytes(prototype) + number_bytes(key_bytes) + key.len();
        if self.chunks.last().is_none_or(|last| last.len() + needed > KEY_CHUNK) {
            self.chunks.push(Vec::new());
        }
        let chunk = self.chunks.len() - 1;
        let Some(last) = self.chunks.last_mut() else { unreachable!("there is one now") };
        let start = last.len();
        if last.capacity() - start < needed {
            // As much again, but no more than the chunk may ever have.
            last.reserve_exact(needed.max(start.min(KEY_CHUNK - start)));
        }
        put_number(prototype, last);
        put_number(key_bytes, last);
        last.extend_from_slice(key);
        self.bytes += needed;
        // 4 GiB of keys are in reach of a shard: there is no memory for so many.
        u32::try_from(chunk << KEY_CHUNK_BITS | start).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, at: u32) -> NumberedId<'_> {
        let chunk = self.chunks.get((at >> KEY_CHUNK_BITS) as usize);
        let bytes = chunk.and_then(|chunk| chunk.get(at as usize % KEY_CHUNK..));
        let found = bytes.and_then(|bytes| {
            let (prototype, bytes) = take_number(bytes)?;
            let (key_bytes, bytes) = take_number(bytes)?;
            Some((prototype, bytes.get(..key_bytes as usize)?))
        });
        match found {
            Some(id) => id,
            None => unreachable!("every slot has a key"),
        }
    }

    pub(super) fn first_byte(&self, at: u32) -> u8 {
        let chunk = self.chunks.get((at >> KEY_CHUNK_BITS) as usize);
        chunk.and_then(|chunk| chunk.get(at as usize % KEY_CHUNK)).copied().unwrap_or(0)
    }

    /// The bytes stay until the keys are rebuilt.
    pub(super) fn remove(&mut self, at: u32) {
        let (prototype, key) = self.get(at);
        let key_bytes = u32::try_from(key.len()).unwrap_or(u32::MAX);
        self.removed_bytes += number_bytes(prototype) + number_bytes(key_bytes) + key.len();
    }

    /// Whether most of it was removed.
    pub(super) fn is_worth_rebuilding(&self) -> bool {
        self.removed_bytes >= REBUILT_BYTES_MIN && self.removed_bytes > self.bytes / 2
    }

    /// Whether there are none, not even removed ones.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn memory(&self) -> usize {
        let chunks = self.chunks.iter().map(Vec::capacity);
        chunks.sum::<usize>() + self.chunks.capacity() * size_of::<Vec<u8>>()
    }
}

/// Behind it, a larger number.
const LARGE: u8 = u8::MAX;

fn number_bytes(number: u32) -> usize {
    if number < u32::from(LARGE) { 1 } else { 5 }
}

fn put_number(number: u32, bytes: &mut Vec<u8>) {
    match u8::try_from(number) {
        Ok(small) if small != LARGE => bytes.push(small),
        Ok(_) | Err(_) => {
            bytes.push(LARGE);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
}

fn take_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != LARGE {
        return Some((u32::from(*first), rest));
    }
    let (number, rest) = rest.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}
