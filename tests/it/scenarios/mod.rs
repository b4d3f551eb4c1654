//! Apache S4's own scenarios, and its defects turned into promises: T1 to T15 and X1 to X20.
//!
//! Those with killed processes are elsewhere; here a restart is a new keeper over the same storage.

mod endings;
mod expiry;
mod fetching;
mod ids;
mod pending;
mod restoring;
mod saving;
mod slow_storage;
mod states;
