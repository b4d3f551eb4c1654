//! The units of work that the pools of a keeper run: one serialization, one save, one fetch, one
//! tick.
//!
//! Nothing else captures, saves or fetches. A task does its work on the thread that runs it and
//! knows nothing of pools, queues or retries.

mod checkpointing_task;
mod fetch_task;
mod save_state_task;
mod serialize_task;

pub use checkpointing_task::CheckpointingTask;
pub use fetch_task::FetchTask;
pub(crate) use fetch_task::{FetchAnswers, FetchNumber};
pub use save_state_task::SaveStateTask;
pub(crate) use save_state_task::{Saving, SavingResults, SavingRun, save_and_wait};
pub use serialize_task::SerializeTask;
