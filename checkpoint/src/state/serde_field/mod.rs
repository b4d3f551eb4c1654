//! Fields that are stored through serde.
//!
//! The layout is that of bincode 1 behind a length of eight bytes. The serializer and the
//! deserializer are our own, because no maintained crate bounds what hostile bytes can do: a
//! `Box` per four bytes overflows the stack in all versions of bincode. Here nesting, elements
//! without bytes and memory are counted on both ways by the same numbers.

mod deserializer;
mod error;
mod serializer;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::serde_field::deserializer::Deserializer;
use crate::state::serde_field::error::SerdeError;
use crate::state::serde_field::serializer::Serializer;
use crate::state::{
    DecodeError, Decoder, ElementSize, EncodeError, EncodeErrorKind, Encoder, StateLimits,
};

/// The width of the length before each field.
const LENGTH_BYTES: usize = 8;

/// What one byte of a field costs.
///
/// serde hides how much memory values need. Eight bytes for each encoded one is what small values
/// need; the bound that always holds is the size of a value for each of its least encodings.
const BYTE: ElementSize = ElementSize { encoded_min: 1, memory: 8 };

/// What a field marked `#[checkpoint(serde, …)]` must be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored through serde",
    label = "lacks serde's traits",
    note = "`#[checkpoint(serde, …)]` needs `serde::Serialize` and `serde::Deserialize` \
            for every lifetime: write `#[derive(serde::Serialize, serde::Deserialize)]` on \
            `{Self}`",
    note = "if it need not survive a restart: write `#[transient]` on the field"
)]
pub trait SerdeField: Sized {
    #[doc(hidden)]
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError>;

    #[doc(hidden)]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

// serde's traits are not supertraits, or the compiler would complain about each by itself.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> SerdeField for T {
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encode(self, encoder)
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decode(decoder)
    }
}

fn encode<T: Serialize + DeserializeOwned>(
    value: &T,
    encoder: &mut Encoder,
) -> Result<(), EncodeError> {
    let start = encoder.len();
    // The length, which is not known yet.
    encoder.write_bytes(&[0; LENGTH_BYTES])?;
    let result = value.serialize(Serializer::new(encoder));
    // Asked for first: a hand-written `Serialize` may have hidden or swallowed it.
    encoder.check_not_full()?;
    result.map_err(SerdeError::into_encode_error)?;
    let count = encoder.len() - start - LENGTH_BYTES;
    encoder.charge_memory(count, BYTE.memory)?;
    encoder.overwrite(start, (count as u64).to_le_bytes());
    if cfg!(debug_assertions) {
        check_decodes::<T>(encoder.written_since(start))?;
    }
    Ok(())
}

/// Notices types whose two impls do not fit together, such as untagged enums.
fn check_decodes<T: DeserializeOwned>(bytes: &[u8]) -> Result<(), EncodeError> {
    let limits =
        StateLimits::default().with_state_bytes_max(usize::MAX).with_memory_bytes_max(usize::MAX);
    match Decoder::new(bytes, &limits).and_then(|mut decoder| decode::<T>(&mut decoder)) {
        Ok(_) => Ok(()),
        Err(err) => Err(EncodeError::new(
            EncodeErrorKind::Serde,
            format!("what serde encodes it does not decode: {err}"),
        )),
    }
}

fn decode<T: DeserializeOwned>(decoder: &mut Decoder<'_>) -> Result<T, DecodeError> {
    let count = decoder.read_count(BYTE)?;
    decoder.within(count, |decoder| {
        let result = T::deserialize(Deserializer::new(decoder));
        result.map_err(|err| err.into_decode_error(decoder))
    })
}
