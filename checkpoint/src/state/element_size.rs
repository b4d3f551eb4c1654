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

    /// The same element in a container that allocates room for up to twice as many.
    #[must_use]
    pub const fn doubled(self) -> Self {
        Self { memory: self.memory * 2, ..self }
    }
}
