//! What state is: how a value is encoded, restored in place and described.
//!
//! [`Checkpointable`] is what the derive implements and what everything above this module builds
//! on; [`Rebuild`] is what the elements of containers need beside it. Nothing here knows of
//! records, storages or keys.

mod checkpointable;
mod decode_error;
mod decoder;
mod disorder;
mod element_size;
mod encode_error;
mod encoder;
mod field_path;
#[doc(hidden)]
pub mod generated;
mod impls;
mod limits;
mod rebuild;
mod round_trip;
mod schema;
mod schema_bytes;
mod schema_description;
mod schema_difference;
mod schema_graph;
pub(crate) mod serde_field;
mod whole_state;

pub use checkpointable::Checkpointable;
pub use decode_error::{DecodeError, DecodeErrorKind};
pub use decoder::Decoder;
pub(crate) use disorder::Disorder;
pub use element_size::ElementSize;
pub use encode_error::{EncodeError, EncodeErrorKind};
pub use encoder::Encoder;
pub use limits::StateLimits;
pub use rebuild::Rebuild;
pub(crate) use round_trip::compare_decoded;
pub use round_trip::{RoundTripError, StateDifference, check_round_trip};
pub use schema::{Schema, SchemaField, SchemaLink, SchemaVariant};
pub use schema_description::SchemaDescription;
pub use schema_difference::SchemaDifference;
pub use whole_state::{decode_state, encode_state, restore_state};
