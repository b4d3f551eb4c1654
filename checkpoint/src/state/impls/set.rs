//! Sets: any number of different values.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, Hash};

use crate::state::element_size::{hash_table_room, tree_room};
use crate::state::rebuild::decode_element;
use crate::state::{ElementSize, EncodeError, Encoder, Rebuild, Schema};

// The memory is that of the table or the tree.
pub(super) const fn element<T: Rebuild>() -> ElementSize {
    ElementSize::of::<T>().without_memory()
}

/// An element in a hash table has a byte of its hash beside it.
pub(super) const fn in_table<T>() -> usize {
    size_of::<T>() + 1
}

// Always: it is called from two places, and one of them is the loop over a whole collection.
#[inline(always)]
pub(super) fn encode_element<T: Rebuild>(
    element: &T,
    encoder: &mut Encoder,
) -> Result<(), EncodeError> {
    element.encode(encoder).map_err(|err| err.in_field("[..]"))
}

/// Implements the traits for a set with a hash table, whose elements are written by `$write`.
macro_rules! hashed_set {
    ($type:ident, $write:ident, $memory:ident) => {
        replaced! {
            impl [T: Rebuild + Eq + Hash, S: BuildHasher + Default] $type<T, S>;
            min_size: 8;
            schema: &Schema::Set(T::schema);
            encode: |this, encoder| {
                encoder.charge_memory(hash_table_room(this.len()), $memory::<T>())?;
                encoder.$write(this.iter(), element::<T>(), encode_element)
            };
            decode: |decoder| {
                let count = decoder.read_count(element::<T>())?;
                decoder.charge_memory(hash_table_room(count), $memory::<T>())?;
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
    };
}

hashed_set!(HashSet, write_unordered, in_table);

// Unordered too: the order of elements may depend on fields of theirs that are not stored.
replaced! {
    impl [T: Rebuild + Ord] BTreeSet<T>;
    min_size: 8;
    schema: &Schema::Set(T::schema);
    encode: |this, encoder| {
        encoder.charge_memory(tree_room(this.len()), size_of::<T>())?;
        encoder.write_unordered(this.iter(), element::<T>(), encode_element)
    };
    decode: |decoder| {
        let count = decoder.read_count(element::<T>())?;
        decoder.charge_memory(tree_room(count), size_of::<T>())?;
        // Built in one go, which is faster than by insertions and leaves full nodes.
        let items = Self::from_iter(T::decode_vec(count, decoder)?);
        if items.len() == count { Ok(items) } else { Err(decoder.duplicate_key()) }
    };
}
