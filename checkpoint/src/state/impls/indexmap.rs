//! The maps and sets of the crate indexmap, which keep the order of insertion.

use std::hash::{BuildHasher, Hash};

use indexmap::{IndexMap, IndexSet};

use crate::state::impls::map::{decode_entry, encode_entries};
use crate::state::rebuild::decode_element;
use crate::state::{ElementSize, Rebuild, Schema};

// Each element has its hash beside it, and its place in a table that has room for twice as many.
const OVERHEAD: usize = 5 * size_of::<usize>();

const fn entry<K: Rebuild, V: Rebuild>() -> ElementSize {
    ElementSize::of_entry::<K, V>().with_overhead(OVERHEAD)
}

const fn element<T: Rebuild>() -> ElementSize {
    ElementSize::of::<T>().with_overhead(OVERHEAD)
}

replaced! {
    impl [K: Rebuild + Eq + Hash, V: Rebuild, S: BuildHasher + Default] IndexMap<K, V, S>;
    min_size: 8;
    schema: &Schema::Map(K::schema, V::schema);
    encode: |this, encoder| encode_entries(this.iter(), entry::<K, V>(), encoder);
    decode: |decoder| {
        let count = decoder.read_count(entry::<K, V>())?;
        let mut entries = Self::default();
        if entries.try_reserve(count).is_err() {
            return Err(decoder.out_of_memory(count));
        }
        for _ in 0..count {
            let (key, value) = decode_entry(decoder)?;
            if entries.insert(key, value).is_some() {
                return Err(decoder.duplicate_key());
            }
        }
        Ok(entries)
    };
}

replaced! {
    impl [T: Rebuild + Eq + Hash, S: BuildHasher + Default] IndexSet<T, S>;
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
