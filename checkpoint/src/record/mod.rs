//! What is stored: header, payload and checksums, the same bytes in every backend.
//!
//! The layout is specified in `checkpoint/FORMAT.md`. Nothing here reads files or clocks. `writer`
//! and `view` know of the bytes, `sealing` of what payloads are compressed and encrypted with.

mod error;
mod layout;
mod positions;
mod sealing;
mod version;
mod view;
mod writer;

pub use error::{RecordError, RecordErrorKind};
pub(crate) use layout::FIXED_BYTES as RECORD_FIXED_BYTES;
pub use positions::{InputPosition, InputPositions, SourceId};
pub use sealing::{Compression, UnsealError};
#[cfg(feature = "zstd")]
pub use sealing::{DICTIONARY_BYTES_MAX, InvalidDictionary, ZstdDictionary};
#[cfg(feature = "encryption")]
pub use sealing::{EncryptionKey, EncryptionKeys};
pub(crate) use sealing::{NoRandomness, Sealer, Sealing};
pub use version::{Epoch, Sequence, StateVersion};
pub use view::{RecordHeader, RecordKind, RecordView};
pub(crate) use view::{captured_seconds, is_intact};
pub use writer::{RecordMeta, RecordWriter};
