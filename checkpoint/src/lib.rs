//! Checkpoints keyed in-memory state asynchronously and restores it lazily after a restart.

mod state;

#[cfg(feature = "derive")]
#[doc = include_str!("state/derive.md")]
pub use checkpoint_derive::Checkpointable;

pub use crate::state::{
    Checkpointable, DecodeError, DecodeErrorKind, Decoder, ElementSize, EncodeError,
    EncodeErrorKind, Encoder, Rebuild, Schema, SchemaDescription, SchemaDifference, SchemaField,
    SchemaLink, SchemaVariant, StateLimits, decode_state, encode_state, restore_state,
};

#[doc(hidden)]
pub use crate::state::generated as __private;
