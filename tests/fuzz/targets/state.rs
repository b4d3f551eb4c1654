//! Decodes bytes as states of several types: an error inside of the bytes, or a value that is
//! encoded and decoded again to the same.

#![no_main]

use std::fmt::Debug;

use checkpoint::{Rebuild, StateLimits, decode_state, encode_state};
use checkpoint_fuzz::shapes::{Heap, Nested, Order, Serde, Sizes, Tree, Unordered, Values};
use libfuzzer_sys::fuzz_target;

const LIMITS: StateLimits = StateLimits::DEFAULT.with_memory_bytes_max(16 << 20);

fuzz_target!(|bytes: &[u8]| {
    let Some((shape, bytes)) = bytes.split_first() else { return };
    match shape {
        0 => check::<Nested>(bytes),
        1 => check::<Order>(bytes),
        2 => check::<Unordered>(bytes),
        3 => check::<Tree>(bytes),
        4 => check::<Sizes>(bytes),
        5 => check::<Values>(bytes),
        6 => check::<Heap>(bytes),
        7 => check::<Serde>(bytes),
        _ => {}
    }
});

fn check<T: Rebuild + PartialEq + Debug>(bytes: &[u8]) {
    let value = match decode_state::<T>(bytes, &LIMITS) {
        Ok(staged) => T::rebuild(staged),
        Err(err) => {
            assert!(err.offset() <= bytes.len(), "{err}");
            assert!(err.to_string().len() < 2000 + bytes.len(), "{err}");
            return;
        }
    };
    let again = match encode_state(&value, &LIMITS) {
        Ok(again) => again,
        Err(err) => panic!("decoded, but cannot be encoded: {err}"),
    };
    // No byte was without meaning; the entries of a map may have come in another order.
    assert_eq!(again.len(), bytes.len());
    match decode_state::<T>(&again, &LIMITS) {
        Ok(staged) => assert_eq!(T::rebuild(staged), value),
        Err(err) => panic!("encoded, but cannot be decoded: {err}"),
    }
}
