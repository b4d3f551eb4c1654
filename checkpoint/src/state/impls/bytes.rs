//! The byte strings of the crate bytes.

use bytes::{Bytes, BytesMut};

use crate::state::{Checkpointable, Schema};

const BYTES: &Schema = <Vec<u8>>::SCHEMA;

replaced! {
    impl [] Bytes;
    min_size: 8;
    schema: BYTES;
    encode: |this, encoder| encoder.write_byte_string(this);
    decode: |decoder| Ok(Self::copy_from_slice(decoder.read_byte_string()?));
}

replaced! {
    impl [] BytesMut;
    min_size: 8;
    schema: BYTES;
    encode: |this, encoder| encoder.write_byte_string(this);
    decode: |decoder| Ok(Self::from(decoder.read_byte_string()?));
}
