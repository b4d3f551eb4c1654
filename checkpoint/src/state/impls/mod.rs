//! What the types of std and of other crates store.
//!
//! The layout is that of bincode 1: integers little-endian in their width, lengths as `u64`, the
//! number of a variant as `u32`, the tag of an `Option` in one byte.

/// Implements `Checkpointable` and `Rebuild` for a type that is replaced as a whole on restore.
macro_rules! replaced {
    (
        impl [$($generics:tt)*] $type:ty;
        min_size: $min_size:expr;
        schema: $schema:expr;
        encode: |$this:ident, $encoder:ident| $encode:expr;
        decode: |$decoder:ident| $decode:expr;
        $(touch: |$touched:ident| $touch:expr;)?
    ) => {
        impl<$($generics)*> $crate::state::Checkpointable for $type {
            type Staged = Self;
            const MIN_SIZE: usize = $min_size;
            const SCHEMA: &'static $crate::state::Schema = $schema;

            #[inline]
            fn encode(
                &self,
                $encoder: &mut $crate::state::Encoder,
            ) -> Result<(), $crate::state::EncodeError> {
                let $this = self;
                $encode
            }

            #[inline]
            fn decode(
                $decoder: &mut $crate::state::Decoder<'_>,
            ) -> Result<Self, $crate::state::DecodeError> {
                $decode
            }

            fn encode_staged(
                staged: &Self,
                encoder: &mut $crate::state::Encoder,
            ) -> Result<(), $crate::state::EncodeError> {
                staged.encode(encoder)
            }

            #[inline]
            fn apply(&mut self, staged: Self) {
                *self = staged;
            }

            $(
                #[inline]
                fn touch($touched: &Self) -> u8 {
                    $touch
                }
            )?
        }

        impl<$($generics)*> $crate::state::Rebuild for $type {
            #[inline]
            fn rebuild(staged: Self) -> Self {
                staged
            }
        }
    };
}

// First those whose macros others use.
#[macro_use]
mod map;
#[macro_use]
mod set;

mod borrowed;
#[cfg(feature = "bytes")]
mod bytes;
#[cfg(feature = "chrono")]
mod chrono;
#[cfg(feature = "indexmap")]
mod indexmap;
mod net;
mod number;
mod option;
mod path;
mod pointer;
mod primitive;
mod range;
mod sequence;
#[cfg(feature = "smol_str")]
mod smol_str;
mod text;
mod time;
mod tuple;
#[cfg(feature = "uuid")]
mod uuid;
mod wrapper;
