//! A state that does what a test wants while it is encoded.

use std::sync::Arc;

use checkpoint::{Checkpointable, DecodeError, Decoder, EncodeError, Encoder, Schema};

/// Something to be done, again and again, from any thread.
pub(crate) type Action = Arc<dyn Fn() + Send + Sync>;

/// A number; `on_encode` and `on_drop` run when the one or the other happens to it.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) value: u64,
    pub(crate) on_encode: Option<Action>,
    pub(crate) on_drop: Option<Action>,
}

impl Checkpointable for Scripted {
    type Staged = u64;
    const MIN_SIZE: usize = 8;
    const SCHEMA: &'static Schema = u64::SCHEMA;

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        if let Some(on_encode) = &self.on_encode {
            on_encode();
        }
        self.value.encode(encoder)
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<u64, DecodeError> {
        <u64 as Checkpointable>::decode(decoder)
    }

    fn encode_staged(staged: &u64, encoder: &mut Encoder) -> Result<(), EncodeError> {
        staged.encode(encoder)
    }

    fn apply(&mut self, staged: u64) {
        self.value = staged;
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if let Some(on_drop) = &self.on_drop {
            on_drop();
        }
    }
}
