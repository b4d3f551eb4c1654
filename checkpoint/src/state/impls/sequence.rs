//! Sequences: any number of values in order.

use std::collections::{BinaryHeap, LinkedList, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use crate::state::impls::pointer::touch_plain;
use crate::state::impls::set::encode_element;
use crate::state::rebuild::decode_element;
use crate::state::{DecodeError, Decoder, ElementSize, EncodeError, Encoder, Rebuild, Schema};

#[inline]
pub(super) fn encode_slice<T: Rebuild>(
    items: &[T],
    encoder: &mut Encoder,
) -> Result<(), EncodeError> {
    encoder.write_count(items.len(), ElementSize::of::<T>())?;
    T::encode_slice(items, encoder)
}

#[inline]
pub(super) fn decode_vec<T: Rebuild>(decoder: &mut Decoder<'_>) -> Result<Vec<T>, DecodeError> {
    let count = decoder.read_count(ElementSize::of::<T>())?;
    T::decode_vec(count, decoder)
}

macro_rules! contiguous {
    ($($type:ty),*) => {$(
        replaced! {
            impl [T: Rebuild] $type;
            min_size: 8;
            schema: &Schema::Sequence(T::schema);
            encode: |this, encoder| encode_slice(this, encoder);
            decode: |decoder| Ok(Self::from(decode_vec(decoder)?));
            touch: |this| this.first().map_or(0, touch_plain);
        }
    )*};
}

contiguous!(Vec<T>, Box<[T]>, Arc<[T]>, Rc<[T]>);

replaced! {
    impl [T: Rebuild] VecDeque<T>;
    min_size: 8;
    schema: &Schema::Sequence(T::schema);
    encode: |this, encoder| {
        encoder.write_count(this.len(), ElementSize::of::<T>())?;
        let (front, back) = this.as_slices();
        T::encode_slice(front, encoder)?;
        T::encode_slice(back, encoder)
    };
    decode: |decoder| Ok(Self::from(decode_vec(decoder)?));
    touch: |this| this.front().map_or(0, touch_plain);
}

replaced! {
    impl [T: Rebuild + Ord] BinaryHeap<T>;
    min_size: 8;
    schema: &Schema::Sequence(T::schema);
    encode: |this, encoder| {
        if encoder.notes_disorder() {
            // The order of elements may depend on fields of theirs that are not stored.
            return encoder.write_unordered(this.iter(), ElementSize::of::<T>(), encode_element);
        }
        encode_slice(this.as_slice(), encoder)
    };
    decode: |decoder| Ok(Self::from(decode_vec(decoder)?));
}

/// What a node of a linked list holds beside the element: two pointers.
const fn list_element<T: Rebuild>() -> ElementSize {
    ElementSize::of::<T>().with_overhead(2 * size_of::<usize>())
}

replaced! {
    impl [T: Rebuild] LinkedList<T>;
    min_size: 8;
    schema: &Schema::Sequence(T::schema);
    encode: |this, encoder| {
        encoder.write_ordered(this.iter(), list_element::<T>(), encode_element)
    };
    decode: |decoder| {
        let count = decoder.read_count(list_element::<T>())?;
        (0..count).map(|_| decode_element(decoder)).collect()
    };
}
