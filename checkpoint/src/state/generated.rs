//! What the code that the derive generates uses, and nothing else.

pub use crate::state::serde_field::SerdeField;
pub use crate::state::{
    Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Rebuild, Schema, SchemaField,
    SchemaVariant,
};

/// Names the field in an error.
#[inline]
pub fn encoded_field(
    result: Result<(), EncodeError>,
    field: &'static str,
) -> Result<(), EncodeError> {
    result.map_err(|err| err.in_field(field))
}

/// Names the field in an error.
#[inline]
pub fn decoded_field<T>(
    result: Result<T, DecodeError>,
    field: &'static str,
) -> Result<T, DecodeError> {
    result.map_err(|err| err.in_field(field))
}

/// Writes the number of a variant.
#[inline]
pub fn write_variant(encoder: &mut Encoder, number: u32) -> Result<(), EncodeError> {
    Checkpointable::encode(&number, encoder)
}

/// Takes the number of a variant.
#[inline]
pub fn read_variant(decoder: &mut Decoder<'_>) -> Result<u32, DecodeError> {
    <u32 as Checkpointable>::decode(decoder)
}
