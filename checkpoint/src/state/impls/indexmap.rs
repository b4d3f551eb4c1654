//! The maps and sets of the crate indexmap, which keep the order of insertion.

use std::hash::{BuildHasher, Hash};

use indexmap::{IndexMap, IndexSet};

use crate::state::element_size::hash_table_room;
use crate::state::impls::map::{decode_entry, encode_entries, entry};
use crate::state::impls::set::in_table;
use crate::state::rebuild::decode_element;
use crate::state::{ElementSize, Rebuild, Schema};

/// An element has its hash beside it, and its place in a hash table; there is room for as many
/// elements as the table has.
const fn in_order<T>() -> usize {
    size_of::<T>() + size_of::<usize>() + in_table::<usize>()
}

const fn element<T: Rebuild>() -> ElementSize {
    ElementSize::of::<T>().without_memory()
}

replaced! {
    impl [K: Rebuild + Eq + Hash, V: Rebuild, S: BuildHasher + Default] IndexMap<K, V, S>;
    min_size: 8;
    schema: &Schema::Map(K::schema, V::schema);
    encode: |this, encoder| {
        encoder.charge_memory(hash_table_room(this.len()), in_order::<(K, V)>())?;
        encode_entries(this.iter(), encoder)
    };
    decode: |decoder| {
        let count = decoder.read_count(entry::<K, V>())?;
        decoder.charge_memory(hash_table_room(count), in_order::<(K, V)>())?;
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
        encoder.charge_memory(hash_table_room(this.len()), in_order::<T>())?;
        this.iter().try_for_each(|item| item.encode(encoder).map_err(|err| err.in_field("[..]")))
    };
    decode: |decoder| {
        let count = decoder.read_count(element::<T>())?;
        decoder.charge_memory(hash_table_room(count), in_order::<T>())?;
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
