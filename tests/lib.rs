//! What the tests of the workspace share.

mod account;
mod append_sink;
mod backend;
mod conversation;
mod delegate_storage;
mod program;
mod quota;
pub mod simulation;
mod unsteady;

pub use account::Account;
pub use append_sink::AppendSink;
pub use backend::Backend;
pub use conversation::Conversation;
pub use program::example;
pub use quota::{Quota, first_seed};
pub use unsteady::{Unsteady, Weather};

/// The code in the README, compiled as everybody would who types it in.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
