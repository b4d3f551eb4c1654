//! What is encoded can be restored, completely or not at all, whatever the bytes.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

mod captures;
mod comparison;
mod hostile;
mod hostile_schema;
mod limits;
mod round_trip;
mod schema;
mod serde_field;
mod shapes;
mod touch;
mod wire;
