//! The maps and sets of the crate indexmap, which keep the order of insertion.

use std::hash::{BuildHasher, Hash};

use indexmap::{IndexMap, IndexSet};

use crate::state::element_size::hash_table_room;
use crate::state::impls::map::{decode_entry, encode_entry, entry};
use crate::state::impls::set::{element, encode_element, in_table};
use crate::state::rebuild::decode_element;
use crate::state::{Rebuild, Schema};

/// An element has its hash beside it, and its place in a hash table; there is room for as many
/// elements as the table has.
const fn in_order<T>() -> usize {
    size_of::<T>() + size_of::<usize>() + in_table::<usize>()
}

hashed_map!(IndexMap, write_ordered, in_order);
hashed_set!(IndexSet, write_ordered, in_order);
