//! What the fuzz targets share: types to decode, checksums, and files that are not there.

mod memory_files;
mod sealed;
mod sealed_batch;
pub mod shapes;
mod small_log;

pub use memory_files::MemoryFiles;
pub use sealed::sealed;
pub use sealed_batch::sealed_batch;
pub use small_log::{log_id, open_log};
