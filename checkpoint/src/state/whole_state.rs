//! Encoding and restoring a state as a whole.

use crate::state::{Checkpointable, DecodeError, Decoder, EncodeError, Encoder, StateLimits};

/// Encodes a state.
///
/// # Errors
///
/// If the state is larger than the limits allow, or contains a value that has no encoding.
///
/// # Examples
///
/// ```
/// use checkpoint::{StateLimits, encode_state, restore_state};
///
/// let limits = StateLimits::default();
/// let bytes = encode_state(&vec![1_u64, 2, 3], &limits)?;
/// let mut state = Vec::<u64>::new();
/// restore_state(&mut state, &bytes, &limits)?;
/// assert_eq!(state, [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode_state<T: Checkpointable + ?Sized>(
    state: &T,
    limits: &StateLimits,
) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = Encoder::new(Vec::new(), limits);
    state.encode(&mut encoder)?;
    Ok(encoder.into_bytes())
}

/// Decodes the stored part of a state, to be applied to an instance later.
///
/// # Errors
///
/// If the bytes are not exactly one state of the type, within the limits.
pub fn decode_state<T: Checkpointable>(
    bytes: &[u8],
    limits: &StateLimits,
) -> Result<T::Staged, DecodeError> {
    let mut decoder = Decoder::new(bytes, limits)?;
    let staged = T::decode(&mut decoder)?;
    decoder.finish()?;
    Ok(staged)
}

/// Restores a state in place; its transient fields keep their values.
///
/// # Errors
///
/// If the bytes are not exactly one state of the type, within the limits. The instance is then as
/// it was before.
pub fn restore_state<T: Checkpointable>(
    state: &mut T,
    bytes: &[u8],
    limits: &StateLimits,
) -> Result<(), DecodeError> {
    state.apply(decode_state::<T>(bytes, limits)?);
    Ok(())
}
