//! The rules of the keeper that decide hard cases, each against the fault that it is there for.

mod capacity;
mod closing;
mod one_operation;
mod panics;
mod reentrancy;
mod results;
mod unreadable;
