//! Maps: any number of values by key.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use crate::state::element_size::{hash_table_room, tree_room};
use crate::state::impls::set::in_table;
use crate::state::{DecodeError, Decoder, ElementSize, EncodeError, Encoder, Rebuild, Schema};

// The memory is that of the table or the tree.
pub(super) const fn entry<K: Rebuild, V: Rebuild>() -> ElementSize {
    ElementSize::of_entry::<K, V>().without_memory()
}

// Always: it is called from two places, and one of them is the loop over a whole collection.
#[inline(always)]
pub(super) fn encode_entry<K: Rebuild, V: Rebuild>(
    (key, value): (&K, &V),
    encoder: &mut Encoder,
) -> Result<(), EncodeError> {
    key.encode(encoder).map_err(|err| err.in_field("[key]"))?;
    value.encode(encoder).map_err(|err| err.in_field("[..]"))
}

#[inline]
pub(super) fn decode_entry<K: Rebuild, V: Rebuild>(
    decoder: &mut Decoder<'_>,
) -> Result<(K, V), DecodeError> {
    let key = K::decode(decoder).map_err(|err| err.in_field("[key]"))?;
    let value = V::decode(decoder).map_err(|err| err.in_field("[..]"))?;
    Ok((K::rebuild(key), V::rebuild(value)))
}

/// Implements the traits for a map with a hash table, whose entries are written by `$write`.
macro_rules! hashed_map {
    ($type:ident, $write:ident, $memory:ident) => {
        replaced! {
            impl [K: Rebuild + Eq + Hash, V: Rebuild, S: BuildHasher + Default] $type<K, V, S>;
            min_size: 8;
            schema: &Schema::Map(K::schema, V::schema);
            encode: |this, encoder| {
                encoder.charge_memory(hash_table_room(this.len()), $memory::<(K, V)>())?;
                encoder.$write(this.iter(), entry::<K, V>(), encode_entry)
            };
            decode: |decoder| {
                let count = decoder.read_count(entry::<K, V>())?;
                decoder.charge_memory(hash_table_room(count), $memory::<(K, V)>())?;
                let mut entries = Self::default();
                if entries.try_reserve(count).is_err() {
                    return Err(decoder.out_of_memory(count));
                }
                for _ in 0..count {
                    let (key, value) = decode_entry(decoder)?;
                    if entries.insert(key, value).is_some() {
                        // A damaged key must not make another entry disappear.
                        return Err(decoder.duplicate_key());
                    }
                }
                Ok(entries)
            };
        }
    };
}

hashed_map!(HashMap, write_unordered, in_table);

// Unordered too: the order of keys may depend on fields of theirs that are not stored.
replaced! {
    impl [K: Rebuild + Ord, V: Rebuild] BTreeMap<K, V>;
    min_size: 8;
    schema: &Schema::Map(K::schema, V::schema);
    encode: |this, encoder| {
        encoder.charge_memory(tree_room(this.len()), size_of::<(K, V)>())?;
        encoder.write_unordered(this.iter(), entry::<K, V>(), encode_entry)
    };
    decode: |decoder| {
        let count = decoder.read_count(entry::<K, V>())?;
        decoder.charge_memory(tree_room(count), size_of::<(K, V)>())?;
        let mut entries = Vec::new();
        if entries.try_reserve_exact(count).is_err() {
            return Err(decoder.out_of_memory(count));
        }
        for _ in 0..count {
            entries.push(decode_entry(decoder)?);
        }
        // Built in one go, which is faster than by insertions and leaves full nodes.
        let entries = Self::from_iter(entries);
        if entries.len() == count { Ok(entries) } else { Err(decoder.duplicate_key()) }
    };
}
