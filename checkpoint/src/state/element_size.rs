//! What one element of a sequence costs, encoded and in memory.

use crate::state::Checkpointable;

/// What one element of a sequence costs, encoded and in memory.
///
/// Bounds what a length prefix may claim. [`Encoder::write_count`](crate::Encoder::write_count)
/// and [`Decoder::read_count`](crate::Decoder::read_count) must be given the same value, or a state
/// could be stored and not be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementSize {
    pub(crate) encoded_min: usize,
    pub(crate) memory: usize,
}

impl ElementSize {
    /// The costs of an element of type `T` in a plain array.
    #[must_use]
    pub const fn of<T: Checkpointable>() -> Self {
        Self { encoded_min: T::MIN_SIZE, memory: size_of::<T>() }
    }

    /// The costs of an entry of a map.
    #[must_use]
    pub const fn of_entry<K: Checkpointable, V: Checkpointable>() -> Self {
        Self { encoded_min: K::MIN_SIZE + V::MIN_SIZE, memory: size_of::<(K, V)>() }
    }

    /// The same element in a container that allocates so many more bytes for each.
    #[must_use]
    pub const fn with_overhead(self, memory_bytes: usize) -> Self {
        Self { memory: self.memory + memory_bytes, ..self }
    }

    /// The same element where its memory is counted by other means.
    pub(crate) const fn without_memory(self) -> Self {
        Self { memory: 0, ..self }
    }
}

/// How many elements a hash table made for `count` elements has room for.
///
/// It is filled to seven eighths at most, and the room is a power of two.
pub(crate) fn hash_table_room(count: usize) -> usize {
    match count {
        0 => 0,
        1..4 => 4,
        4..8 => 8,
        // The count was checked before: no overflow but on purpose, and then it is refused.
        _ => (count / 7)
            .saturating_mul(8)
            .saturating_add(8)
            .checked_next_power_of_two()
            .unwrap_or(usize::MAX),
    }
}

/// How many elements a sorted array and the tree that is built of it have room for.
///
/// A tree has room for eleven elements in each of its nodes, which are filled but for the last.
pub(crate) fn tree_room(count: usize) -> usize {
    if count == 0 { 0 } else { count.saturating_mul(2).saturating_add(12) }
}
