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

/// Encodes the fields of a derived type one level deeper.
///
/// Not where all values have one size: such a type cannot contain itself, and as an element of a
/// sequence it is encoded without a call that could count.
#[inline]
pub fn encode_nested<T: Checkpointable>(
    encoder: &mut Encoder,
    encode: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    if T::FIXED_SIZE.is_some() {
        return encode(encoder);
    }
    let size = size_of::<T::Staged>();
    encoder.enter_type(size)?;
    encode(encoder)?;
    encoder.leave_type(size);
    Ok(())
}

/// Decodes the fields of a derived type one level deeper, if `encode_nested` does.
#[inline]
pub fn decode_nested<T: Checkpointable, R>(
    decoder: &mut Decoder<'_>,
    decode: impl FnOnce(&mut Decoder<'_>) -> Result<R, DecodeError>,
) -> Result<R, DecodeError> {
    if T::FIXED_SIZE.is_some() {
        return decode(decoder);
    }
    let size = size_of::<T::Staged>();
    decoder.enter_type(size)?;
    let value = decode(decoder)?;
    decoder.leave_type(size);
    Ok(value)
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

/// Whether a field is to be touched when its struct is. What has a fixed size has nothing on the
/// heap, and lies beside the others; if all have, it is the struct that is on somebody's heap, and
/// one is enough.
#[must_use]
pub const fn touches(whole: Option<usize>, field: Option<usize>, is_first: bool) -> bool {
    field.is_none() || (whole.is_some() && is_first)
}

/// The sum of the sizes of a struct's fields, if all have a fixed one.
#[must_use]
pub const fn fixed_size(fields: &[Option<usize>]) -> Option<usize> {
    let mut sum = 0;
    let mut rest = fields;
    while let [first, others @ ..] = rest {
        match first {
            Some(size) => sum += *size,
            None => return None,
        }
        rest = others;
    }
    Some(sum)
}

/// The sum of the sizes of neighbouring fields, if all have a fixed one; zero if not.
#[must_use]
pub const fn run_size(fields: &[Option<usize>]) -> usize {
    match fixed_size(fields) {
        Some(size) => size,
        None => 0,
    }
}

/// Writes neighbouring fields at once; returns whether there was room.
#[inline]
pub fn write_run(encoder: &mut Encoder, run: &[u8]) -> bool {
    encoder.write_if_room(run)
}
