//! The error that serde carries through the user's impls.

use std::fmt;

use crate::state::{DecodeError, DecodeErrorKind, Decoder, EncodeError, EncodeErrorKind};

#[derive(Debug)]
pub(super) enum SerdeError {
    Encode(EncodeError),
    Decode(DecodeError),
    /// What the user's impl, or serde's derive, had to say.
    Message(String),
}

impl SerdeError {
    pub(super) fn into_encode_error(self) -> EncodeError {
        match self {
            Self::Encode(err) => err,
            other => EncodeError::new(EncodeErrorKind::Serde, other.to_string()),
        }
    }

    pub(super) fn into_decode_error(self, decoder: &Decoder<'_>) -> DecodeError {
        match self {
            Self::Decode(err) => err,
            other => decoder.error(
                DecodeErrorKind::Serde,
                0,
                "a value that serde accepts",
                other.to_string(),
            ),
        }
    }
}

impl From<EncodeError> for SerdeError {
    fn from(err: EncodeError) -> Self {
        Self::Encode(err)
    }
}

impl From<DecodeError> for SerdeError {
    fn from(err: DecodeError) -> Self {
        Self::Decode(err)
    }
}

impl serde::ser::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Message(message.to_string())
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Message(message.to_string())
    }
}

impl fmt::Display for SerdeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(err) => err.fmt(f),
            Self::Decode(err) => err.fmt(f),
            Self::Message(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for SerdeError {}
