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

#[inline]
pub(super) fn encode_entries<'a, K: Rebuild + 'a, V: Rebuild + 'a>(
    entries: impl ExactSizeIterator<Item = (&'a K, &'a V)>,
    encoder: &mut Encoder,
) -> Result<(), EncodeError> {
    encoder.write_count(entries.len(), entry::<K, V>())?;
    for (key, value) in entries {
        key.encode(encoder).map_err(|err| err.in_field("[key]"))?;
        value.encode(encoder).map_err(|err| err.in_field("[..]"))?;
    }
    Ok(())
}

#[inline]
pub(super) fn decode_entry<K: Rebuild, V: Rebuild>(
    decoder: &mut Decoder<'_>,
) -> Result<(K, V), DecodeError> {
    let key = K::decode(decoder).map_err(|err| err.in_field("[key]"))?;
    let value = V::decode(decoder).map_err(|err| err.in_field("[..]"))?;
    Ok((K::rebuild(key), V::rebuild(value)))
}

replaced! {
    impl [K: Rebuild + Eq + Hash, V: Rebuild, S: BuildHasher + Default] HashMap<K, V, S>;
    min_size: 8;
    schema: &Schema::Map(K::schema, V::schema);
    encode: |this, encoder| {
        encoder.charge_memory(hash_table_room(this.len()), in_table::<(K, V)>())?;
        encode_entries(this.iter(), encoder)
    };
    decode: |decoder| {
        let count = decoder.read_count(entry::<K, V>())?;
        decoder.charge_memory(hash_table_room(count), in_table::<(K, V)>())?;
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

replaced! {
    impl [K: Rebuild + Ord, V: Rebuild] BTreeMap<K, V>;
    min_size: 8;
    schema: &Schema::Map(K::schema, V::schema);
    encode: |this, encoder| {
        encoder.charge_memory(tree_room(this.len()), size_of::<(K, V)>())?;
        encode_entries(this.iter(), encoder)
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
