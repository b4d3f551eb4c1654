//! What is stored: header, payload and checksums, the same bytes in every backend.
//!
//! The layout is specified in `checkpoint/FORMAT.md`. Nothing here reads files or clocks.

mod error;
mod layout;
mod positions;
mod version;
mod view;
mod writer;

pub use error::{RecordError, RecordErrorKind};
pub(crate) use layout::FIXED_BYTES as RECORD_FIXED_BYTES;
pub use positions::{InputPosition, InputPositions, SourceId};
pub use version::{Epoch, Sequence, StateVersion};
pub(crate) use view::is_intact;
pub use view::{RecordHeader, RecordKind, RecordView};
pub use writer::{RecordMeta, RecordWriter};
