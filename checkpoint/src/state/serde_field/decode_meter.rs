//! What is counted while bincode reads, and where it reads from.

use std::cell::{Cell, RefCell};

use bincode::de::read::Reader;
use bincode::error::DecodeError as BincodeError;
use serde::de;

use crate::state::limits::{DEPTH_MAX, EMPTY_ELEMENTS_MAX};
use crate::state::serde_field::CONFIG;
use crate::state::{DecodeError, DecodeErrorKind, Decoder};

/// Reads for bincode, counts for the deserializers around it, and knows why either was stopped.
pub(super) struct Meter<'m> {
    /// As it was before the value.
    decoder: &'m Decoder<'m>,
    /// The bytes that bincode has not read.
    rest: Cell<&'m [u8]>,
    depth: Cell<u32>,
    /// Why decoding was stopped, which serde's errors could not tell.
    refusal: RefCell<Option<DecodeError>>,
}

impl<'m> Meter<'m> {
    pub(super) fn new(decoder: &'m Decoder<'m>) -> Self {
        Self {
            decoder,
            rest: Cell::new(decoder.rest()),
            depth: Cell::new(decoder.depth()),
            refusal: RefCell::new(None),
        }
    }

    /// Tells what came of it, and how many bytes are left.
    pub(super) fn outcome<T>(
        &self,
        result: Result<T, BincodeError>,
    ) -> Result<(T, usize), DecodeError> {
        // Asked for first: a hand-written `Deserialize` may have hidden or swallowed it.
        match self.refusal.take() {
            Some(err) => Err(err),
            None => match result {
                Ok(value) => Ok((value, self.remaining())),
                Err(err) => Err(decode_error(err, &self.decoder())),
            },
        }
    }

    /// The decoder as it is now, for the sake of its errors.
    fn decoder(&self) -> Decoder<'m> {
        self.decoder.with_rest(self.rest.get())
    }

    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.rest.get().len()
    }

    #[cold]
    #[inline(never)]
    fn refuse<E: de::Error>(&self, err: DecodeError) -> E {
        let serde_error = E::custom(&err);
        self.refusal.borrow_mut().get_or_insert(err);
        serde_error
    }

    #[cold]
    #[inline(never)]
    fn refuse_end<E: de::Error>(&self, count: usize) -> E {
        self.refuse(self.decoder().unexpected_end(count))
    }

    /// Reads what is one level deeper.
    #[inline]
    pub(super) fn nested<T, E: de::Error>(
        &self,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let depth = self.depth.get();
        if depth >= DEPTH_MAX {
            return Err(self.refuse(self.decoder().too_deep()));
        }
        self.depth.set(depth + 1);
        let value = read();
        self.depth.set(depth);
        value
    }

    /// Checks that there are as many bytes as a text is about to claim: bincode would allocate them
    /// before it reads.
    #[inline]
    pub(super) fn check_text<E: de::Error>(&self) -> Result<(), E> {
        // If there is not even a length, bincode will find the same.
        let Ok((claimed, width)) = bincode::decode_from_slice::<u64, _>(self.rest.get(), CONFIG)
        else {
            return Ok(());
        };
        let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
        if claimed > self.remaining() - width {
            self.rest.set(self.rest.get().get(width..).unwrap_or_default());
            return Err(self.refuse_end(claimed));
        }
        Ok(())
    }

    /// Checks a number of elements that bincode has read.
    #[inline]
    pub(super) fn check_count<E: de::Error>(&self, claimed: Option<usize>) -> Result<(), E> {
        let count_max = self.remaining().saturating_add(EMPTY_ELEMENTS_MAX);
        match claimed {
            Some(claimed) if claimed > count_max => {
                Err(self.refuse(invalid_length(&self.decoder(), count_max, claimed as u64)))
            }
            _ => Ok(()),
        }
    }

    /// Checks how many elements had no bytes.
    #[inline]
    pub(super) fn check_empty<E: de::Error>(&self, empty: usize) -> Result<(), E> {
        if empty <= EMPTY_ELEMENTS_MAX {
            return Ok(());
        }
        let expected = format!("at most {EMPTY_ELEMENTS_MAX} elements without bytes");
        let kind = DecodeErrorKind::InvalidLength;
        Err(self.refuse(self.decoder().error(kind, 0, expected, "more of them")))
    }
}

impl Reader for &Meter<'_> {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), BincodeError> {
        let Some((read, rest)) = self.rest.get().split_at_checked(bytes.len()) else {
            return Err(self.refuse_end(bytes.len()));
        };
        bytes.copy_from_slice(read);
        self.rest.set(rest);
        Ok(())
    }
}

fn decode_error(err: BincodeError, decoder: &Decoder<'_>) -> DecodeError {
    let message = match err {
        BincodeError::InvalidBooleanValue(found) => {
            return decoder.invalid_value(1, "0 or 1 for a bool", found);
        }
        BincodeError::UnexpectedVariant { found, .. } => {
            return decoder.invalid_value(1, "0 or 1 for an Option", found);
        }
        BincodeError::InvalidCharEncoding(bytes) => {
            let width = match bytes {
                [0xc2..=0xdf, ..] => 2,
                [0xe0..=0xef, ..] => 3,
                [0xf0..=0xf4, ..] => 4,
                _ => 1,
            };
            return decoder.invalid_value(width, "a character in UTF-8", "other bytes");
        }
        // Only where `usize` is smaller than the eight bytes of a length.
        BincodeError::OutsideUsizeRange(claimed) => {
            return invalid_length(decoder, decoder.remaining(), claimed);
        }
        BincodeError::Utf8 { .. } => "a text that is not UTF-8".to_owned(),
        BincodeError::Serde(_) => "a type that needs a self-describing format, by \
             `#[serde(untagged)]`, `#[serde(tag = …)]` or `#[serde(flatten)]`"
            .to_owned(),
        BincodeError::OtherString(message) => message,
        other => other.to_string(),
    };
    decoder.error(DecodeErrorKind::Serde, 0, "a value that serde accepts", message)
}

fn invalid_length(decoder: &Decoder<'_>, count_max: usize, claimed: u64) -> DecodeError {
    let expected = format!("a length of at most {count_max}");
    decoder.error(DecodeErrorKind::InvalidLength, 8, expected, claimed.to_string())
}
