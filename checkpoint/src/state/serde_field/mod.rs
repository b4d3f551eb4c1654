//! Fields that are stored through serde, by bincode.
//!
//! The layout is that of bincode 1 behind a length of eight bytes; only bincode knows it. Every
//! value, serializer, deserializer and visitor is wrapped in one that counts, on both ways by the
//! same numbers, what bincode does not: nesting, elements without bytes, and whether a text has the
//! bytes that it claims.
//!
//! bincode's own limit does not do: it is a constant, where a state's limits are set at run time,
//! and it bounds bytes only. bincode 2.0.1 with a limit of 64 MiB overflows the stack, which aborts
//! the process, on 100,000 nested vectors (800 KB) and on a million nested boxes (1 MB). Whatever
//! counts levels has to be told of each, so that a wrapper for nesting alone is hardly smaller.

mod decode_meter;
mod deserializer;
mod serializer;

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::serde_field::deserializer::deserialize;
use crate::state::serde_field::serializer::serialize;
use crate::state::{
    DecodeError, Decoder, ElementSize, EncodeError, EncodeErrorKind, Encoder, StateLimits,
};

/// The layout of bincode 1.
const CONFIG: Configuration<LittleEndian, Fixint, Limit<FIELD_BYTES_MAX>> =
    config::legacy().with_limit();

/// How many bytes one field may have, whatever the limits of the state are.
///
/// For bincode it must be a constant. It is what bincode allocates at worst for a length that the
/// wrappers would let pass.
const FIELD_BYTES_MAX: usize = u32::MAX as usize;

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
    serialize(value, encoder)?;
    let count = encoder.len() - start - LENGTH_BYTES;
    if count > FIELD_BYTES_MAX {
        let kind = EncodeErrorKind::TooLarge { limit: FIELD_BYTES_MAX };
        return Err(EncodeError::new(kind, String::new()));
    }
    encoder.charge_memory(count, BYTE.memory)?;
    encoder.overwrite(start, (count as u64).to_le_bytes());
    encoder.note_hidden_order(start + LENGTH_BYTES);
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
    decoder.within(count, deserialize)
}
