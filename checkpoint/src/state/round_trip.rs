//! Whether a state comes back as it was.

use std::error::Error;
use std::fmt;

use crate::state::disorder::Disorder;
use crate::state::{Checkpointable, DecodeError, EncodeError, Encoder, StateLimits, decode_state};

/// Checks that a state comes back from its encoding as it was.
///
/// Encodes it, decodes that, and compares what was decoded with what was encoded, save for the
/// order of elements in collections that have none. Nothing is applied to an instance. For the
/// tests of hand-written implementations of [`Checkpointable`]; debug builds do the same with each
/// capture.
///
/// Values are the same if they encode to the same bytes; what `encode` leaves out is not compared.
/// Of a field stored through serde it is compared which bytes there are and how often, not in which
/// order.
///
/// # Errors
///
/// If the state cannot be encoded, or the encoding not decoded, or if it decodes to another state.
///
/// # Examples
///
/// ```
/// use std::collections::HashMap;
///
/// use checkpoint::{StateLimits, check_round_trip};
///
/// check_round_trip(&HashMap::from([("a".to_owned(), f64::NAN)]), &StateLimits::default())?;
/// # Ok::<(), checkpoint::RoundTripError>(())
/// ```
pub fn check_round_trip<T: Checkpointable>(
    state: &T,
    limits: &StateLimits,
) -> Result<(), RoundTripError> {
    let mut encoder = Encoder::new(Vec::new(), limits).noting_disorder();
    state.encode(&mut encoder).map_err(RoundTripError::Encode)?;
    let (encoded, disorder) = encoder.into_parts();
    compare_decoded::<T>(&encoded, &disorder.unwrap_or_default(), limits)
}

/// Decodes a state and compares what comes of it; `disorder` is what was noted while encoding it.
pub(crate) fn compare_decoded<T: Checkpointable>(
    encoded: &[u8],
    disorder: &Disorder,
    limits: &StateLimits,
) -> Result<(), RoundTripError> {
    let staged = decode_state::<T>(encoded, limits).map_err(RoundTripError::Decode)?;
    let mut encoder = Encoder::new(Vec::new(), limits).noting_disorder();
    T::encode_staged(&staged, &mut encoder).map_err(RoundTripError::Encode)?;
    let (again, disorder_again) = encoder.into_parts();
    let disorder_again = disorder_again.unwrap_or_default();
    let offset = first_difference(&disorder.sorted(encoded), &disorder_again.sorted(&again));
    let Some(offset) = offset else { return Ok(()) };
    let offset = disorder_again.begin_of_part_with(offset);
    // Encoding that stops there says in which field.
    let mut encoder = Encoder::new(Vec::new(), limits).pause_at(offset);
    let stopped = T::encode_staged(&staged, &mut encoder);
    let field = stopped.err().map(|err| err.field()).unwrap_or_default();
    Err(RoundTripError::Differs(StateDifference { field, offset }))
}

/// Where two byte strings begin to differ.
fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    if left == right {
        return None;
    }
    let different = left.iter().zip(right).position(|(left, right)| left != right);
    Some(different.unwrap_or(left.len().min(right.len())))
}

/// Why a state does not come back from its encoding as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoundTripError {
    /// It cannot be encoded, or what was decoded cannot.
    Encode(EncodeError),
    /// What was encoded cannot be decoded.
    Decode(DecodeError),
    /// What was encoded decodes to another state.
    Differs(StateDifference),
}

/// Says where a decoded state differs from the one that was encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDifference {
    field: String,
    offset: usize,
}

impl StateDifference {
    /// Returns the path of the first field that differs, such as `orders[..].price`; a collection
    /// without an order as a whole; empty for the state as a whole.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Returns the offset, in the encoded state, from which on it differs.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for StateDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str("the state: ")?,
            field => write!(f, "field `{field}`: ")?,
        }
        write!(
            f,
            "decodes to another value than was encoded, from byte {} on; the `decode` of its type \
             must return all that its `encode` writes, and `encode_staged` write the same again \
             (or serde's two traits, if serde stores it)",
            self.offset
        )
    }
}

impl Error for StateDifference {}

impl fmt::Display for RoundTripError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encode(_) => "the state cannot be encoded",
            Self::Decode(_) => "what was encoded cannot be decoded again",
            Self::Differs(_) => "what was encoded decodes to another state",
        })
    }
}

impl Error for RoundTripError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match self {
            Self::Encode(error) => error,
            Self::Decode(error) => error,
            Self::Differs(difference) => difference,
        })
    }
}
