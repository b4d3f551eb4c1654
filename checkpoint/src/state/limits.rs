//! The limits within which state is encoded and decoded.

/// How deep derived types may be nested in each other, while encoding and while decoding.
///
/// Fixed, because it protects the stack, whose size the library does not know.
pub(crate) const DEPTH_MAX: u32 = 128;

/// How large the derived types may be together that are nested in each other, the outermost apart.
///
/// Each level keeps a value or several on the stack. The size of the outermost is the program's own
/// choice; how often others are nested in it is up to the bytes. In debug builds a level needs
/// about eight times the size of its type; so this is about half of what a thread has by default.
pub(crate) const NESTED_BYTES_MAX: usize = 128 << 10;

/// How many elements without a single encoded byte one sequence may have.
///
/// The length of every other sequence is bounded by the bytes that are there.
pub(crate) const EMPTY_ELEMENTS_MAX: usize = 1 << 16;

/// Bounds the size of a state, encoded and in memory.
///
/// The same numbers hold while encoding and while decoding, so that whatever is accepted for
/// storing can be restored. Beside the two that can be set, derived types may be nested 128 deep,
/// as long as those nested in another are not larger than 128 KiB together, and a sequence may have
/// 65,536 elements that encode to no bytes at all.
///
/// # Examples
///
/// ```
/// use checkpoint::{StateLimits, encode_state};
///
/// let limits = StateLimits::default().with_state_bytes_max(16);
/// assert!(encode_state(&vec![0_u8; 8], &limits).is_ok());
/// assert!(encode_state(&vec![0_u8; 9], &limits).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLimits {
    state_bytes_max: usize,
    memory_bytes_max: usize,
}

impl StateLimits {
    /// The limits of `StateLimits::default()`.
    pub const DEFAULT: Self = Self { state_bytes_max: 64 << 20, memory_bytes_max: 256 << 20 };
}

impl Default for StateLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl StateLimits {
    /// Sets how many bytes one encoded state may have; by default 64 MiB.
    #[must_use]
    pub const fn with_state_bytes_max(self, state_bytes: usize) -> Self {
        Self { state_bytes_max: state_bytes, ..self }
    }

    /// Sets how many bytes of memory one state may need while it is decoded; by default 256 MiB.
    ///
    /// Counted is what containers and boxes allocate for their elements; a text needs as much as
    /// its encoding, which [`with_state_bytes_max`](Self::with_state_bytes_max) bounds. Encoding
    /// counts the same.
    #[must_use]
    pub const fn with_memory_bytes_max(self, memory_bytes: usize) -> Self {
        Self { memory_bytes_max: memory_bytes, ..self }
    }

    /// How many bytes one encoded state may have.
    #[must_use]
    pub const fn state_bytes_max(&self) -> usize {
        self.state_bytes_max
    }

    /// How many bytes of memory one state may need while it is decoded.
    #[must_use]
    pub const fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }
}
