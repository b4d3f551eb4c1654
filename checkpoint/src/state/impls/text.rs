//! Texts: strings and C strings.

use std::ffi::CString;
use std::rc::Rc;
use std::sync::Arc;

use crate::state::{DecodeError, Decoder, EncodeError, Encoder, Schema};

/// The schema of everything that is stored as a text.
pub(super) const TEXT: &Schema = &Schema::Primitive("string");

/// Writes a text: its length in bytes, and its bytes.
#[inline]
pub(super) fn encode_str(text: &str, encoder: &mut Encoder) -> Result<(), EncodeError> {
    encoder.write_byte_string(text.as_bytes())
}

/// Takes a text without copying it.
#[inline]
pub(super) fn decode_str<'a>(decoder: &mut Decoder<'a>) -> Result<&'a str, DecodeError> {
    let bytes = decoder.read_byte_string()?;
    std::str::from_utf8(bytes)
        .map_err(|err| decoder.invalid_value(bytes.len(), "a text in UTF-8", err))
}

macro_rules! text {
    ($($type:ty),*) => {$(
        replaced! {
            impl [] $type;
            min_size: 8;
            schema: TEXT;
            encode: |this, encoder| encode_str(this, encoder);
            decode: |decoder| Ok(Self::from(decode_str(decoder)?));
            touch: |this| this.as_bytes().first().copied().unwrap_or(0);
        }
    )*};
}

text!(String, Box<str>, Arc<str>, Rc<str>);

replaced! {
    impl [] CString;
    min_size: 8;
    schema: <Vec<u8>>::SCHEMA;
    encode: |this, encoder| encoder.write_byte_string(this.as_bytes());
    decode: |decoder| {
        let bytes = decoder.read_byte_string()?;
        Self::new(bytes).map_err(|_| {
            decoder.invalid_value(bytes.len(), "a text without the byte 0", "the byte 0")
        })
    };
}
