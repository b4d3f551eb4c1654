//! Integers that cannot be zero.

use std::num::{
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroIsize, NonZeroU8,
    NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU128, NonZeroUsize,
};

use crate::state::Schema;

macro_rules! non_zero {
    ($($type:ident of $number:ident named $name:literal),* $(,)?) => {$(
        replaced! {
            impl [] $type;
            min_size: $number::MIN_SIZE;
            schema: &Schema::Primitive($name);
            encode: |this, encoder| this.get().encode(encoder);
            decode: |decoder| match Self::new($number::decode(decoder)?) {
                Some(number) => Ok(number),
                None => Err(decoder.invalid_value($number::MIN_SIZE, "a number but 0", 0)),
            };
        }
    )*};
}

non_zero!(
    NonZeroU8 of u8 named "non-zero u8",
    NonZeroU16 of u16 named "non-zero u16",
    NonZeroU32 of u32 named "non-zero u32",
    NonZeroU64 of u64 named "non-zero u64",
    NonZeroU128 of u128 named "non-zero u128",
    NonZeroUsize of usize named "non-zero u64",
    NonZeroI8 of i8 named "non-zero i8",
    NonZeroI16 of i16 named "non-zero i16",
    NonZeroI32 of i32 named "non-zero i32",
    NonZeroI64 of i64 named "non-zero i64",
    NonZeroI128 of i128 named "non-zero i128",
    NonZeroIsize of isize named "non-zero i64",
);
