//! Why a state could not be decoded.

use std::fmt;

use crate::state::field_path::FieldPath;

/// Tells why bytes are not a state of the type asked for: at which field and byte, what was
/// expected there and what was found.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeError {
    inner: Box<Inner>,
}

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: DecodeErrorKind,
    path: FieldPath,
    offset: usize,
    expected: String,
    found: String,
}

/// The kinds of [`DecodeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes end before the state does.
    UnexpectedEnd,
    /// A length prefix claims more elements than the rest of the bytes can hold.
    InvalidLength,
    /// The bytes stand for no value of the type, such as a bool that is 7.
    InvalidValue,
    /// The number of an enum's variant is unknown.
    UnknownVariant,
    /// A map or a set contains one key twice.
    DuplicateKey,
    /// There are more bytes than the state allows.
    TooLarge,
    /// Restoring the state would need more memory than allowed.
    TooMuchMemory,
    /// Types are nested more than 128 deep, or are larger than 128 KiB together.
    TooDeep,
    /// Bytes are left over behind the state.
    TrailingBytes,
    /// A field marked `#[checkpoint(serde, …)]` could not be deserialized.
    Serde,
    /// A stored description of a schema is damaged.
    Schema,
    /// A hand-written implementation refused the value.
    Custom,
}

impl DecodeError {
    /// Tells the kind of the error.
    #[must_use]
    pub fn kind(&self) -> DecodeErrorKind {
        self.inner.kind
    }

    /// Returns the path of the field that could not be decoded, such as `orders[..].price`; empty
    /// for the state as a whole.
    #[must_use]
    pub fn field(&self) -> String {
        self.inner.path.to_string()
    }

    /// Returns the offset, in the encoded state, of the bytes that are at fault.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.inner.offset
    }

    /// Says what was expected there.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.inner.expected
    }

    /// Says what was found there.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.inner.found
    }

    /// Says that the error happened inside `step`: a field's name, or `[..]` for an element.
    #[cold]
    #[must_use]
    pub fn in_field(mut self, step: &'static str) -> Self {
        self.inner.path.push(step);
        self
    }

    #[cold]
    pub(crate) fn new(
        kind: DecodeErrorKind,
        offset: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self {
            inner: Box::new(Inner { kind, path: FieldPath::default(), offset, expected, found }),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { path, offset, expected, found, .. } = &*self.inner;
        if !path.is_empty() {
            write!(f, "field `{path}`: ")?;
        }
        write!(f, "expected {expected} at byte {offset}, found {found}")
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodeError")
            .field("kind", &self.inner.kind)
            .field("field", &self.field())
            .field("offset", &self.inner.offset)
            .field("expected", &self.inner.expected)
            .field("found", &self.inner.found)
            .finish()
    }
}

impl std::error::Error for DecodeError {}
