//! What the tests of the keeper share: a storage with faults, a recorder of results, fail-safes.

mod eventually;
mod faults;
mod faulty_storage;
mod gate;
mod keepers;
mod log;
mod results;
mod scripted;

pub(crate) use eventually::{FAIL_SAFE, eventually, moving_on};
pub(crate) use faults::{FetchFault, SaveFault};
pub(crate) use faulty_storage::FaultyStorage;
pub(crate) use gate::Gate;
pub(crate) use keepers::{Counter, counted, counters, every, manual, scripted, settings};
pub(crate) use log::Log;
pub(crate) use results::Results;
pub(crate) use scripted::{Action, Scripted};
