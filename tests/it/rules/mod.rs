//! The rules of the keeper that decide hard cases, each against the fault that it is there for.

mod capacity;
mod closing;
mod frameworks;
mod futures;
mod one_operation;
mod panics;
mod reentrancy;
mod results;
mod settings_sources;
mod unreadable;
mod waiting;
