//! The rules of the keeper that decide hard cases, each against the fault that it is there for.

mod canary;
mod capacity;
mod closing;
mod closing_names;
mod closing_under_load;
mod exposed_events;
mod exposure;
mod frameworks;
mod futures;
mod held_shards;
mod no_wrap;
mod one_operation;
mod panics;
mod reentrancy;
mod results;
mod settings_sources;
mod unreadable;
mod user_code;
mod waiting;
