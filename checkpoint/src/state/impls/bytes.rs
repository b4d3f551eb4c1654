//! The byte strings of the crate bytes.

use bytes::{Bytes, BytesMut};

use crate::state::impls::text::{decode_bytes, encode_bytes};
use crate::state::{Checkpointable, Schema};

const BYTES: &Schema = <Vec<u8>>::SCHEMA;

replaced! {
    impl [] Bytes;
    min_size: 8;
    schema: BYTES;
    encode: |this, encoder| encode_bytes(this, encoder);
    decode: |decoder| Ok(Self::copy_from_slice(decode_bytes(decoder)?));
}

replaced! {
    impl [] BytesMut;
    min_size: 8;
    schema: BYTES;
    encode: |this, encoder| encode_bytes(this, encoder);
    decode: |decoder| Ok(Self::from(decode_bytes(decoder)?));
}
