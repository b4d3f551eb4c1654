//! `Cow`, which is restored as an owned value.

use std::borrow::Cow;

use crate::state::impls::sequence;
use crate::state::impls::text::encode_str;
use crate::state::{Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Rebuild, Schema};

/// Encodes a borrowed value to the same bytes as the owned one.
pub trait EncodeBorrowed {
    fn encode_borrowed(&self, encoder: &mut Encoder) -> Result<(), EncodeError>;
}

impl EncodeBorrowed for str {
    #[inline]
    fn encode_borrowed(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encode_str(self, encoder)
    }
}

impl<T: Rebuild> EncodeBorrowed for [T] {
    #[inline]
    fn encode_borrowed(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        sequence::encode_slice(self, encoder)
    }
}

impl<T: Checkpointable> EncodeBorrowed for T {
    #[inline]
    fn encode_borrowed(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        self.encode(encoder)
    }
}

impl<B> Checkpointable for Cow<'_, B>
where
    B: ToOwned + EncodeBorrowed + ?Sized,
    B::Owned: Rebuild,
{
    type Staged = <B::Owned as Checkpointable>::Staged;
    const MIN_SIZE: usize = B::Owned::MIN_SIZE;
    const SCHEMA: &'static Schema = B::Owned::SCHEMA;

    #[inline]
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        (**self).encode_borrowed(encoder)
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError> {
        B::Owned::decode(decoder)
    }

    fn encode_staged(staged: &Self::Staged, encoder: &mut Encoder) -> Result<(), EncodeError> {
        B::Owned::encode_staged(staged, encoder)
    }

    #[inline]
    fn apply(&mut self, staged: Self::Staged) {
        *self = Self::rebuild(staged);
    }
}

impl<B> Rebuild for Cow<'_, B>
where
    B: ToOwned + EncodeBorrowed + ?Sized,
    B::Owned: Rebuild,
{
    #[inline]
    fn rebuild(staged: Self::Staged) -> Self {
        Self::Owned(B::Owned::rebuild(staged))
    }
}
