//! Prototypes: the PEs of one kind, by key, and the ways to process events. This is what users
//! call.
//!
//! Read in this order: `key`, `pe_prototype` (the way of an event), `table` (the state machine of a
//! shard), `results` (what comes back to it), `shard` (its lock and its inbox), `restore`, `source`
//! (captures and time, as the framework sees them).

mod async_wait;
mod builder;
mod bulk_restore;
mod capacity;
mod captures;
mod control;
mod entry;
mod errand;
mod events;
mod exposed_events;
mod exposure;
mod flush;
mod gate;
mod guard;
mod held_up;
mod hooks;
mod inner;
mod input;
mod key;
mod landing;
mod leave;
mod listing;
mod origin;
mod pe_prototype;
mod pending;
mod positions;
mod recency;
mod recover;
mod requests;
mod restore;
mod results;
mod rewrite;
mod roll_back;
mod sealed;
mod session;
mod several;
mod shard;
mod source;
mod table;
mod ticks;
mod trouble;

pub use builder::{PrototypeBuilder, PrototypeBuilderWithFactory};
pub use bulk_restore::BulkRestore;
pub(crate) use events::InputCall;
pub use events::{PeGuardFuture, ProcessFuture};
pub use guard::PeGuard;
pub(crate) use input::Located;
pub use key::{AsKey, Key, KeyBytes, NotAKey, PartitionKey};
pub use leave::Eviction;
pub(crate) use origin::{Confirmed, Input, Origin};
pub use pe_prototype::PePrototype;
pub use pending::PendingFuture;
pub use recover::{Recover, Recovered};
pub use rewrite::{RewriteError, RewriteFailure, RewriteReport};
pub use roll_back::RollBack;
pub(crate) use sealed::sealing;
pub use session::{RunError, Session};
