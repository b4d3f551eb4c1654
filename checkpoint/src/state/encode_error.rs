//! Why a state could not be encoded.

use std::fmt;

use crate::state::field_path::FieldPath;

/// Tells why a state could not be encoded, and at which field.
///
/// Every kind is permanent: the same state fails again.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodeError {
    // Boxed: `Result<(), EncodeError>` is what every field returns, and is to fit into a register.
    inner: Box<Inner>,
}

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: EncodeErrorKind,
    path: FieldPath,
    message: String,
}

/// The kinds of [`EncodeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// The encoded state would have more than `limit` bytes.
    TooLarge {
        /// [`StateLimits::state_bytes_max`](crate::StateLimits::state_bytes_max), or 4 GiB for a
        /// field that serde stores.
        limit: usize,
    },
    /// Restoring the state would need more than `limit` bytes of memory.
    TooMuchMemory {
        /// [`StateLimits::memory_bytes_max`](crate::StateLimits::memory_bytes_max).
        limit: usize,
    },
    /// A sequence has more than `limit` elements that encode to no bytes.
    TooManyElements {
        /// The fixed limit, 65,536.
        limit: usize,
    },
    /// Types are nested more than 128 deep, or are larger than 128 KiB together.
    TooDeep,
    /// A field marked `#[checkpoint(serde, …)]` could not be serialized.
    Serde,
    /// The value has no encoding, such as a time before 1970.
    Unsupported,
    /// The state is larger than what may be encoded under a lock; it is encoded again elsewhere.
    Paused,
    /// A hand-written implementation refused the value.
    Custom,
}

impl EncodeError {
    /// Makes an error for a value that a hand-written implementation refuses.
    #[must_use]
    pub fn custom(message: impl fmt::Display) -> Self {
        Self::new(EncodeErrorKind::Custom, message.to_string())
    }

    /// Tells the kind of the error.
    #[must_use]
    pub fn kind(&self) -> EncodeErrorKind {
        self.inner.kind
    }

    /// Returns the path of the field that could not be encoded, such as `orders[..].price`; empty
    /// for the state as a whole.
    #[must_use]
    pub fn field(&self) -> String {
        self.inner.path.to_string()
    }

    /// Says that the error happened inside `step`: a field's name, or `[..]` for an element.
    #[cold]
    #[must_use]
    pub fn in_field(mut self, step: &'static str) -> Self {
        self.inner.path.push(step);
        self
    }

    #[cold]
    pub(crate) fn unsupported(message: &str) -> Self {
        Self::new(EncodeErrorKind::Unsupported, message.to_owned())
    }

    #[cold]
    pub(crate) fn new(kind: EncodeErrorKind, message: String) -> Self {
        Self { inner: Box::new(Inner { kind, path: FieldPath::default(), message }) }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.inner.path.is_empty() {
            write!(f, "field `{}`: ", self.inner.path)?;
        }
        match self.inner.kind {
            EncodeErrorKind::TooLarge { limit } => {
                write!(f, "the encoded state has more than the {limit} bytes allowed")
            }
            EncodeErrorKind::TooMuchMemory { limit } => {
                write!(f, "restoring would need more than the {limit} bytes of memory allowed")
            }
            EncodeErrorKind::TooManyElements { limit } => {
                write!(f, "more than {limit} elements that encode to no bytes")
            }
            EncodeErrorKind::TooDeep => {
                f.write_str("types are nested more than 128 deep or 131072 bytes")
            }
            EncodeErrorKind::Paused => f.write_str("the state is too large to encode in one go"),
            EncodeErrorKind::Serde | EncodeErrorKind::Unsupported | EncodeErrorKind::Custom => {
                f.write_str(&self.inner.message)
            }
        }
    }
}

impl fmt::Debug for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodeError")
            .field("kind", &self.inner.kind)
            .field("field", &self.field())
            .field("message", &self.inner.message)
            .finish()
    }
}

impl std::error::Error for EncodeError {}
