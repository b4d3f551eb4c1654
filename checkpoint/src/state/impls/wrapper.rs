//! Wrappers around one value, stored as the value.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::num::{Saturating, Wrapping};

use crate::state::{Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Rebuild, Schema};

macro_rules! wrapper {
    ($($type:ident),*) => {$(
        impl<T: Checkpointable> Checkpointable for $type<T> {
            type Staged = T::Staged;
            const MIN_SIZE: usize = T::MIN_SIZE;
            const SCHEMA: &'static Schema = T::SCHEMA;

            #[inline]
            fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                self.0.encode(encoder)
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError> {
                T::decode(decoder)
            }

            fn encode_staged(
                staged: &Self::Staged,
                encoder: &mut Encoder,
            ) -> Result<(), EncodeError> {
                T::encode_staged(staged, encoder)
            }

            #[inline]
            fn apply(&mut self, staged: Self::Staged) {
                self.0.apply(staged);
            }
        }

        impl<T: Rebuild> Rebuild for $type<T> {
            #[inline]
            fn rebuild(staged: Self::Staged) -> Self {
                Self(T::rebuild(staged))
            }
        }
    )*};
}

wrapper!(Wrapping, Saturating, Reverse);

macro_rules! cell {
    ($type:ident $(: $bound:ident)?, |$this:ident, $encoder:ident| $encode:expr) => {
        impl<T: Checkpointable $(+ $bound)?> Checkpointable for $type<T> {
            type Staged = T::Staged;
            const MIN_SIZE: usize = T::MIN_SIZE;
            const SCHEMA: &'static Schema = T::SCHEMA;

            #[inline]
            fn encode(&self, $encoder: &mut Encoder) -> Result<(), EncodeError> {
                let $this = self;
                $encode
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError> {
                T::decode(decoder)
            }

            fn encode_staged(
                staged: &Self::Staged,
                encoder: &mut Encoder,
            ) -> Result<(), EncodeError> {
                T::encode_staged(staged, encoder)
            }

            #[inline]
            fn apply(&mut self, staged: Self::Staged) {
                self.get_mut().apply(staged);
            }
        }

        impl<T: Rebuild $(+ $bound)?> Rebuild for $type<T> {
            #[inline]
            fn rebuild(staged: Self::Staged) -> Self {
                Self::new(T::rebuild(staged))
            }
        }
    };
}

cell!(Cell: Copy, |this, encoder| this.get().encode(encoder));
cell!(RefCell, |this, encoder| match this.try_borrow() {
    Ok(value) => value.encode(encoder),
    Err(_) => Err(EncodeError::unsupported("a RefCell that is mutably borrowed")),
});
