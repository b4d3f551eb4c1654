//! Where the bytes of a state are written to.

use crate::state::disorder::Disorder;
use crate::state::limits::{DEPTH_MAX, EMPTY_ELEMENTS_MAX, NESTED_BYTES_MAX};
use crate::state::{ElementSize, EncodeError, EncodeErrorKind, StateLimits};

/// Takes the bytes of a state, within [`StateLimits`].
///
/// Hand-written implementations of [`Checkpointable`](crate::Checkpointable) write by its methods
/// and by the `encode` of their fields. What one method charges here, its counterpart in
/// [`Decoder`](crate::Decoder) charges too: so whatever is encoded can be decoded.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    // Invariant: `bytes.len() <= end`.
    end: usize,
    memory_left: usize,
    depth: u32,
    // The sizes of the types nested in the outermost one.
    nested_bytes: usize,
    paused_at_end: bool,
    // Noted only for a comparison. Boxed: an encoder is made for each capture, and this is to cost
    // it one word.
    disorder: Option<Box<Disorder>>,
    limits: StateLimits,
}

impl Encoder {
    /// Makes an encoder that appends to `bytes`. The limits count only what is appended.
    // Inlined, as is its counterpart: an encoder that is moved costs more than a small state.
    #[inline]
    #[must_use]
    pub fn new(bytes: Vec<u8>, limits: &StateLimits) -> Self {
        let end = bytes.len().saturating_add(limits.state_bytes_max());
        let memory_left = limits.memory_bytes_max();
        Self {
            bytes,
            end,
            memory_left,
            depth: 0,
            nested_bytes: 0,
            paused_at_end: false,
            disorder: None,
            limits: *limits,
        }
    }

    /// Makes encoding stop with [`EncodeErrorKind::Paused`] before more than so many bytes are
    /// appended.
    ///
    /// Must be called before anything is encoded.
    #[must_use]
    pub(crate) fn pause_at(mut self, state_bytes: usize) -> Self {
        let end = self.bytes.len().saturating_add(state_bytes);
        if end < self.end {
            self.end = end;
            self.paused_at_end = true;
        }
        self
    }

    /// Makes the encoder note what has no order of its own.
    ///
    /// Must be called before anything is encoded.
    #[must_use]
    pub(crate) fn noting_disorder(self) -> Self {
        Self { disorder: Some(Box::new(Disorder::beginning_at(self.bytes.len()))), ..self }
    }

    /// Returns the buffer, and what was noted.
    #[inline]
    pub(crate) fn into_parts(self) -> (Vec<u8>, Option<Box<Disorder>>) {
        (self.bytes, self.disorder)
    }

