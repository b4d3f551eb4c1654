//! Pointers: stored as what they point to. That two of them point to the same is not stored.

use std::rc::Rc;
use std::sync::Arc;

use crate::state::{Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Rebuild, Schema};

/// Touches what a pointer points to, unless it has pointers itself.
#[inline]
pub(super) fn touch_plain<T: Checkpointable>(value: &T) -> u8 {
    if T::FIXED_SIZE.is_some() { T::touch(value) } else { 0 }
}

impl<T: Checkpointable> Checkpointable for Box<T> {
    // Boxed too, so that types may contain themselves.
    type Staged = Box<T::Staged>;
    const MIN_SIZE: usize = T::MIN_SIZE;
    const SCHEMA: &'static Schema = T::SCHEMA;

    #[inline]
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.charge_memory(1, size_of::<T>())?;
        (**self).encode(encoder)
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Staged, DecodeError> {
        decoder.charge_memory(1, size_of::<T>())?;
        T::decode(decoder).map(Box::new)
    }

    fn encode_staged(staged: &Self::Staged, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.charge_memory(1, size_of::<T>())?;
        T::encode_staged(staged, encoder)
    }

    #[inline]
    fn apply(&mut self, staged: Self::Staged) {
        (**self).apply(*staged);
    }

    #[inline]
    fn touch(value: &Self) -> u8 {
        touch_plain(&**value)
    }
}

impl<T: Rebuild> Rebuild for Box<T> {
    #[inline]
    fn rebuild(staged: Self::Staged) -> Self {
        Self::new(T::rebuild(*staged))
    }
}

/// Implements the traits for shared pointers: others may look at the value, so that a restore
/// replaces it.
macro_rules! shared {
    ($($type:ident),*) => {$(
        replaced! {
            impl [T: Rebuild] $type<T>;
            min_size: T::MIN_SIZE;
            schema: T::SCHEMA;
            encode: |this, encoder| {
                encoder.charge_memory(1, size_of::<T>())?;
                (**this).encode(encoder)
            };
            decode: |decoder| {
                decoder.charge_memory(1, size_of::<T>())?;
                Ok(Self::new(T::rebuild(T::decode(decoder)?)))
            };
            touch: |this| touch_plain(&**this);
        }
    )*};
}

shared!(Arc, Rc);
