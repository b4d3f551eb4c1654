//! What is encoded can be restored, completely or not at all, whatever the bytes.

mod hostile;
mod limits;
mod round_trip;
mod schema;
mod serde_field;
mod wire;