    /// Returns the buffer: what it held at first and all that was appended, also after an error.
    #[inline]
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends bytes as they are.
    ///
    /// # Errors
    ///
    /// If the state gets larger than allowed.
    #[inline]
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if self.write_if_room(bytes) { Ok(()) } else { Err(self.full()) }
    }

    /// Appends all of the bytes, or nothing; returns whether they were within the limit.
    #[inline]
    pub(crate) fn write_if_room(&mut self, bytes: &[u8]) -> bool {
        let has_room = bytes.len() <= self.end - self.bytes.len();
        if has_room {
            self.bytes.extend_from_slice(bytes);
        }
        has_room
    }

    /// Appends the number of a sequence's elements, which are to follow.
    ///
    /// # Errors
    ///
    /// If the elements need more memory than allowed when they are decoded, or are too many that
    /// encode to no bytes.
    #[inline]
    pub fn write_count(&mut self, count: usize, element: ElementSize) -> Result<(), EncodeError> {
        if element.encoded_min == 0 && count > EMPTY_ELEMENTS_MAX {
            return Err(too_many_elements());
        }
        self.charge_memory(count, element.memory)?;
        self.write_bytes(&(count as u64).to_le_bytes())
    }

    /// Appends the elements of a sequence: their number, and each by `encode`.
    #[inline]
    pub(crate) fn write_ordered<I: ExactSizeIterator>(
        &mut self,
        items: I,
        element: ElementSize,
        mut encode: impl FnMut(I::Item, &mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.write_count(items.len(), element)?;
        for item in items {
            encode(item, self)?;
        }
        Ok(())
    }

    /// Appends the elements of a collection that has no order of its own: their number, and each by
    /// `encode`.
    ///
    /// Whoever compares two encodings takes the elements in any order to be the same.
    ///
    /// # Errors
    ///
    /// Those of [`write_count`](Self::write_count) and of `encode`.
    #[inline]
    pub fn write_unordered<I>(
        &mut self,
        items: I,
        element: ElementSize,
        mut encode: impl FnMut(I::Item, &mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError>
    where
        I: ExactSizeIterator,
    {
        if self.disorder.is_some() {
            return self.write_and_note(items, element, encode);
        }
        self.write_count(items.len(), element)?;
        for item in items {
            encode(item, self)?;
        }
        Ok(())
    }

    /// Out of the way of encoding without a comparison.
    #[cold]
    #[inline(never)]
    fn write_and_note<I: ExactSizeIterator>(
        &mut self,
        items: I,
        element: ElementSize,
        mut encode: impl FnMut(I::Item, &mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        self.write_count(items.len(), element)?;
        let mut bounds = vec![self.bytes.len()];
        for item in items {
            encode(item, self)?;
            bounds.push(self.bytes.len());
        }
        if let Some(disorder) = &mut self.disorder {
            disorder.note_elements(start, bounds);
        }
        Ok(())
    }

    /// Appends a byte string: the number of its bytes, and the bytes.
    ///
    /// # Errors
    ///
    /// If the state gets larger than allowed.
    #[inline]
    pub fn write_byte_string(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        // No memory is charged: it will need as much as its encoding, which is bounded itself.
        // One check for both; no slice is so long that this could overflow.
        let appended = bytes.len() + size_of::<u64>();
        if appended > self.end - self.bytes.len() {
            return Err(self.full());
        }
        self.bytes.reserve(appended);
        self.bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Counts memory that decoding will allocate: `count` elements of `each` bytes.
    ///
    /// # Errors
    ///
    /// If that is more than allowed.
    #[inline]
    pub fn charge_memory(&mut self, count: usize, each: usize) -> Result<(), EncodeError> {
        match count.checked_mul(each) {
            Some(memory) if memory <= self.memory_left => {
                self.memory_left -= memory;
                Ok(())
            }
            _ => Err(self.too_much_memory()),
        }
    }

    /// Appends items of `size` bytes each.
    #[inline]
    pub(crate) fn write_fixed<T>(
        &mut self,
        items: &[T],
        size: usize,
        write: impl for<'a> Fn(&T, &'a mut [u8]) -> &'a mut [u8],
    ) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        let appended = items.len().saturating_mul(size);
        if appended > self.end - start {
            return Err(self.full());
        }
        if size == 0 {
            return Ok(());
        }
        // Zeros first: that is cheaper than a check for each field.
        self.bytes.resize(start + appended, 0);
        let places = self.bytes.get_mut(start..).unwrap_or_default();
        for (item, place) in items.iter().zip(places.chunks_exact_mut(size)) {
            write(item, place);
        }
        Ok(())
    }

    /// Encodes one level deeper. Every type that can contain itself must use it.
    ///
    /// # Errors
    ///
    /// If that is deeper than 128, or what `encode` returns.
    #[inline]
    pub fn nested(
        &mut self,
        encode: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.enter_type(0)?;
        encode(self)?;
        self.leave_type(0);
        Ok(())
    }

    /// Begins one more level of nesting, of a type of that size.
    #[inline]
    pub(crate) fn enter_type(&mut self, size: usize) -> Result<(), EncodeError> {
        // The outermost type is as large as it is.
        let nested_bytes = if self.depth == 0 { 0 } else { self.nested_bytes.saturating_add(size) };
        if self.depth >= DEPTH_MAX || nested_bytes > NESTED_BYTES_MAX {
            return Err(too_deep());
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

    /// How many levels are nested here.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    /// Notes that serde may write what was appended since `start` in another order.
    pub(crate) fn note_hidden_order(&mut self, start: usize) {
        let end = self.bytes.len();
        if let Some(disorder) = &mut self.disorder {
            disorder.note_bytes(start, end);
        }
    }

    /// Whether it is noted what has no order of its own.
    #[inline]
    pub(crate) fn notes_disorder(&self) -> bool {
        self.disorder.is_some()
    }

    /// What was appended since the buffer had the length `start`.
    pub(crate) fn written_since(&self, start: usize) -> &[u8] {
        self.bytes.get(start..).unwrap_or_default()
    }

    /// How many bytes the buffer holds.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Replaces bytes that were written before: a length that was not known then.
    pub(crate) fn overwrite(&mut self, at: usize, bytes: [u8; 8]) {
        if let Some(place) = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = bytes;
        }
    }

    #[cold]
    #[inline(never)]
    fn full(&self) -> EncodeError {
        let limit = self.limits.state_bytes_max();
        let kind = if self.paused_at_end {
            EncodeErrorKind::Paused
        } else {
            EncodeErrorKind::TooLarge { limit }
        };
        EncodeError::new(kind, String::new())
    }

    #[cold]
    #[inline(never)]
    fn too_much_memory(&self) -> EncodeError {
        let limit = self.limits.memory_bytes_max();
        EncodeError::new(EncodeErrorKind::TooMuchMemory { limit }, String::new())
    }
}

#[cold]
#[inline(never)]
pub(crate) fn too_deep() -> EncodeError {
    EncodeError::new(EncodeErrorKind::TooDeep, String::new())
}

#[cold]
#[inline(never)]
pub(crate) fn too_many_elements() -> EncodeError {
    let limit = EMPTY_ELEMENTS_MAX;
    EncodeError::new(EncodeErrorKind::TooManyElements { limit }, String::new())
}

#[cfg(test)]
mod tests {
    use crate::state::{Checkpointable, EncodeErrorKind, Encoder, StateLimits};

    #[test]
    fn a_pause_is_exact_and_keeps_what_was_there() {
        let state = vec![7_u8; 92];
        for (pause, paused) in [(99, true), (100, false), (101, false)] {
            let before = vec![1, 2, 3];
            let mut encoder = Encoder::new(before, &StateLimits::default()).pause_at(pause);
            let result = state.encode(&mut encoder);
            let kind = result.err().map(|err| err.kind());
            assert_eq!(kind, paused.then_some(EncodeErrorKind::Paused));
            let bytes = encoder.into_bytes();
            assert!(bytes.starts_with(&[1, 2, 3]));
            assert!(bytes.len() <= 3 + pause);
        }
    }

    #[test]
    fn a_pause_beyond_the_limit_is_none() {
        let limits = StateLimits::default().with_state_bytes_max(10);
        let mut encoder = Encoder::new(vec![0; 5], &limits).pause_at(11);
        let err = vec![0_u8; 3].encode(&mut encoder).unwrap_err();
        assert_eq!(err.kind(), EncodeErrorKind::TooLarge { limit: 10 });
    }
}
