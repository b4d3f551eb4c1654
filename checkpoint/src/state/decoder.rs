//! Where the bytes of a state are read from.

use std::fmt;

use crate::state::limits::{DEPTH_MAX, EMPTY_ELEMENTS_MAX, NESTED_BYTES_MAX};
use crate::state::{DecodeError, DecodeErrorKind, ElementSize, StateLimits};

/// Hands out the bytes of a state, within [`StateLimits`].
///
/// The bytes may be anything: every method checks what it returns, and no length that they claim is
/// believed before there are bytes and memory for it.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    // How many bytes lie behind `rest`, while a part of the state is decoded by itself.
    behind: usize,
    state_bytes: usize,
    memory_left: usize,
    depth: u32,
    // The sizes of the types nested in the outermost one.
    nested_bytes: usize,
    limits: StateLimits,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8], limits: &StateLimits) -> Result<Self, DecodeError> {
        if bytes.len() > limits.state_bytes_max() {
            return Err(DecodeError::new(
                DecodeErrorKind::TooLarge,
                0,
                format!("at most {} bytes", limits.state_bytes_max()),
                format!("{} bytes", bytes.len()),
            ));
        }
        let memory_left = limits.memory_bytes_max();
        Ok(Self {
            rest: bytes,
            behind: 0,
            state_bytes: bytes.len(),
            memory_left,
            depth: 0,
            nested_bytes: 0,
            limits: *limits,
        })
    }

    /// Takes the next `count` bytes as they are.
    ///
    /// # Errors
    ///
    /// If there are fewer.
    #[inline]
    pub fn read_bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((bytes, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.unexpected_end(count));
        };
        self.rest = rest;
        Ok(bytes)
    }

    /// Takes the next `N` bytes as they are.
    ///
    /// # Errors
    ///
    /// If there are fewer.
    #[inline]
    pub fn read_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.unexpected_end(N));
        };
        self.rest = rest;
        Ok(*bytes)
    }

    /// Takes the number of a sequence's elements, which are to follow.
    ///
    /// After that it is safe to allocate memory for so many elements.
    ///
    /// # Errors
    ///
    /// If the rest of the bytes cannot hold so many elements, or if they need more memory than
    /// allowed.
    #[inline]
    pub fn read_count(&mut self, element: ElementSize) -> Result<usize, DecodeError> {
        let claimed = u64::from_le_bytes(self.read_array()?);
        let count_max =
            self.rest.len().checked_div(element.encoded_min).unwrap_or(EMPTY_ELEMENTS_MAX);
        match usize::try_from(claimed) {
            Ok(count) if count <= count_max => {
                self.charge_memory(count, element.memory)?;
                Ok(count)
            }
            _ => Err(self.invalid_length(claimed, count_max)),
        }
    }

    /// Takes a byte string, as [`Encoder::write_byte_string`](crate::Encoder::write_byte_string)
    /// writes it.
    ///
    /// # Errors
    ///
    /// If there are fewer bytes than the length claims.
    #[inline]
    pub fn read_byte_string(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = self.read_count(ElementSize { encoded_min: 1, memory: 0 })?;
        self.read_bytes(count)
    }

    /// Counts memory that is about to be allocated: `count` elements of `each` bytes.
    ///
    /// # Errors
    ///
    /// If that is more than allowed.
    #[inline]
    pub fn charge_memory(&mut self, count: usize, each: usize) -> Result<(), DecodeError> {
        match count.checked_mul(each) {
            Some(memory) if memory <= self.memory_left => {
                self.memory_left -= memory;
                Ok(())
            }
            _ => Err(self.too_much_memory()),
        }
    }

    /// Decodes one level deeper. Every type that can contain itself must use it.
    ///
    /// # Errors
    ///
    /// If that is deeper than 128, or what `decode` returns.
    #[inline]
    pub fn nested<T>(
        &mut self,
        decode: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.enter_type(0)?;
        let value = decode(self)?;
        self.leave_type(0);
        Ok(value)
    }

    /// Begins one more level of nesting, of a type of that size.
    #[inline]
    pub(crate) fn enter_type(&mut self, size: usize) -> Result<(), DecodeError> {
        // The outermost type is as large as it is.
        let nested_bytes = if self.depth == 0 { 0 } else { self.nested_bytes.saturating_add(size) };
        if self.depth >= DEPTH_MAX || nested_bytes > NESTED_BYTES_MAX {
            return Err(self.too_deep());
        }
        self.depth += 1;
        self.nested_bytes = nested_bytes;
        Ok(())
    }

    /// Ends a level of nesting, of a type of that size.
    #[inline]
    pub(crate) fn leave_type(&mut self, size: usize) {
        self.depth -= 1;
        // The outermost was not counted.
        self.nested_bytes = self.nested_bytes.saturating_sub(size);
    }

    /// Decodes the next `count` bytes, all of which `decode` must take, as if nothing followed.
    pub(crate) fn within<T>(
        &mut self,
        count: usize,
        decode: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let Some((part, behind)) = self.rest.split_at_checked(count) else {
            return Err(self.unexpected_end(count));
        };
        self.rest = part;
        self.behind += behind.len();
        let value = decode(self)?;
        self.check_end("the end of the field")?;
        self.rest = behind;
        self.behind -= behind.len();
        Ok(value)
    }

    /// The bytes that are left.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The same decoder with other bytes left: later ones of the same part.
    pub(crate) fn with_rest(&self, rest: &'a [u8]) -> Self {
        Self { rest, ..*self }
    }

    /// How many levels are nested here.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    /// How many bytes are left.
    #[must_use]
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// How many bytes of the state were taken so far.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.state_bytes - self.rest.len() - self.behind
    }

    /// Makes an error for bytes that stand for no value of the type.
    ///
    /// `width` is the number of bytes taken for it so far, so that the error names where it begins.
    #[cold]
    #[must_use]
    pub fn invalid_value(
        &self,
        width: usize,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> DecodeError {
        self.error(DecodeErrorKind::InvalidValue, width, expected.to_string(), found.to_string())
    }

    /// Makes an error for a value that a hand-written implementation refuses.
    #[cold]
    #[must_use]
    pub fn custom(&self, expected: impl fmt::Display, found: impl fmt::Display) -> DecodeError {
        self.error(DecodeErrorKind::Custom, 0, expected.to_string(), found.to_string())
    }

    /// Makes an error for a variant's number, the four bytes before, that no variant has.
    #[cold]
    #[must_use]
    pub fn unknown_variant(&self, number: u32, variants: u32) -> DecodeError {
        let expected = match variants.checked_sub(1) {
            Some(last) => format!("a variant's number from 0 to {last}"),
            None => "nothing, for the enum has no variants".to_owned(),
        };
        self.error(DecodeErrorKind::UnknownVariant, 4, expected, number.to_string())
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        self.check_end("the end of the state")
    }

    fn check_end(&self, expected: &str) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let found = format!("{} more bytes", self.rest.len());
        Err(self.error(DecodeErrorKind::TrailingBytes, 0, expected, found))
    }

    #[cold]
    pub(crate) fn error(
        &self,
        kind: DecodeErrorKind,
        width: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> DecodeError {
        DecodeError::new(kind, self.offset().saturating_sub(width), expected, found)
    }

    #[cold]
    pub(crate) fn duplicate_key(&self) -> DecodeError {
        self.error(DecodeErrorKind::DuplicateKey, 0, "every key once", "one key twice")
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn out_of_memory(&self, count: usize) -> DecodeError {
        let expected = format!("memory for {count} elements");
        self.error(DecodeErrorKind::TooMuchMemory, 0, expected, "that the allocator has not enough")
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn unexpected_end(&self, count: usize) -> DecodeError {
        let (expected, found) = (format!("{count} bytes"), format!("{}", self.rest.len()));
        self.error(DecodeErrorKind::UnexpectedEnd, 0, expected, found)
    }

    #[cold]
    #[inline(never)]
    fn invalid_length(&self, claimed: u64, count_max: usize) -> DecodeError {
        let expected = format!("a length of at most {count_max}");
        self.error(DecodeErrorKind::InvalidLength, 8, expected, claimed.to_string())
    }

    #[cold]
    #[inline(never)]
    fn too_much_memory(&self) -> DecodeError {
        let limit = self.limits.memory_bytes_max();
        let expected = format!("a state that needs at most {limit} bytes of memory");
        self.error(DecodeErrorKind::TooMuchMemory, 0, expected, "one that needs more")
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn too_deep(&self) -> DecodeError {
        let expected =
            format!("types nested at most {DEPTH_MAX} deep and {NESTED_BYTES_MAX} bytes");
        self.error(DecodeErrorKind::TooDeep, 0, expected, "deeper nesting")
    }
}
