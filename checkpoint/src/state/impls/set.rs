//! Sets: any number of different values.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, Hash};

use crate::state::rebuild::decode_element;
use crate::state::{ElementSize, Rebuild, Schema};

// A hash table has room for up to twice its elements; a B-tree is built from a sorted array.
const fn element<T: Rebuild>() -> ElementSize {
    ElementSize::of::<T>().doubled()
}

replaced! {
    impl [T: Rebuild + Eq + Hash, S: BuildHasher + Default] HashSet<T, S>;
    min_size: 8;
    schema: &Schema::Set(T::schema);
    encode: |this, encoder| {
        encoder.write_count(this.len(), element::<T>())?;
        this.iter().try_for_each(|item| item.encode(encoder).map_err(|err| err.in_field("[..]")))
    };
    decode: |decoder| {
        let count = decoder.read_count(element::<T>())?;
        let mut items = Self::default();
        if items.try_reserve(count).is_err() {
            return Err(decoder.out_of_memory(count));
        }
        for _ in 0..count {
            if !items.insert(decode_element(decoder)?) {
                return Err(decoder.duplicate_key());
            }
        }
        Ok(items)
    };
}

replaced! {
    impl [T: Rebuild + Ord] BTreeSet<T>;
    min_size: 8;
    schema: &Schema::Set(T::schema);
    encode: |this, encoder| {
        encoder.write_count(this.len(), element::<T>())?;
        this.iter().try_for_each(|item| item.encode(encoder).map_err(|err| err.in_field("[..]")))
    };
    decode: |decoder| {
        let count = decoder.read_count(element::<T>())?;
        // Built in one go, which is faster than by insertions and leaves full nodes.
        let items = Self::from_iter(T::decode_vec(count, decoder)?);
        if items.len() == count { Ok(items) } else { Err(decoder.duplicate_key()) }
    };
}
