//! Fields that are stored through serde.

use crate::state::{DecodeError, Decoder, EncodeError, Encoder};

/// What a field marked `#[checkpoint(serde, …)]` must be.
pub trait SerdeField: Sized {
    #[doc(hidden)]
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError>;

    #[doc(hidden)]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}
