//! The storages over files, over a disk that loses power.
//!
//! One seed is one history: a store is created, written, read, compacted if it is a log, killed,
//! cut off in the middle of any file operation, opened again, cut off while it is being opened, and
//! so on. What must hold is I1 and I2 of the storage: whatever was acknowledged is there or
//! something newer, and nothing is there that was not saved for that very id. A store that was open
//! once can always be opened.
//!
//! What the disk may do (`disk`): bytes that were not synced are there or not, in sectors of 512
//! bytes, each of its own accord; a file is as long as it ever was since its last sync; names that
//! were not synced are there or not, each of its own accord, a rename from one directory into
//! another in two halves. A failed sync of a file has lost what it has lost, and the next one
//! reports success; a failed sync of a directory may be done again, as journals have it.

mod disk;
mod handle;
mod history;
mod machine;
mod meeting;
mod model;
mod node;
mod store;

pub(super) use self::disk::{Boot, Disk};
pub(super) use self::history::{run_files, run_log};
pub use self::machine::{Fate, Machine};
pub use self::node::Left;
pub(super) use self::store::{LogOptions, Store, StoreOptions};
